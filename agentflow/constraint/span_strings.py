"""The spans of a text that are in a set of strings, in any tokens, like other strings.

Of the vocabulary only the tokens count that stand in the text: a node is a place in the text, and with it a state of
the automaton of the set. Tokens that end the string and go on (``."``) leave the slot as they leave others.

    text  c o d e   A B - 1      (4 " AB" 7) (5 "A" 6) (5 "AB" 7) (6 "B-" 8) ...      place, token, place
"""

from __future__ import annotations

from itertools import chain
from typing import NamedTuple

import numpy as np

from agentflow.constraint.automaton import CharDfa
from agentflow.constraint.fragment import Exit
from agentflow.constraint.kernels import build_trie
from agentflow.constraint.lift import exit_tokens
from agentflow.constraint.limits import num_states_left, spend
from agentflow.constraint.span_nodes import SpanNodes
from agentflow.constraint.span_text import Places, SpanText
from agentflow.constraint.string_kernels import follow_pieces, tokens_along
from agentflow.constraint.surface_bytes import Style
from agentflow.constraint.vocabulary import Trie, Vocabulary

_MOST_EDGES_A_PLACE = 8
_PLACES_PER_STATE = 64
_NO_PIECES = np.zeros((3, 0), np.int64)


class Endings(NamedTuple):
    """The tokens that may end a string and go on, by the part inside the string.

    Attributes:
        trie: The parts inside, each with its number.
        begin: ``(K + 1,)``, where the tokens of each part begin.
        tokens: ``(2, T)`` the tokens, and the exit that each takes.
        exits: The exits.
    """

    trie: _RootedTrie
    begin: Places
    tokens: Places
    exits: tuple[Exit, ...]


class _RootedTrie(NamedTuple):
    """A trie with the nodes of one and of two bytes; see `agentflow.constraint.span_kernels.tokens_along`."""

    trie: Trie
    first: Places
    second: Places


class _Bytes(NamedTuple):
    """A text in bytes.

    Attributes:
        data: ``(N,)`` the bytes, -1 where no span goes on.
        places: ``(C + 1,)``, where each place of the text lies.
        num_chars: ``(N + 1,)`` characters that end up to each place.
    """

    data: Places
    places: Places
    num_chars: Places


def string_nodes(
    text: SpanText, starts: Places, allowed: CharDfa, style: Style, vocabulary: Vocabulary
) -> tuple[SpanNodes, Endings | None]:
    """Give the automaton of the spans in a set; symbols beyond the tokens are the numbers of `Endings`.

    Args:
        text: The text.
        starts: Places where such spans begin.
        allowed: The set.
        style: How characters are spelt.
        vocabulary: The vocabulary.
    """
    spelt = _spell(text, style)
    endings = _endings(vocabulary, style) if style == "json" else None
    pieces = _find(_rooted_trie(vocabulary), spelt.data)
    ends = _NO_PIECES
    if endings is not None:
        ends = _find(endings.trie, spelt.data)
        ends[1] += len(vocabulary)
    return _follow(spelt, (pieces, ends), text, spelt.places[starts], allowed), endings


