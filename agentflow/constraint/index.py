r"""Slots x vocabulary: which tokens move a slot's automaton where.

A slot is a place whose text is open: a free string, a pattern, a number. Its `Fragment` is a small token
automaton. Tokens that move every state alike are one cell:

    free string:  state 0 --[cell 1: plain text]--> 0      state 0 --[cell 2: "\xC3"]--> 3 ...

A token may also leave the slot in the middle, as ``."`` does at the end of a string: then its cell leads to
an exit, which names what the token spells after the slot's end. Fragments depend on the slot and the
vocabulary alone; they are computed once and shared by all constraints.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from agentflow.constraint.automaton import BoolArray, CharDfa, IntArray, intersect, length_between, reach_forward
from agentflow.constraint.grounding import SpanNfa, SpanSpec, determinise_spans
from agentflow.constraint.kernels import hash_columns, join_partitions, walk_tokens
from agentflow.constraint.limits import spend
from agentflow.constraint.surface_bytes import ByteDfa, Style, escape, spell
from agentflow.constraint.vocabulary import Vocabulary

_STRING_EXIT = re.compile(rb'(.+?)("(?:|,|,"|:|:"|\}|\]))', re.DOTALL)
_NUMBER_EXIT = re.compile(rb'([-+.eE0-9]*[0-9])([,\]}]"?)')
_MAX_COUNTED = 256
_MAX_UNIT_LENGTH = 4096
_MAX_BEGINNINGS = 3
DEAD = -1


@dataclass(frozen=True)
class SlotSpec:
    """What may stand in a slot: strings of a regular set, of a length.

    Attributes:
        dfa: The set.
        minimum: Fewest characters.
        maximum: Most characters, or ``None``.
        style: How characters are spelt.
        without: Single strings that may not stand there, the names of declared properties.
    """

    dfa: CharDfa
    minimum: int = 0
    maximum: int | None = None
    style: Style = "raw"
    without: frozenset[str] = frozenset()

    @cached_property
    def key(self) -> tuple[object, ...]:
        """What makes two slots equal."""
        return (self.dfa.key, self.minimum, self.maximum, self.style, self.without)


class Exit(NamedTuple):
    """A token leaves the slot: which sets accept what was read, and what it spells after that."""

    label: int
    rest: bytes


class Row(NamedTuple):
    """What may follow in one state of a fragment; targets as in `Fragment`.

    Attributes:
        sets: Target by set of cells.
        by_cell: The set of each cell.
        tokens: Target by token.
        without: Tokens that are taken out, by set.
    """

    sets: dict[int, int]
    by_cell: dict[int, int]
    tokens: dict[int, int]
    without: dict[int, frozenset[int]]

    def step(self, token: int, cell: int) -> int:
        """Give the target of a token that lies in `cell`, `DEAD` where there is none."""
        if token in self.tokens:
            return self.tokens[token]
        name = self.by_cell.get(cell, -1)
        return DEAD if token in self.without.get(name, ()) else self.sets.get(name, DEAD)


@dataclass(frozen=True, eq=False)
class Fragment:
    """A slot's token automaton; state 0 is the start.

    Attributes:
        labels: ``(S,)`` int32, bit k: the k-th of the slot's sets accepts here.
        partition: ``(V,)`` int32 cell of each token; cell 0 holds the tokens that are never allowed; or ``None``.
        sets: The sets of cells that edges are labelled with; all cells with one target are one edge.
        source: ``(E,)`` int32 state of each edge, ascending.
        cells: ``(E,)`` int32 its set of cells.
        target: ``(E,)`` int32 next state; -2 - i is ``exits[i]``.
        token_source: ``(T,)`` int32 state of each edge of a single token, ascending.
        token: ``(T,)`` int32.
        token_target: ``(T,)`` int32.
        exits: The exits.
        without: Tokens that are taken out of a state's edge, by state and set.
    """

    labels: IntArray
    partition: IntArray | None
    sets: tuple[tuple[int, ...], ...]
    source: IntArray
    cells: IntArray
    target: IntArray
    token_source: IntArray
    token: IntArray
    token_target: IntArray
    exits: tuple[Exit, ...]
    without: dict[tuple[int, int], frozenset[int]]

    @property
    def num_states(self) -> int:
        """Number of states."""
        return len(self.labels)

    @cached_property
    def _begins(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        states = np.arange(self.num_states + 1)
        return np.searchsorted(self.source, states), np.searchsorted(self.token_source, states)

    def row(self, state: int) -> Row:
        """Give what may follow in a state."""
        edges, tokens = self._begins
        a, b, c, d = edges[state], edges[state + 1], tokens[state], tokens[state + 1]
        sets = dict(zip(self.cells[a:b].tolist(), self.target[a:b].tolist(), strict=True))
        by_cell = {cell: name for name in sets for cell in self.sets[name]}
        single = dict(zip(self.token[c:d].tolist(), self.token_target[c:d].tolist(), strict=True))
        without = {name: self.without[state, name] for name in sets if (state, name) in self.without}
        return Row(sets, by_cell, single, without)

    def cell_of(self, token: int) -> int:
        """Give the cell of a token."""
        return -1 if self.partition is None else int(self.partition[token])


_NO_EDGES = np.zeros(0, np.int32)


def slot_fragment(specs: tuple[SlotSpec | SpanSpec, ...], vocabulary: Vocabulary) -> Fragment:
    """Give the fragment in which several slots are read at once, from the vocabulary's store or made new."""
    key = tuple(spec.key for spec in specs)
    fragment: Fragment | None = vocabulary.fragments.get(key)
    if fragment is None:
        fragment = vocabulary.fragments[key] = _make(specs, vocabulary)
    return fragment


