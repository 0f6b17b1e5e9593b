"""Slots x vocabulary: which tokens move a slot's automaton where.

A slot is a place whose text is open: a free string, a pattern, a number. Its `Fragment` is a small token
automaton. Tokens that move every state alike are one cell:

    free string:  state 0 --[cell 1: plain text]--> 0      state 0 --[cell 2: "\\xC3"]--> 3 ...

A token may also leave the slot in the middle, as ``."`` does at the end of a string: then its cell leads to
an exit, which names what the token spells after the slot's end. Fragments depend on the slot and the
vocabulary alone; they are computed once and shared by all constraints.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from agentflow.constraint.automaton import BoolArray, CharDfa, IntArray, intersect, length_between
from agentflow.constraint.grounding import SpanNfa, SpanSpec, determinise_spans
from agentflow.constraint.kernels import hash_columns, join_partitions, walk_tokens
from agentflow.constraint.limits import spend
from agentflow.constraint.surface_bytes import ByteDfa, Style, spell
from agentflow.constraint.vocabulary import Vocabulary

_STRING_EXIT = re.compile(rb'(.+?)("["\[\]{},:]*)', re.DOTALL)
_NUMBER_EXIT = re.compile(rb'([-+.eE0-9]*[0-9])([,\]}]["\[\]{},:]*)')
_MAX_COUNTED = 256
_MAX_UNIT_LENGTH = 4096
DEAD = -1


@dataclass(frozen=True)
class SlotSpec:
    """What may stand in a slot: strings of a regular set, of a length.

    Attributes:
        dfa: The set.
        minimum: Fewest characters.
        maximum: Most characters, or ``None``.
        style: How characters are spelt.
    """

    dfa: CharDfa
    minimum: int = 0
    maximum: int | None = None
    style: Style = "raw"

    @cached_property
    def key(self) -> tuple[object, ...]:
        """What makes two slots equal."""
        return (self.dfa.key, self.minimum, self.maximum, self.style)


class Exit(NamedTuple):
    """A token leaves the slot: which sets accept what was read, and what it spells after that."""

    label: int
    rest: bytes


@dataclass(frozen=True, eq=False)
class Fragment:
    """A slot's token automaton; state 0 is the start.

    Attributes:
        num_states: Number of states.
        labels: ``(S,)`` int32, bit k: the k-th of the slot's sets accepts here.
        partition: ``(V,)`` int32 cell of each token; cell 0 holds the tokens that are never allowed.
        representatives: ``(C,)`` int32, one token of each cell (-1 for cell 0).
        source: ``(E,)`` int32 state of each edge, ascending.
        cell: ``(E,)`` int32 its cell; where `partition` is ``None``, its token.
        target: ``(E,)`` int32 next state; -2 - i is ``exits[i]``.
        exits: The exits.
    """

    num_states: int
    labels: IntArray
    partition: IntArray | None
    representatives: IntArray
    source: IntArray
    cell: IntArray
    target: IntArray
    exits: tuple[Exit, ...]

    @cached_property
    def rows(self) -> npt.NDArray[np.int64]:
        """``(S + 1,)``, where each state's edges begin."""
        return np.searchsorted(self.source, np.arange(self.num_states + 1))

    def row(self, state: int) -> dict[int, int]:
        """Give target by cell."""
        begin, end = self.rows[state], self.rows[state + 1]
        return dict(zip(self.cell[begin:end].tolist(), self.target[begin:end].tolist(), strict=True))

    def cell_of(self, token: int) -> int:
        """Give the cell of a token (of a fragment without partition: the token itself)."""
        return token if self.partition is None else int(self.partition[token])


def slot_fragment(specs: tuple[SlotSpec | SpanSpec, ...], vocabulary: Vocabulary) -> Fragment:
    """Give the fragment in which several slots are read at once, from the vocabulary's store or made new."""
    key = tuple(spec.key for spec in specs)
    fragment = vocabulary.fragments.get(key)
    if fragment is None:
        fragment = vocabulary.fragments[key] = _make(specs, vocabulary)
    return fragment  # type: ignore[no-any-return]  # the store is untyped, it holds fragments alone


def _make(specs: tuple[SlotSpec | SpanSpec, ...], vocabulary: Vocabulary) -> Fragment:
    if len(specs) == 1:
        spec = specs[0]
        if isinstance(spec, SpanSpec):
            return _lift_spans(spec, vocabulary)
        labels = spec.dfa.accepting.astype(np.int32)
        lifted = _lift(spec.dfa.starts, spec.dfa.table, labels, spec.style, vocabulary)
        return _count_characters(lifted, spec.minimum, spec.maximum)
    starts, table, labels = _side_by_side([_with_length(spec) for spec in specs])
    return _count_characters(_lift(starts, table, labels, specs[0].style, vocabulary), 0, None)


