"""Values without a schema: any array and any object, as one slot.

Where a schema leaves a value open, its arrays and objects are one regular set, because their depth is bounded. Their
automaton is lifted to a vocabulary once, like that of a free string, and copied into every place that needs it; the
brackets that open it are literals, so that they can merge with what stands before them:

    '":{"' --[key, colon, value, ... closing bracket]--> ','

It remembers the brackets that are open, so it has a part for every sequence of brackets, and parts are what
it costs. Which sequences there are, and what is left out of the deeper ones, is said at `containers`; all that can be
written is valid. How deep a place may be is decided by `allot_depths`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from agentflow.constraint.automaton import NUM_CODES, CharDfa, IntArray
from agentflow.constraint.limits import spend
from agentflow.constraint.numbers import all_numbers, decimals

ENTRIES = ('{"', "[", '["', '[{"')
"""Beginnings of an array or object that is not empty, after which the slot may be entered."""

DEEPEST = 7
"""Most brackets within brackets."""
FULL_DEPTH = 2
"""Brackets within which numbers may have exponents, and characters be cut into several tokens of any vocabulary."""
_MATRIX_DEPTH = 3
_MATRIX_REACH = 5
_WORDS = {"t": "rue", "f": "alse", "n": "ull"}
_ESCAPED = '"\\bfnrt'
_CLOSERS = {"{": "}", "[": "]"}
_SELF, _PARENT, _OBJECT, _ARRAY = range(4)


class _State(NamedTuple):
    """Open brackets, and what is read: a mode, with the rest of a word or the state of a number."""

    stack: str
    mode: str
    rest: str | int = ""


@dataclass(frozen=True, eq=False)
class Containers(CharDfa):
    """The texts of arrays and objects of a depth: the first states of a deeper one, and what leads to them.

    Attributes:
        depth: Most brackets within brackets.
        comma: What separates entries.
        colon: What separates a key from its value.
        parts: ``(S,)`` int32, which brackets are open in each state, ascending: a number of `bracket_paths`.
    """

    depth: int
    comma: str
    colon: str
    parts: IntArray

    @property
    def depths(self) -> IntArray:
        """``(S,)`` int32, how many brackets are open in each state, ascending."""
        return bracket_paths().depth[self.parts]

    @cached_property
    def words(self) -> IntArray:
        """The states within ``true``, ``false`` and ``null``."""
        letters = np.searchsorted(self.starts, [ord(char) for char in sorted(set("".join(_WORDS.values())))])
        is_within = ((self.table >= 0).sum(axis=1) == 1) & (self.table[:, letters] >= 0).any(axis=1)
        return np.flatnonzero(is_within).astype(np.int32)


@lru_cache(maxsize=32)
def containers(depth: int, comma: str, colon: str) -> Containers:
    """Give the texts of arrays and objects.

    What is left out: arrays right in arrays beyond three brackets, and within such more than five brackets (both are
    rare, and would double the automaton with every bracket); numbers with exponents within more than two.

    Args:
        depth: Brackets within brackets, from 1 to `DEEPEST`.
        comma: What separates entries.
        colon: What separates a key from its value.
    """
    if depth < DEEPEST:
        return _cut(containers(DEEPEST, comma, colon), depth)
    return _write(comma, colon)


def stacks(depth: int) -> list[str]:
    """Give the sequences of open brackets, shorter ones first."""
    found = [""]
    for stack in found:
        found += [stack + char for char in _CLOSERS if _may_open(stack, char, depth)]
    return found[1:]


@lru_cache(maxsize=DEEPEST + 1)
def num_stacks(depth: int) -> int:
    """Give the number of sequences of open brackets: the parts of an automaton."""
    return len(stacks(depth))


class BracketPaths(NamedTuple):
    """The sequences of open brackets, shorter ones first, number 0: none.

    Attributes:
        depth: ``(P,)`` int32, how many are open.
        bits: ``(P,)`` int32, which, the innermost last: 0 for an object, 1 for an array.
    """

    depth: IntArray
    bits: IntArray


@lru_cache(maxsize=1)
def bracket_paths() -> BracketPaths:
    """Give the sequences that number the parts of an automaton."""
    found = ["", *stacks(DEEPEST)]
    bits = [int("0" + stack.replace("{", "0").replace("[", "1"), 2) for stack in found]
    return BracketPaths(np.array([len(stack) for stack in found], np.int32), np.array(bits, np.int32))


def _may_open(stack: str, char: str, depth: int) -> bool:
    if len(stack) >= depth:
        return False
    if stack[-1:] + char == "[[" and len(stack) >= _MATRIX_DEPTH:
        return False
    return "[[" not in stack or len(stack) < _MATRIX_REACH


def _cut(whole: Containers, depth: int) -> Containers:
    """Take the states within at most so many brackets."""
    num = int(np.searchsorted(whole.depths, depth, side="right"))
    table = np.where(whole.table[:num] < num, whole.table[:num], -1)
    return Containers(whole.starts, table, whole.accepting[:num], depth, whole.comma, whole.colon, whole.parts[:num])


class _PartKind(NamedTuple):
    """What the part of a stack looks like depends on this alone."""

    top: str
    is_full: bool
    openers: str


class _Part(NamedTuple):
    """The states in which a stack is open; the first is that behind a value, the second behind the bracket.

    Attributes:
        table: ``(M, R)`` int32, number of the next state within its own part, -1: dead.
        place: ``(M, R)`` int32, whose part it is: `_SELF`, `_PARENT`, `_OBJECT` or `_ARRAY`.
    """

    table: IntArray
    place: IntArray


def _kind(stack: str) -> _PartKind:
    openers = "".join(char for char in _CLOSERS if _may_open(stack, char, DEEPEST))
    return _PartKind(stack[-1], len(stack) <= FULL_DEPTH, openers)


@lru_cache(maxsize=64)
def _part(kind: _PartKind, comma: str, colon: str) -> _Part:
    """Explore the states of a part."""
    reader = _Reader(kind, comma, colon)
    numbers: dict[tuple[str, str | int], int] = {("end", ""): 0, ({"{": "object", "[": "array"}[kind.top], ""): 1}
    rows, places = [], []
    ranges = _ranges()
    todo = list(numbers)
    for mode, rest in todo:
        row, place = [-1] * len(ranges), [_SELF] * len(ranges)
        for column, (code, _) in enumerate(ranges):
            after = reader.step(_State(kind.top, mode, rest), code)
            if after is None:
                continue
            if after.stack == kind.top:
                key = (after.mode, after.rest)
                if key not in numbers:
                    numbers[key] = len(todo)
                    todo.append(key)
                row[column] = numbers[key]
            elif not after.stack:
                row[column], place[column] = 0, _PARENT
            else:
                row[column], place[column] = 1, _OBJECT if after.stack[-1] == "{" else _ARRAY
        rows.append(row)
        places.append(place)
    return _Part(np.array(rows, np.int32), np.array(places, np.int32))


def _write(comma: str, colon: str) -> Containers:
    """Put the parts of all stacks together: state 0 is the start, state 1 the end."""
    all_stacks = stacks(DEEPEST)
    parts = [_part(_kind(stack), comma, colon) for stack in all_stacks]
    sizes = [len(part.table) for part in parts]
    ends = 2 + np.cumsum(sizes)
    begin_of = {"": 1, **dict(zip(all_stacks, (ends - sizes).tolist(), strict=True))}
    spend(int(ends[-1]))
    starts, columns = _columns()
    table = np.full((int(ends[-1]), len(starts)), -1, np.int32)
    for char in _CLOSERS:
        table[0, np.searchsorted(starts, ord(char))] = begin_of[char] + 1
    for stack, part in zip(all_stacks, parts, strict=True):
        begin = begin_of[stack]
        bases = np.array([begin, begin_of[stack[:-1]], begin_of.get(stack + "{", -1), begin_of.get(stack + "[", -1)])
        table[begin : begin + len(part.table), columns] = np.where(part.table < 0, -1, part.table + bases[part.place])
    part_of = np.repeat(np.arange(len(all_stacks) + 1), [2, *sizes]).astype(np.int32)
    return Containers(starts, table, np.arange(len(table)) == 1, DEEPEST, comma, colon, part_of)


def _columns() -> tuple[IntArray, IntArray]:
    """Give the first code points of all ranges, and the column of each range that is read."""
    ranges = _ranges()
    firsts = {0, *(low for low, _ in ranges), *(high + 1 for _, high in ranges)} - {NUM_CODES}
    starts = np.array(sorted(firsts), np.int32)
    return starts, np.searchsorted(starts, [low for low, _ in ranges]).astype(np.int32)


class Kind(NamedTuple):
    """Places that are given the same depth.

    Attributes:
        is_aside: Whether no keyword speaks of them, and they stand in an object that declares other properties.
        nesting: Brackets around them.
    """

    is_aside: bool
    nesting: int


_MOST = {False: (300, 300, 300, 560, 560, 120, 120), True: (300, 180, 180, 0, 0, 0, 0)}
"""Parts that all places may have together when those aside (``True``), or others, are given depth 1, 2, ..."""
_ROUNDS = (
    [(False, 1)], [(True, 1)], [(False, 2), (True, 2)], [(False, 3), (True, 3)],
    [(False, 4), (False, 5), (True, 4), (True, 5)], [(False, 6), (False, 7), (True, 6), (True, 7)],
)  # fmt: skip
"""Who is given which depth first."""
_MAX_PARTS = 380
_SHARE = 8
_NODES_PER_PART = 12


def allot_depths(places: Mapping[Kind, int], num_nodes: int) -> dict[Kind, int]:
    """Say how deep values without a schema may be, so that all of them together stay small.

    Each kind of place is deepened bracket by bracket, the cheapest step of a round first: a lone place near the root,
    which may hold a whole document, gets deeper than many places far inside. Places aside, which nearly every schema
    has, are at most three deep unless more adds little to what is there anyway.

    Args:
        places: Number of places of each kind.
        num_nodes: Size of the graph around them; about a dozen nodes cost as much as a part.

    Returns:
        The depth of each kind; 0 means scalars and empty brackets alone.
    """
    depths = dict.fromkeys(places, 0)
    num_parts = 0
    num_around = num_nodes // _NODES_PER_PART
    for round_ in _ROUNDS:
        steps = sorted(
            (places[kind] * (num_stacks(depth) - num_stacks(depth - 1)), depth, kind)
            for is_aside, depth in round_ for kind in places if kind.is_aside == is_aside
        )  # fmt: skip
        for cost, depth, kind in steps:
            most = _MOST[kind.is_aside][depth - 1]
            if depth == 1:
                most = max(most, num_around)
            elif _SHARE * cost <= num_parts + num_around:
                most = _MAX_PARTS + num_around
            if depths[kind] == depth - 1 and num_parts + cost <= most:
                depths[kind] = depth
                num_parts += cost
    return depths


@lru_cache(maxsize=1)
def _ranges() -> list[tuple[int, int]]:
    """Give ranges of code points that the reader does not tell apart."""
    marks = {ord(char) for char in '"\\{}[],: -+.eE0' + _ESCAPED + "".join(k + v for k, v in _WORDS.items())}
    cuts = sorted({0x20, NUM_CODES, ord("1"), ord("9") + 1, *marks, *(code + 1 for code in marks)})
    return [(low, after - 1) for low, after in pairwise(cuts)]


class _Reader:
    """Reads on within one pair of brackets, up to the next bracket."""

    def __init__(self, kind: _PartKind, comma: str, colon: str) -> None:
        self._openers = kind.openers
        self._comma = comma
        self._colon = colon
        self._numbers = all_numbers() if kind.is_full else decimals()

    def step(self, state: _State, code: int) -> _State | None:  # noqa: PLR0911 - one mode a line
        """Read one character."""
        char = chr(code)
        if state.mode in ("key", "string"):
            return self._in_string(state, char)
        if state.mode in ("key escape", "string escape"):
            return _State(state.stack, state.mode.partition(" ")[0]) if char in _ESCAPED else None
        if state.mode == "value":
            return self._value(state.stack, char)
        if state.mode in ("object", "array"):
            return self._first(state, char)
        if state.mode == "number":
            following = self._number_step(int(state.rest), code)
            if following >= 0:
                return _State(state.stack, "number", following)
            return self._after(state.stack, char) if self._numbers.accepting[int(state.rest)] else None
        if state.mode == "end":
            return self._after(state.stack, char)
        return self._in_text(state, char)

    def _in_string(self, state: _State, char: str) -> _State:
        if char == "\\":
            return _State(state.stack, state.mode + " escape")
        if char != '"':
            return state
        return _State(state.stack, "colon", self._colon) if state.mode == "key" else _State(state.stack, "end")

    def _in_text(self, state: _State, char: str) -> _State | None:
        """Read on in a word, a comma or a colon."""
        rest = str(state.rest)
        if char != rest[0]:
            return None
        if len(rest) > 1:
            return _State(state.stack, state.mode, rest[1:])
        if state.mode == "comma":
            return self._entry(state.stack)
        return _State(state.stack, {"word": "end", "quote": "key", "colon": "value"}[state.mode])

    def _value(self, stack: str, char: str) -> _State | None:
        if char == '"':
            return _State(stack, "string")
        if char in _WORDS:
            return _State(stack, "word", _WORDS[char])
        if char in _CLOSERS:
            return _State(stack + char, "object" if char == "{" else "array") if char in self._openers else None
        following = self._number_step(0, ord(char))
        return _State(stack, "number", following) if following >= 0 else None

    def _first(self, state: _State, char: str) -> _State | None:
        """Read what comes after an opening bracket."""
        if char == _CLOSERS[state.stack[-1]]:
            return _State(state.stack[:-1], "end")
        if state.mode == "array":
            return self._value(state.stack, char)
        return _State(state.stack, "key") if char == '"' else None

    def _after(self, stack: str, char: str) -> _State | None:
        """Read what comes after a value."""
        if char == _CLOSERS[stack[-1]]:
            return _State(stack[:-1], "end")
        if char != self._comma[0]:
            return None
        if len(self._comma) > 1:
            return _State(stack, "comma", self._comma[1:])
        return self._entry(stack)

    @staticmethod
    def _entry(stack: str) -> _State:
        """Expect one more entry."""
        return _State(stack, "value") if stack[-1] == "[" else _State(stack, "quote", '"')

    def _number_step(self, state: int, code: int) -> int:
        return self._numbers.step(state, code)