def _make(specs: tuple[SlotSpec | SpanSpec, ...], vocabulary: Vocabulary) -> Fragment:
    if len(specs) == 1 and isinstance(specs[0], SpanSpec):
        return _lift_spans(specs[0], vocabulary)
    withouts = [spec.without if isinstance(spec, SlotSpec) else frozenset() for spec in specs]
    bases = {_base_key(spec): spec for spec in specs}
    if len(bases) == 1 and isinstance(specs[0], SlotSpec):
        spec = specs[0]
        labels = spec.dfa.accepting.astype(np.int32) * ((1 << len(specs)) - 1)
        lifted = _lift(spec.dfa.starts, spec.dfa.table, labels, spec.style, vocabulary)
        fragment = _count_characters(lifted, spec.minimum, spec.maximum)
    else:
        starts, table, labels = _side_by_side([_with_length(spec) for spec in specs])
        fragment = _count_characters(_lift(starts, table, labels, specs[0].style, vocabulary), 0, None)
    return exclude(fragment, withouts, specs[0].style, vocabulary) if any(withouts) else fragment


def _base_key(spec: SlotSpec | SpanSpec) -> tuple[object, ...]:
    return spec.key[:-1] if isinstance(spec, SlotSpec) else spec.key


def _lift_spans(spec: SpanSpec, vocabulary: Vocabulary) -> Fragment:
    source, token, target, labels = determinise_spans(SpanNfa(spec, vocabulary.encode))
    return Fragment(labels, None, (), _NO_EDGES, _NO_EDGES, _NO_EDGES, source, token, target, (), {})


def _with_length(spec: SlotSpec | SpanSpec) -> CharDfa:
    if isinstance(spec, SpanSpec) or (spec.minimum == 0 and spec.maximum is None):
        return spec.dfa
    maximum = spec.maximum if spec.maximum is None else min(spec.maximum, max(_MAX_UNIT_LENGTH, spec.minimum))
    return intersect(spec.dfa, length_between(spec.minimum, maximum))


def _side_by_side(dfas: list[CharDfa]) -> tuple[IntArray, IntArray, IntArray]:
    """Run several automata at once; bit k of a label says that the k-th accepts."""
    starts = dfas[0].starts
    for dfa in dfas[1:]:
        starts = np.union1d(starts, dfa.starts).astype(np.int32)
    tables = [dfa.table[:, np.searchsorted(dfa.starts, starts, side="right") - 1].tolist() for dfa in dfas]
    first = (0,) * len(dfas)
    index = {first: 0}
    order = [first]
    rows: list[list[int]] = []
    for states in order:
        row = []
        for column in range(len(starts)):
            after = tuple(t[s][column] if s >= 0 else -1 for t, s in zip(tables, states, strict=True))
            if max(after) < 0:
                row.append(-1)
                continue
            if after not in index:
                spend()
                index[after] = len(order)
                order.append(after)
            row.append(index[after])
        rows.append(row)
    labels = [sum(1 << k for k, s in enumerate(states) if s >= 0 and dfas[k].accepting[s]) for states in order]
    return starts, np.array(rows, np.int32).reshape(len(rows), -1), np.array(labels, np.int32)