def _follow(spelt: _Bytes, pieces: tuple[Places, Places], text: SpanText, first: Places, allowed: CharDfa) -> SpanNodes:
    """Follow all pieces from the first places on; see `agentflow.constraint.string_kernels.follow_pieces`."""
    num_places, num_states, num_left = len(spelt.num_chars), allowed.num_states, num_states_left()
    spend(num_places * num_states // _PLACES_PER_STATE)
    places = np.stack([spelt.num_chars, np.zeros(num_places, np.int64)])
    places[1, spelt.places[text.ends]] = 1
    automaton = text.columns(allowed), allowed.table, allowed.accepting
    nodes = np.empty((2, min(num_places * num_states, num_left) + 3), np.int64)
    num_edges, room = -1, 4 * sum(found.shape[1] for found in pieces) + 64
    while num_edges < 0:
        numbers, edges = np.zeros((num_places, num_states), np.int32), np.empty((2, room), np.int64)
        numbers[first, 0] = 1
        num, num_edges = follow_pieces(*pieces, places, *automaton, numbers, nodes, edges)
        room *= 4
    spend(num if num >= 0 else num_left + 1)
    numbered = numbers[first, 0].astype(np.int64)
    return SpanNodes(numbered, nodes[0, : num + 1], edges[:, :num_edges], nodes[1, :num].astype(bool))


def _spell(text: SpanText, style: Style) -> _Bytes:
    """Spell a text in bytes; as in other slots, what has no short spelling has none."""
    spelt = text.spell(style)
    wide = 1 + (text.codes >= 0x80).astype(np.int64) + (text.codes >= 0x800) + (text.codes >= 0x10000)  # noqa: PLR2004 - UTF-8
    size = np.diff(spelt.places) + wide - 1
    places = np.zeros(len(size) + 1, np.int64)
    np.cumsum(size, out=places[1:])
    data = np.frombuffer(spelt.text.encode("utf-8", "surrogatepass"), np.uint8).astype(np.int64)
    is_broken = text.is_break[:-1] | (size > 4) | ((text.codes >= 0xD800) & (text.codes <= 0xDFFF))  # noqa: PLR2004
    data[np.repeat(is_broken, size)] = -1
    num_chars = np.zeros(len(data) + 1, np.int64)
    num_chars[places[1:]] = 1
    return _Bytes(data, places, np.cumsum(num_chars))


def _find(trie: _RootedTrie, data: Places) -> Places:
    """Give all pieces of a text that stand in a trie, ``(3, F)``: place, value and end."""
    room, num = _MOST_EDGES_A_PLACE * len(data), -1
    while num < 0:
        found = np.empty((3, room), np.int64)
        num = tokens_along(tuple(trie.trie), trie.first, trie.second, data, found)
        room *= 4
    return np.ascontiguousarray(found[:, :num])  # of one layout, even if it is empty: the kernels compile once


def _rooted_trie(vocabulary: Vocabulary) -> _RootedTrie:
    found: _RootedTrie | None = vocabulary.fragments.get("rooted trie")
    if found is None:
        found = vocabulary.fragments["rooted trie"] = _root(vocabulary.trie)
    return found


def _root(trie: Trie) -> _RootedTrie:
    ones, twos = np.flatnonzero(trie.depth == 1), np.flatnonzero(trie.depth == 2)  # noqa: PLR2004
    first, second = np.full(256, -1, np.int64), np.full(65_536, -1, np.int64)
    first[trie.byte[ones]] = ones
    above = trie.byte[ones[np.searchsorted(ones, twos) - 1]].astype(np.int64)
    second[256 * above + trie.byte[twos]] = twos
    return _RootedTrie(trie, first, second)


def _endings(vocabulary: Vocabulary, style: Style) -> Endings:
    """Give the tokens that may end a string, from the vocabulary's store or made new."""
    key = ("endings", style)
    found: Endings | None = vocabulary.fragments.get(key)
    if found is None:
        found = vocabulary.fragments[key] = _make_endings(*exit_tokens(vocabulary, style))
    return found


def _make_endings(tokens: list[int], bodies: list[bytes], rests: list[bytes]) -> Endings:
    kinds = {rest: i for i, rest in enumerate(dict.fromkeys(rests))}
    by_body: dict[bytes, list[tuple[int, int]]] = {}
    for token, body, rest in zip(tokens, bodies, rests, strict=True):
        by_body.setdefault(body, []).append((token, kinds[rest]))
    ordered = sorted(by_body)
    flat = np.frombuffer(b"".join(ordered) or b"\0", np.uint8).copy()
    offsets = np.cumsum([0, *map(len, ordered)])
    trie = Trie(*build_trie(flat, offsets.astype(np.int64), np.arange(len(ordered)).astype(np.int32)))
    pairs = np.array(list(chain.from_iterable(by_body[body] for body in ordered)), np.int64).reshape(-1, 2)
    begin = np.cumsum([0, *(len(by_body[body]) for body in ordered)])
    return Endings(_root(trie), begin, pairs.T.copy(), tuple(Exit(1, rest) for rest in kinds))
