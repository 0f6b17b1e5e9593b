r"""Characters -> tokens: what each token of a vocabulary does to an automaton over characters.

Tokens that move every state alike are one cell:

    free string:  state 0 --[cell 1: plain text]--> 0      state 0 --[cell 2: "\xC3"]--> 3 ...

A token may also leave the slot in the middle, as ``."`` does at the end of a string: then its cell leads to
an exit, which names what the token spells after the slot's end. A lift depends on the automaton and the
vocabulary alone.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from agentflow.constraint.automaton import IntArray
from agentflow.constraint.fragment import DEAD, Exit, Partition
from agentflow.constraint.kernels import hash_columns, walk_tokens
from agentflow.constraint.limits import spend
from agentflow.constraint.surface_bytes import ByteDfa, Style, spell
from agentflow.constraint.vocabulary import Vocabulary

_STRING_EXIT = re.compile(rb'(.+?)("(?:|,|,"|:|:"|\}|\]))', re.DOTALL)
_VALUE_REST = re.compile(rb'[}\]]*(?:,[{\[]*"?)?')
_NUMBER_EXIT = re.compile(rb'([-+.eE0-9]*[0-9])([,\]}]"?)')


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
    signature = np.zeros(len(vocabulary), np.uint64)
    sources = np.arange(num_states, dtype=np.int32)
    spend(hash_columns(*vocabulary.trie, automaton.table, automaton.num_chars, sources, signature) // 4096)
    exits = _find_exits(automaton, labels, style, vocabulary, signature)
    allowed = np.flatnonzero(signature)
    _, first, cells = np.unique(signature[allowed], return_index=True, return_inverse=True)
    partition = np.zeros(len(vocabulary), np.int32)
    partition[allowed] = cells + 1
    representatives = np.append(-1, allowed[first]).astype(np.int32)
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
        added = np.where(ending, hashes, 0).sum(axis=0, dtype=np.uint64)[columns]
        np.add.at(signature, np.array(tokens)[columns], added)
    return _Exits(kinds, _by_token(tokens, exit_codes, counts, columns.tolist()))


def _by_token(
    tokens: list[int], codes: IntArray, counts: IntArray, columns: list[int]
) -> dict[int, tuple[IntArray, IntArray]]:
    """Merge the columns of tokens that can be cut in several places; in one state, one cut at most ends the text."""
    found: dict[int, tuple[IntArray, IntArray]] = {}
    for k in columns:
        code, count = codes[:, k], counts[:, k]
        if tokens[k] in found:
            known_code, known_count = found[tokens[k]]
            code, count = np.where(code < DEAD, code, known_code), np.where(code < DEAD, count, known_count)
        found[tokens[k]] = (code, count)
    return found


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
    found: tuple[list[int], list[bytes], list[bytes]] | None = vocabulary.fragments.get(key)
    if found is None:
        found = vocabulary.fragments[key] = _value_exits(vocabulary) if style == "value" else _exits(vocabulary, style)
    return found


def _exits(vocabulary: Vocabulary, style: Style) -> tuple[list[int], list[bytes], list[bytes]]:
    """Give the tokens that may end a string or a number and go on."""
    pattern = _STRING_EXIT if style == "json" else _NUMBER_EXIT
    mark = b'"' if style == "json" else b""
    matches = [
        (token, match)
        for token, data in enumerate(vocabulary.token_bytes)
        if data and mark in data and token not in vocabulary.end_ids and (match := pattern.fullmatch(data))
    ]
    return [token for token, _ in matches], [m[1] for _, m in matches], [m[2] for _, m in matches]


def _value_exits(vocabulary: Vocabulary) -> tuple[list[int], list[bytes], list[bytes]]:
    """Give the tokens that may end an array or object and go on, cut in all possible places."""
    found: tuple[list[int], list[bytes], list[bytes]] = ([], [], [])
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
        if token in exits.tokens:
            codes, begun = exits.tokens[token]
            table[:, cell] = np.where(codes < -1, codes, table[:, cell])
            counts[:, cell] = np.where(codes < -1, begun, counts[:, cell])
    return table, counts