class _Lifted(NamedTuple):
    """A fragment as a dense table, with the characters that each step counts."""

    labels: IntArray
    partition: IntArray
    representatives: IntArray
    table: IntArray  # (S, C) next state, -1 dead, -2 - i exit
    counts: IntArray  # (S, C) characters begun
    exits: tuple[Exit, ...]


def _lift(starts: IntArray, table: IntArray, labels: IntArray, style: Style, vocabulary: Vocabulary) -> _Lifted:
    """Move from characters to tokens."""
    key = ("lift", starts.tobytes(), table.tobytes(), labels.tobytes(), style)
    if key in vocabulary.fragments:
        return vocabulary.fragments[key]  # type: ignore[no-any-return]  # the store is untyped
    automaton = spell(starts, table, style)
    num_states = len(automaton.table)
    labels = np.append(labels, np.zeros(num_states - len(labels), np.int32)).astype(np.int32)
    signature = np.zeros(len(vocabulary), np.uint64)
    sources = np.arange(num_states, dtype=np.int32)
    spend(hash_columns(*vocabulary.trie, automaton.table, automaton.num_chars, sources, signature) // 4096)
    exits = _find_exits(automaton, labels, style, vocabulary, signature)
    allowed = np.flatnonzero(signature)
    _, first, cells = np.unique(signature[allowed], return_index=True, return_inverse=True)
    partition = np.zeros(len(vocabulary), np.int32)
    partition[allowed] = cells + 1
    representatives = np.append(-1, allowed[first]).astype(np.int32)
    lifted = _Lifted(
        labels, partition, representatives, *_columns(automaton, representatives, exits, vocabulary), exits.kinds
    )
    vocabulary.fragments[key] = lifted
    return lifted


class _Exits(NamedTuple):
    """The tokens that leave the slot in the middle."""

    kinds: tuple[Exit, ...]
    tokens: dict[int, tuple[IntArray, IntArray]]  # token -> (S,) code (-1 none), (S,) characters begun


def _find_exits(
    automaton: ByteDfa, labels: IntArray, style: Style, vocabulary: Vocabulary, signature: npt.NDArray[np.uint64]
) -> _Exits:
    """Find the tokens that end the slot's text and go on with what follows it."""
    tokens, bodies, rests = exit_tokens(vocabulary, style)
    if not tokens:
        return _Exits((), {})
    flat = np.frombuffer(b"".join(body + rest for body, rest in zip(bodies, rests, strict=True)), np.uint8).copy()
    ends = np.cumsum([len(body) + len(rest) for body, rest in zip(bodies, rests, strict=True)])
    starts = ends - [len(body) + len(rest) for body, rest in zip(bodies, rests, strict=True)]
    stays, _ = walk_tokens(automaton.table, automaton.num_chars, flat, starts, ends)
    after, counts = walk_tokens(
        automaton.table, automaton.num_chars, flat, starts, starts + [len(body) for body in bodies]
    )
    ending = np.where((after >= 0) & (stays < 0), labels[after], 0)  # (S, K)
    rest_names = {rest: i for i, rest in enumerate(dict.fromkeys(rests))}
    pairs = ending.astype(np.int64) * len(rest_names) + [rest_names[rest] for rest in rests]
    values, codes = np.unique(np.where(ending, pairs, -1), return_inverse=True)
    has_none = int(values[0] < 0)
    exit_codes: IntArray = np.where(ending, -2 - (codes.reshape(ending.shape) - has_none), DEAD).astype(np.int32)
    names = list(rest_names)
    kinds = tuple(Exit(int(v) // len(names), names[int(v) % len(names)]) for v in values[has_none:])
    hashes = _mix_arrays(np.arange(len(labels))[:, None] * 4096 + counts, 2**40 - exit_codes.astype(np.int64))
    columns = np.flatnonzero(ending.any(axis=0))
    with np.errstate(over="ignore"):
        signature[np.array(tokens)[columns]] += np.where(ending, hashes, 0).sum(axis=0, dtype=np.uint64)[columns]
    return _Exits(kinds, {tokens[k]: (exit_codes[:, k], counts[:, k]) for k in columns.tolist()})


def _mix_arrays(a: npt.NDArray[np.int64], b: npt.NDArray[np.int64]) -> npt.NDArray[np.uint64]:
    """Hash pairs of integers to 64 bits."""
    with np.errstate(over="ignore"):
        x = a.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + b.astype(np.uint64) * np.uint64(0xD6E8FEB86659FD93)
        x = (x ^ (x >> np.uint64(32))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed: npt.NDArray[np.uint64] = x ^ (x >> np.uint64(29))
    return mixed


def exit_tokens(vocabulary: Vocabulary, style: Style) -> tuple[list[int], list[bytes], list[bytes]]:
    """Give the tokens that may end a slot: id, the part inside, the rest."""
    key = ("exits", style)
    if key not in vocabulary.fragments:
        pattern = _STRING_EXIT if style == "json" else _NUMBER_EXIT
        mark = b'"' if style == "json" else b""
        matches = [
            (token, match)
            for token, data in enumerate(vocabulary.token_bytes)
            if data and mark in data and token not in vocabulary.end_ids and (match := pattern.fullmatch(data))
        ]
        vocabulary.fragments[key] = (
            [token for token, _ in matches], [m[1] for _, m in matches], [m[2] for _, m in matches],
        )  # fmt: skip
    return vocabulary.fragments[key]  # type: ignore[no-any-return]  # the store is untyped


def _columns(
    automaton: ByteDfa, representatives: IntArray, exits: _Exits, vocabulary: Vocabulary
) -> tuple[IntArray, IntArray]:
    """Walk one token of each cell from every state."""
    spelt = [vocabulary.token_bytes[token] or b"" if token >= 0 else b"" for token in representatives.tolist()]
    flat = np.frombuffer(b"".join(spelt) or b"\0", np.uint8).copy()
    ends = np.cumsum([len(data) for data in spelt])
    table, counts = walk_tokens(automaton.table, automaton.num_chars, flat, ends - [len(data) for data in spelt], ends)
    table[:, 0] = -1
    for cell, token in enumerate(representatives.tolist()):
        if token in exits.tokens:
            codes, begun = exits.tokens[token]
            table[:, cell] = np.where(codes < -1, codes, table[:, cell])
            counts[:, cell] = np.where(codes < -1, begun, counts[:, cell])
    return table, counts


def _count_characters(lifted: _Lifted, minimum: int, maximum: int | None) -> Fragment:
    """Unroll a fragment along the number of characters read.

    Above `_MAX_COUNTED` characters the count runs in units of several characters, each token rounded up: sound,
    and a little shorter than the schema allows.
    """
    if minimum == 0 and maximum is None:
        return _pack(lifted, lifted.labels, lifted.table)
    unit = 1 if maximum is None or maximum <= _MAX_COUNTED else -(-(maximum - minimum) // _MAX_COUNTED)
    levels = _levels(minimum, maximum, unit, longest=int(lifted.counts.max()))
    num_states, num_cells = lifted.table.shape
    spend(num_states * len(levels.after))
    tables = []
    labels = []
    for level in range(len(levels.after)):
        after = levels.after[level][lifted.counts]  # (S, C)
        inner = np.where((lifted.table >= 0) & (after >= 0), lifted.table + after * num_states, -1)
        leaves = (lifted.table < DEAD) & (after >= 0) & levels.is_enough[after]
        tables.append(np.where(leaves, lifted.table, inner))
        labels.append(np.where(levels.is_enough[level], lifted.labels, 0))
    return _pack(lifted, np.concatenate(labels), np.concatenate(tables).reshape(-1, num_cells))


class _Levels(NamedTuple):
    """How the count of characters moves.

    Attributes:
        after: ``(N, longest + 1)`` int32, level after so many more characters, -1: too many.
        is_enough: ``(N + 1,)`` bool, whether the string may end here (last entry: the dead level).
    """

    after: IntArray
    is_enough: BoolArray


def _levels(minimum: int, maximum: int | None, unit: int, *, longest: int) -> _Levels:
    """Count exactly up to `minimum`, then in units up to `maximum`."""
    num_levels = minimum + 1 + (0 if maximum is None else (maximum - minimum) // unit)
    spend(num_levels)
    level = np.arange(num_levels)[:, None]
    step = np.arange(longest + 1)
    excess = np.maximum(level + step - minimum, 0)
    exact = np.where(level + step <= minimum, level + step, minimum + -(-excess // unit))
    after = np.where(level < minimum, exact, level - (-step // unit))
    after = np.minimum(after, num_levels - 1) if maximum is None else np.where(after < num_levels, after, -1)
    return _Levels(after.astype(np.int32), np.append(np.arange(num_levels) >= minimum, False))


def _pack(lifted: _Lifted, labels: IntArray, table: IntArray) -> Fragment:
    """Keep what can be reached from the start."""
    reached = reach_forward(table)
    rank = np.cumsum(reached) - 1
    table = table[reached]
    source, cells, target, sets = _group(table)
    target = np.where(target >= 0, rank[np.maximum(target, 0)], target)
    return Fragment(
        labels[reached], lifted.partition, sets, source.astype(np.int32), cells.astype(np.int32),
        target.astype(np.int32), _NO_EDGES, _NO_EDGES, _NO_EDGES, lifted.exits, {},
    )  # fmt: skip


def _group(
    table: IntArray,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64], tuple[tuple[int, ...], ...]]:
    """Make one edge of all cells that lead from one state to the same target."""
    source, cell = np.nonzero(table != DEAD)
    target = table[source, cell].astype(np.int64)
    order = np.lexsort((cell, target, source))
    source, cell, target = source[order], cell[order], target[order]
    is_new = np.ones(len(source), bool)
    is_new[1:] = (source[1:] != source[:-1]) | (target[1:] != target[:-1])
    begin = np.flatnonzero(is_new)
    names: dict[tuple[int, ...], int] = {}
    flat = cell.tolist()
    bounds = [*begin.tolist(), len(flat)]
    sets = [names.setdefault(tuple(flat[a:b]), len(names)) for a, b in pairwise(bounds)]
    return source[begin], np.array(sets, np.int64), target[begin], tuple(names)


def exclude(fragment: Fragment, withouts: list[frozenset[str]], style: Style, vocabulary: Vocabulary) -> Fragment:
    """Take single strings out of a fragment's sets.

    The strings' canonical tokens become a trie of states before the fragment's own. In it, any other token that
    would spell a part of an excluded string is out, so each string is recognised in one way alone: sound,
    and only odd cuts of other strings are lost.

    Args:
        fragment: A fragment.
        withouts: For each of its sets, the strings to take out.
        style: How characters are spelt.
        vocabulary: The vocabulary.
    """
    return _Excluder(fragment, withouts, style, vocabulary).run()


class _Excluder:
    def __init__(
        self, fragment: Fragment, withouts: list[frozenset[str]], style: Style, vocabulary: Vocabulary
    ) -> None:
        self._fragment = fragment
        self._vocabulary = vocabulary
        self._masks: dict[bytes, int] = {}
        self._paths: dict[bytes, tuple[int, ...]] = {}
        for k, names in enumerate(withouts):
            for name in names:
                spelt = escape(name, style)
                self._masks[spelt.encode()] = self._masks.get(spelt.encode(), 0) | 1 << k
                self._paths[spelt.encode()] = vocabulary.encode(spelt)
        tokens, bodies, rests = exit_tokens(vocabulary, style)
        self._exits_by_body: dict[bytes, list[tuple[int, bytes]]] = {}
        for token, body, rest in zip(tokens, bodies, rests, strict=True):
            self._exits_by_body.setdefault(body, []).append((token, rest))
        self._nodes: dict[bytes, int] = {b"": 0}  # what was read -> state of the fragment
        self._children: dict[bytes, dict[int, bytes]] = {b"": {}}
        self._kinds = {kind: -2 - i for i, kind in enumerate(fragment.exits)}

    def run(self) -> Fragment:
        for path in self._paths.values():
            self._add_path(path)
        for read in list(self._nodes):
            self._add_beginnings(read)
        order = {read: i for i, read in enumerate(self._nodes)}
        num = len(order)
        spend(num)
        fragment = self._fragment
        labels = [int(fragment.labels[state]) & ~self._masks.get(read, 0) for read, state in self._nodes.items()]
        edges: list[tuple[int, int, int]] = []
        singles: list[tuple[int, int, int]] = []
        without: dict[tuple[int, int], frozenset[int]] = {}
        for read, at in order.items():
            row = fragment.row(self._nodes[read])
            taken, codes = self._taken(read, row)
            edges += [(at, name, target + num if target >= 0 else target) for name, target in row.sets.items()]
            for name, tokens in taken.items():
                without[at, name] = frozenset(tokens)
            singles += [(at, token, order[child]) for token, child in self._children[read].items()]
            singles += [(at, token, code) for token, code in codes.items() if code != DEAD]
        cells = np.array(sorted(edges), np.int32).reshape(-1, 3)
        extra = np.array(sorted(singles), np.int32).reshape(-1, 3)
        target = np.where(fragment.target >= 0, fragment.target + num, fragment.target)
        return Fragment(
            np.append(np.array(labels, np.int32), fragment.labels), fragment.partition, fragment.sets,
            np.append(cells[:, 0], fragment.source + num).astype(np.int32), np.append(cells[:, 1], fragment.cells),
            np.append(cells[:, 2], target).astype(np.int32), extra[:, 0].copy(), extra[:, 1].copy(), extra[:, 2].copy(),
            tuple(self._kinds), without,
        )  # fmt: skip

    def _add_path(self, path: tuple[int, ...]) -> None:
        """Walk a string's tokens, as far as the fragment allows them."""
        read = b""
        for token in path:
            longer = self._add_child(read, token)
            if longer is None:
                return
            read = longer

    def _add_child(self, read: bytes, token: int) -> bytes | None:
        row = self._fragment.row(self._nodes[read])
        target = row.step(token, self._fragment.cell_of(token))
        if target < 0:
            return None
        longer = read + (self._vocabulary.token_bytes[token] or b"")
        self._children[read][token] = longer
        if longer not in self._nodes:
            self._nodes[longer] = target
            self._children[longer] = {}
        return longer

    def _add_beginnings(self, read: bytes) -> None:
        """Let other strings begin with the longest tokens that an excluded string begins with."""
        for name in self._masks:
            if name.startswith(read):
                tokens = self._tokens_along(name[len(read) :])
                for token in tokens[-_MAX_BEGINNINGS:]:
                    if token not in self._children[read]:
                        self._add_child(read, token)

    def _tokens_along(self, rest: bytes) -> list[int]:
        """Give the tokens that spell the beginning of `rest`, or all of it, the longest last."""
        ids, longest = self._vocabulary.ids_by_bytes
        found = (ids.get(rest[:end]) for end in range(1, min(len(rest), longest) + 1))
        return [token for token in found if token is not None]

    def _taken(self, read: bytes, row: Row) -> tuple[dict[int, set[int]], dict[int, int]]:
        """Give the tokens to take out by set, and new codes of tokens that leave the slot."""
        taken: dict[int, set[int]] = {}
        codes: dict[int, int] = {}
        for spelt, mask in self._masks.items():
            if not spelt.startswith(read):
                continue
            rest = spelt[len(read) :]
            for token in self._tokens_along(rest):
                name = row.by_cell.get(self._fragment.cell_of(token))
                if name is not None:
                    taken.setdefault(name, set()).add(token)
            for token, after in self._exits_by_body.get(rest, ()):
                name = row.by_cell.get(self._fragment.cell_of(token))
                if name is not None:
                    taken.setdefault(name, set()).add(token)
                    code = row.sets[name]
                    label = self._fragment.exits[-2 - code].label & ~mask if code <= -2 else 0  # noqa: PLR2004
                    codes[token] = self._code(label, after) if label else DEAD
        return taken, codes

    def _code(self, label: int, rest: bytes) -> int:
        return self._kinds.setdefault(Exit(label, rest), -2 - len(self._kinds))


def join(partitions: list[IntArray]) -> tuple[IntArray, IntArray]:
    """Give the joint partition of the tokens, block numbers and one token of each block."""
    joined, first = join_partitions(np.zeros(len(partitions[0]), np.int32), partitions[0], int(partitions[0].max()) + 1)
    for partition in partitions[1:]:
        joined, first = join_partitions(joined, partition, int(partition.max()) + 1)
    return joined, first