def _lift_spans(spec: SpanSpec, vocabulary: Vocabulary) -> Fragment:
    source, token, target, labels = determinise_spans(SpanNfa(spec, vocabulary.encode))
    return Fragment(len(labels), labels, None, np.zeros(0, np.int32), source, token, target, ())


def _with_length(spec: SlotSpec | SpanSpec) -> CharDfa:
    if isinstance(spec, SpanSpec):
        return spec.dfa
    if spec.minimum == 0 and spec.maximum is None:
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
    lifted = _Lifted(labels, partition, representatives, *_columns(automaton, representatives, exits, vocabulary), exits.kinds)
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
    tokens, bodies, rests = _exit_tokens(vocabulary, style)
    if not tokens:
        return _Exits((), {})
    flat = np.frombuffer(b"".join(bodies), np.uint8)
    ends = np.cumsum([len(body) for body in bodies])
    after, counts = walk_tokens(automaton.table, automaton.num_chars, flat, ends - [len(b) for b in bodies], ends)
    ending = np.where(after >= 0, labels[after], 0)  # (S, K)
    rest_names = {rest: i for i, rest in enumerate(dict.fromkeys(rests))}
    pairs = ending.astype(np.int64) * len(rest_names) + [rest_names[rest] for rest in rests]
    values, codes = np.unique(np.where(ending, pairs, -1), return_inverse=True)
    has_none = int(values[0] < 0)
    codes = np.where(ending, -2 - (codes.reshape(ending.shape) - has_none), DEAD).astype(np.int32)
    names = list(rest_names)
    kinds = tuple(Exit(int(v) // len(names), names[int(v) % len(names)]) for v in values[has_none:])
    hashes = _mix_arrays(np.arange(len(labels))[:, None] * 4096 + counts, 2**40 - codes.astype(np.int64))
    columns = np.flatnonzero(ending.any(axis=0))
    with np.errstate(over="ignore"):
        signature[np.array(tokens)[columns]] += np.where(ending, hashes, 0).sum(axis=0, dtype=np.uint64)[columns]
    return _Exits(kinds, {tokens[k]: (codes[:, k], counts[:, k]) for k in columns.tolist()})


def _mix_arrays(a: npt.NDArray[np.int64], b: npt.NDArray[np.int64]) -> npt.NDArray[np.uint64]:
    """Hash pairs of integers to 64 bits."""
    with np.errstate(over="ignore"):
        x = a.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + b.astype(np.uint64) * np.uint64(0xD6E8FEB86659FD93)
        x = (x ^ (x >> np.uint64(32))) * np.uint64(0xBF58476D1CE4E5B9)
        return x ^ (x >> np.uint64(29))


def _exit_tokens(vocabulary: Vocabulary, style: Style) -> tuple[list[int], list[bytes], list[bytes]]:
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
    flat = np.frombuffer(b"".join(spelt) or b"\0", np.uint8)
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
        leaves = (lifted.table <= -2) & (after >= 0) & levels.is_enough[after]
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
    reached = np.zeros(len(table), bool)
    reached[0] = True
    frontier = np.array([0])
    while len(frontier):
        targets = np.unique(table[frontier])
        targets = targets[targets >= 0]
        frontier = targets[~reached[targets]]
        reached[frontier] = True
    rank = np.cumsum(reached) - 1
    table = table[reached]
    source, cell = np.nonzero(table != DEAD)
    target = table[source, cell]
    target = np.where(target >= 0, rank[target], target)
    return Fragment(
        num_states=len(table),
        labels=labels[reached],
        partition=lifted.partition,
        representatives=lifted.representatives,
        source=source.astype(np.int32),
        cell=cell.astype(np.int32),
        target=target.astype(np.int32),
        exits=lifted.exits,
    )


def join(partitions: list[IntArray]) -> tuple[IntArray, IntArray]:
    """Give the joint partition of the tokens, block numbers and one token of each block."""
    joined, first = join_partitions(np.zeros(len(partitions[0]), np.int32), partitions[0], int(partitions[0].max()) + 1)
    for partition in partitions[1:]:
        joined, first = join_partitions(joined, partition, int(partition.max()) + 1)
    return joined, first


