r"""Spelling: automata over characters become automata over bytes.

Each character is spelt in exactly one way. In the ``raw`` style that is its UTF-8; in the ``json`` style quotes,
backslashes and control characters are escaped as the shortest escape. Surrogates have no spelling; nor, in open
slots of the ``json`` style, have the control characters that only ``\u00..`` can write.

    state q --é--> t     becomes     q --C3--> m --A9--> t
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Literal, NamedTuple, TypeAlias

import numpy as np

from agentflow.constraint.automaton import NUM_CODES, IntArray
from agentflow.constraint.limits import spend

Style: TypeAlias = Literal["raw", "json", "value"]
"""``raw`` text, the inside of a ``json`` string, or the text of a whole JSON ``value``."""
_Bytes: TypeAlias = tuple[tuple[int, int], ...]
"""One byte range after the other: the strings that take a byte of each."""

_LONGEST = ((0x7F, 1), (0x7FF, 2), (0xFFFF, 3), (0x10FFFF, 4))
_SHORT_ESCAPES = {8: b"\\b", 9: b"\\t", 10: b"\\n", 12: b"\\f", 13: b"\\r", 34: b'\\"', 92: b"\\\\"}
_SURROGATES = (0xD800, 0xDFFF)


class ByteDfa(NamedTuple):
    """A deterministic automaton over bytes, states of the character automaton first.

    Attributes:
        table: ``(S, 256)`` int32, -1 is dead.
        num_chars: ``(S,)`` int32, 1 in states in which the next byte begins a character.
    """

    table: IntArray
    num_chars: IntArray


def escape(text: str, style: Style) -> str:
    """Spell a string in a style."""
    if style != "json" or (text.isprintable() and '"' not in text and "\\" not in text):
        return text
    return "".join(_escape_code(ord(c)).decode() if ord(c) < 32 or c in '"\\' else c for c in text)  # noqa: PLR2004


def spell(starts: IntArray, table: IntArray, style: Style) -> ByteDfa:
    """Turn a table over ranges of code points into one over bytes.

    Args:
        starts: ``(R,)`` first code point of each range.
        table: ``(S, R)`` next state or -1.
        style: How to spell.
    """
    bounds = [*starts.tolist(), NUM_CODES]
    rows: list[list[int]] = [[-1] * 256 for _ in range(len(table))]
    interned: dict[tuple[int, int, tuple[int, ...]], int] = {}
    for state, targets in enumerate(table.tolist()):
        names: dict[int, int] = {}
        shape: list[tuple[int, int, int]] = []
        for column, target in enumerate(targets):
            if target < 0:
                continue
            name = names.setdefault(target, len(names))
            if shape and shape[-1][2] == name and shape[-1][1] + 1 == bounds[column]:
                shape[-1] = (shape[-1][0], bounds[column + 1] - 1, name)
            else:
                shape.append((bounds[column], bounds[column + 1] - 1, name))
        _Instance(rows, interned, _template(tuple(shape), style), list(names), {0: state}).fill(0)
    num_chars = np.zeros(len(rows), np.int32)
    num_chars[: len(table)] = 1
    return ByteDfa(np.array(rows, np.int32).reshape(len(rows), 256), num_chars)


class _Node(NamedTuple):
    """A state between two characters' ends: byte ranges to other nodes (>= 0) or to named targets (< 0)."""

    edges: tuple[tuple[int, int, int], ...]
    names: tuple[int, ...]


@dataclass(frozen=True)
class _Instance:
    """A template with real targets; equal nodes with equal targets become one state."""

    rows: list[list[int]]
    interned: dict[tuple[int, int, tuple[int, ...]], int]
    nodes: tuple[_Node, ...]
    targets: list[int]
    made: dict[int, int]

    def place(self, node: int) -> int:
        """Give the state of a node."""
        if node not in self.made:
            key = (id(self.nodes), node, tuple([self.targets[name] for name in self.nodes[node].names]))
            fresh = key not in self.interned
            if fresh:
                spend()
                self.interned[key] = len(self.rows)
                self.rows.append([-1] * 256)
            self.made[node] = self.interned[key]
            if fresh:
                self.fill(node)
        return self.made[node]

    def fill(self, node: int) -> None:
        """Write the edges of a node, and those of nodes that are new."""
        row = self.rows[self.made[node]]
        for low, high, child in self.nodes[node].edges:
            target = self.targets[-1 - child] if child < 0 else self.place(child)
            row[low : high + 1] = [target] * (high + 1 - low)


@lru_cache(maxsize=2048)
def _template(shape: tuple[tuple[int, int, int], ...], style: Style) -> tuple[_Node, ...]:
    """Spell the characters that leave one state; node 0 is the state itself."""
    items = [(spelling, name) for low, high, name in shape for spelling in _spellings(low, high, style)]
    nodes: list[_Node | None] = []
    index: dict[tuple[tuple[_Bytes, int], ...], int] = {}

    def add(group: tuple[tuple[_Bytes, int], ...]) -> int:
        if group in index:
            return index[group]
        at = index[group] = len(nodes)
        nodes.append(None)
        cuts = sorted({cut for spelling, _ in group for cut in (spelling[0][0], spelling[0][1] + 1)})
        edges = []
        for low, after in pairwise(cuts):
            inside = [(s[1:], name) for s, name in group if s[0][0] <= low <= s[0][1]]
            if inside:
                child = -1 - inside[0][1] if not inside[0][0] else add(tuple(sorted(set(inside))))
                edges.append((low, after - 1, child))
        nodes[at] = _Node(tuple(edges), tuple(sorted({name for _, name in group})))
        return at

    add(tuple(items))
    return tuple(node for node in nodes if node is not None)


@lru_cache(maxsize=4096)
def _spellings(low: int, high: int, style: Style) -> tuple[_Bytes, ...]:
    """Spell the code points ``low..high`` as few products of byte ranges."""
    spellings: list[_Bytes] = []
    if style == "json":
        special = [c for c in _SHORT_ESCAPES if low <= c <= high]
        spellings += [tuple((b, b) for b in _escape_code(code)) for code in special]
        plain = _without(low, high, [(0, 31), (34, 34), (92, 92), _SURROGATES])
    else:
        plain = _without(low, high, [_SURROGATES])
    for lo, hi in plain:
        spellings += _utf8(lo, hi)
    return tuple(spellings)


def _escape_code(code: int) -> bytes:
    return _SHORT_ESCAPES.get(code) or b"\\u%04x" % code


def _without(low: int, high: int, holes: list[tuple[int, int]]) -> list[tuple[int, int]]:
    pieces = []
    for lo, hi in holes:
        if low < lo and low <= high:
            pieces.append((low, min(high, lo - 1)))
        low = max(low, hi + 1)
    return [*pieces, (low, high)] if low <= high else pieces


def _utf8(low: int, high: int) -> list[_Bytes]:
    """Cut a range of code points so that each part is a product of byte ranges."""
    for last, _ in _LONGEST:
        if low <= last < high:
            return _utf8(low, last) + _utf8(last + 1, high)
    size = next(size for last, size in _LONGEST if high <= last)
    for i in range(1, size):
        mask = (1 << (6 * i)) - 1
        if low & ~mask != high & ~mask:
            if low & mask:
                return _utf8(low, low | mask) + _utf8((low | mask) + 1, high)
            if high & mask != mask:
                return _utf8(low, (high & ~mask) - 1) + _utf8(high & ~mask, high)
    return [tuple(zip(chr(low).encode(), chr(high).encode(), strict=True))]
