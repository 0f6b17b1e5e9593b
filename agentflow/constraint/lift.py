r"""Characters -> tokens: what each token of a vocabulary does to an automaton over characters.

Tokens that move every state alike are one cell:

    free string:  state 0 --[cell 1: plain text]--> 0      state 0 --[cell 2: "\xC3"]--> 3 ...

A token may also leave the slot in the middle, as ``."`` does at the end of a string: then its cell leads to
an exit, which names what the token spells after the slot's end. A lift depends on the automaton and the
vocabulary alone.
"""

from __future__ import annotations

import re
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from agentflow.constraint.automaton import IntArray
from agentflow.constraint.fragment import DEAD, Exit, Partition
from agentflow.constraint.lift_kernels import number_cells, token_functions, walk_tokens
from agentflow.constraint.limits import spend
from agentflow.constraint.surface_bytes import ByteDfa, Style, spell
from agentflow.constraint.vocabulary import Vocabulary

_STRING_EXIT = re.compile(rb'(.+?)("(?:|,|,"|:|:"|\}|\]))', re.DOTALL)
_VALUE_REST = re.compile(rb'[}\]]*(?:,[{\[]*"?)?')
_NUMBER_EXIT = re.compile(rb'([-+.eE0-9]*[0-9])([,\]}]"?)')

ExitTokens: TypeAlias = tuple[list[int], list[bytes], list[bytes]]
"""Tokens that may end a slot: id, the part inside, the rest. A token may be cut in several ways."""


class Lifted(NamedTuple):
    """A fragment as a dense table, with the characters that each step counts."""

    labels: IntArray
    partition: Partition
    representatives: IntArray
    table: IntArray  # (S, C) next state, -1 dead, -2 - i exit
    counts: IntArray  # (S, C) characters begun
    exits: tuple[Exit, ...]


def lift(starts: IntArray, table: IntArray, labels: IntArray, style: Style, vocabulary: Vocabulary) -> Lifted:
    """Move from characters to tokens."""
    key = lift_key(starts, table, labels, style)
    found: Lifted | None = vocabulary.fragments.get(key)
    if found is not None:
        return found
    automaton = spell(starts, table, style)
    num_states = len(automaton.table)
    labels = np.append(labels, np.zeros(num_states - len(labels), np.int32)).astype(np.int32)
    classes = _classify(automaton)
    function_of, signature, num_steps = token_functions(
        *vocabulary.trie, classes.kind, classes.table, automaton.num_chars, len(vocabulary)
    )
    spend(num_steps // 4096)
    exits = _find_exits(classes, automaton.num_chars, labels, exit_tokens(vocabulary, style))
    partition, representatives = _partition(function_of, signature, exits)
    lifted = Lifted(
        labels,
        Partition(partition),
        representatives,
        *_columns(automaton, representatives, exits, vocabulary),
        exits.kinds,
    )
    vocabulary.fragments[key] = lifted
    return lifted


def lift_key(starts: IntArray, table: IntArray, labels: IntArray, style: Style) -> tuple[object, ...]:
    """Give the name under which the vocabulary's store keeps a lift."""
    return ("lift", starts.tobytes(), table.tobytes(), labels.tobytes(), style)


class _Classes(NamedTuple):
    """Bytes that an automaton does not tell apart.

    Attributes:
        kind: ``(256,)`` uint32, class of each byte.
        table: ``(S, classes)`` int32, next state; in the last class, every state is dead.
    """

    kind: npt.NDArray[np.uint32]
    table: IntArray


def _classify(automaton: ByteDfa) -> _Classes:
    columns = np.ascontiguousarray(automaton.table.T)  # (256, S)
    dead = np.full(columns.shape[1], DEAD, np.int32)
    spelt = [column.tobytes() for column in columns]
    distinct = dict.fromkeys(spelt)
    distinct.pop(dead.tobytes(), None)
    numbers = {column: number for number, column in enumerate(distinct)}
    kind = [numbers.get(column, len(numbers)) for column in spelt]
    table = np.array([*(np.frombuffer(column, np.int32) for column in numbers), dead])  # (classes, S)
    return _Classes(np.array(kind, np.uint32), np.ascontiguousarray(table.T))


class _Exits(NamedTuple):
    """The tokens that leave the slot in the middle.

    Attributes:
        kinds: What they do.
        columns: For each such token the ways to cut it, as columns of what follows.
        codes: ``(S, U)`` int32 code of the exit, -1: none.
        counts: ``(S, U)`` int32 characters begun.
        hashes: ``(U,)`` uint64, equal for equal columns.
    """

    kinds: tuple[Exit, ...]
    columns: dict[int, list[int]]
    codes: IntArray
    counts: IntArray
    hashes: npt.NDArray[np.uint64]

    def step(self, token: int) -> tuple[IntArray, IntArray]:
        """Give the codes and counts of a token; in one state, one of its cuts at most ends the text."""
        first, *others = self.columns[token]
        codes, counts = self.codes[:, first], self.counts[:, first]
        for column in others:
            is_exit = self.codes[:, column] < DEAD
            codes = np.where(is_exit, self.codes[:, column], codes)
            counts = np.where(is_exit, self.counts[:, column], counts)
        return codes, counts


def _find_exits(classes: _Classes, num_chars: IntArray, labels: IntArray, cuts: ExitTokens) -> _Exits:
    """Find the tokens that end the slot's text and go on with what follows it."""
    columns, parts = _distinct_cuts(classes, cuts)
    if not parts:
        nothing = np.zeros((len(labels), 0), np.int32)
        return _Exits((), {}, nothing, nothing, np.zeros(0, np.uint64))
    flat = np.frombuffer(b"".join(kinds for kinds, _, _ in parts), np.uint8).copy()
    ends = np.cumsum([len(kinds) for kinds, _, _ in parts])
    starts = ends - [len(kinds) for kinds, _, _ in parts]
    stays, _ = walk_tokens(classes.table, num_chars, flat, starts, ends)  # (S, U)
    after, counts = walk_tokens(classes.table, num_chars, flat, starts, starts + [size for _, size, _ in parts])
    ending = np.where((after >= 0) & (stays < 0), labels[after], 0)  # (S, U)
    is_end = ending != 0
    names = list(dict.fromkeys(rest for _, _, rest in parts))
    pairs = ending.astype(np.int64) * len(names) + [names.index(rest) for _, _, rest in parts]
    values, places = np.unique(pairs[is_end], return_inverse=True)
    codes = np.full(ending.shape, DEAD, np.int32)
    codes[is_end] = -2 - places
    kinds = tuple(Exit(value // len(names), names[value % len(names)]) for value in values.tolist())
    hashes = _mix_arrays(np.arange(len(labels))[:, None] * 4096 + counts, 2**40 - codes.astype(np.int64))  # (S, U)
    with np.errstate(over="ignore"):
        added = np.where(is_end, hashes, 0).sum(axis=0, dtype=np.uint64)
    useful = set(np.flatnonzero(is_end.any(axis=0)).tolist())
    columns = {token: own for token, all_own in columns.items() if (own := [c for c in all_own if c in useful])}
    return _Exits(kinds, columns, codes, counts, added)


def _distinct_cuts(classes: _Classes, cuts: ExitTokens) -> tuple[dict[int, list[int]], list[tuple[bytes, int, bytes]]]:
    """Put cuts together that are equal class by class inside the slot.

    Returns:
        The numbers of the cuts of each token; and of each cut the classes of its bytes, the number of those
        inside the slot, and what it spells after that.
    """
    dead = classes.table.shape[1] - 1
    translation = bytes(min(kind, 255) for kind in classes.kind.tolist())
    columns: dict[int, list[int]] = {}
    numbers: dict[tuple[bytes, bytes], int] = {}
    parts: list[tuple[bytes, int, bytes]] = []
    for token, body, rest in zip(*cuts, strict=True):
        inside = body.translate(translation)
        if dead < 256 and dead in inside:  # noqa: PLR2004 - more than a byte holds: none is dead
            continue
        number = numbers.setdefault((inside, rest), len(parts))
        if number == len(parts):
            parts.append((inside + rest.translate(translation), len(inside), rest))
        columns.setdefault(token, []).append(number)
    return columns, parts


def _partition(function_of: IntArray, signature: npt.NDArray[np.uint64], exits: _Exits) -> tuple[IntArray, IntArray]:
    """Give the cell of each token ``(V,)``, and the first token of each cell, -1 for cell 0."""
    tokens = np.array(list(exits.columns), np.int32)
    signature = np.append(signature, np.uint64(0))  # of no function, -1, too
    own = signature[function_of[tokens]]
    with np.errstate(over="ignore"):
        own += np.array([exits.hashes[columns].sum() for columns in exits.columns.values()], np.uint64)
    values, cell = np.unique(np.concatenate([signature, own]), return_inverse=True)  # cell 0: signature 0
    partition: tuple[IntArray, IntArray] = number_cells(
        function_of, cell[: len(signature)], tokens, cell[len(signature) :], len(values)
    )
    return partition


def _mix_arrays(a: npt.NDArray[np.int64], b: npt.NDArray[np.int64]) -> npt.NDArray[np.uint64]:
    """Hash pairs of integers to 64 bits."""
    with np.errstate(over="ignore"):
        x = a.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + b.astype(np.uint64) * np.uint64(0xD6E8FEB86659FD93)
        x = (x ^ (x >> np.uint64(32))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed: npt.NDArray[np.uint64] = x ^ (x >> np.uint64(29))
    return mixed


def exits_key(style: Style) -> tuple[object, ...]:
    """Give the name under which the vocabulary's store keeps the tokens that may end a slot."""
    return ("exits", style)


def exit_tokens(vocabulary: Vocabulary, style: Style) -> ExitTokens:
    """Give the tokens that may end a slot: id, the part inside, the rest."""
    key = exits_key(style)
    found: ExitTokens | None = vocabulary.fragments.get(key)
    if found is None:
        found = vocabulary.fragments[key] = _value_exits(vocabulary) if style == "value" else _exits(vocabulary, style)
    return found


def _exits(vocabulary: Vocabulary, style: Style) -> ExitTokens:
    """Give the tokens that may end a string or a number and go on."""
    pattern = _STRING_EXIT if style == "json" else _NUMBER_EXIT
    mark = b'"' if style == "json" else b""
    matches = [
        (token, match)
        for token, data in enumerate(vocabulary.token_bytes)
        if data and mark in data and token not in vocabulary.end_ids and (match := pattern.fullmatch(data))
    ]
    return [token for token, _ in matches], [m[1] for _, m in matches], [m[2] for _, m in matches]


def _value_exits(vocabulary: Vocabulary) -> ExitTokens:
    """Give the tokens that may end an array or object and go on, cut in all possible places."""
    found: ExitTokens = ([], [], [])
    for token, data in enumerate(vocabulary.token_bytes):
        if not data or len(data) == 1 or token in vocabulary.end_ids or not (b"}" in data or b"]" in data):
            continue
        for at in range(1, len(data)):
            if data[at - 1] in b"}]" and _VALUE_REST.fullmatch(data, at):
                for column, value in zip(found, (token, data[:at], data[at:]), strict=True):
                    column.append(value)  # type: ignore[attr-defined]  # lists of different kinds
    return found


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
        if token in exits.columns:
            codes, begun = exits.step(token)
            table[:, cell] = np.where(codes < -1, codes, table[:, cell])
            counts[:, cell] = np.where(codes < -1, begun, counts[:, cell])
    return table, counts
