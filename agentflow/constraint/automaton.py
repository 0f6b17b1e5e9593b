"""Deterministic automata over characters, and their algebra.

    starts:  0 ... 'a' ... '{' ...        first code point of each range
    state 0  .      1      .              table[0] = (-1, 1, -1)
    state 1  .      1      .   accepting  table[1] = (-1, 1, -1)

An automaton reads code points, so that length, patterns and complements mean what JSON Schema means;
`agentflow.constraint.surface` spells it out in bytes. State 0 is the start, -1 is the dead state, and every
state of a finished automaton lies on a path to acceptance. Sets are closed under `intersect`, `unite`,
`subtract` and `complement`; all four return minimal automata. Equal minimal automata are one object, and what was
computed of small ones is remembered. The loops are in `agentflow.constraint.set_kernels`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from threading import Lock
from typing import TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from agentflow.constraint import set_kernels
from agentflow.constraint.limits import num_states_left, spend

IntArray: TypeAlias = npt.NDArray[np.int32]
BoolArray: TypeAlias = npt.NDArray[np.bool_]
Ranges: TypeAlias = tuple[tuple[int, int], ...]
"""Sorted, disjoint, inclusive ranges of code points."""

NUM_CODES = 0x110000
_MAX_REMEMBERED = 4096
_MAX_REMEMBERED_CELLS = 20_000
_State = TypeVar("_State", bound=Hashable)


@dataclass(frozen=True, eq=False)
class CharDfa:
    """A regular set of strings.

    Attributes:
        starts: ``(R,)`` int32, first code point of each range, ascending from 0.
        table: ``(S, R)`` int32, next state or -1.
        accepting: ``(S,)`` bool.
    """

    starts: IntArray
    table: IntArray
    accepting: BoolArray

    @property
    def num_states(self) -> int:
        """Number of states; 0 for the empty set."""
        return len(self.table)

    @cached_property
    def is_empty(self) -> bool:
        """Whether no string is in the set."""
        return not self.accepting.any()

    @cached_property
    def is_universal(self) -> bool:
        """Whether every string is in the set."""
        return self.num_states == 1 and bool(self.accepting[0]) and bool((self.table == 0).all())

    @cached_property
    def key(self) -> tuple[bytes, bytes, bytes]:
        """What makes two minimal automata equal."""
        return self.starts.tobytes(), self.table.tobytes(), self.accepting.tobytes()

    @cached_property
    def _rows(self) -> tuple[list[int], list[list[int]]]:
        return self.starts.tolist(), self.table.tolist()

    def accepts(self, text: str) -> bool:
        """Say whether `text` is in the set."""
        if self.is_empty:
            return False
        if self.is_universal:
            return True
        columns = np.searchsorted(self.starts, np.array([ord(c) for c in text], dtype=np.int32), side="right") - 1
        state = 0
        rows = self._rows[1]
        for column in columns.tolist():
            state = rows[state][column]
            if state < 0:
                return False
        return bool(self.accepting[state])

    def step(self, state: int, code: int) -> int:
        """Give the state after one character, -1 where there is none."""
        starts, rows = self._rows
        return rows[state][bisect_right(starts, code) - 1]

    @cached_property
    def max_length(self) -> int | None:
        """Characters of the longest string, ``None`` where there is no longest."""
        depth = np.where(self.accepting, 0, -1)
        for _ in range(self.num_states + 1):
            following = np.where(self.table >= 0, depth[self.table], -1).max(axis=1, initial=-1)
            deeper = np.maximum(np.where(following >= 0, following + 1, -1), np.where(self.accepting, 0, -1))
            if (deeper == depth).all():
                return int(depth[0])
            depth = deeper
        return None


class _Store:
    """The most recently used values, shared by all threads."""

    def __init__(self) -> None:
        self._values: OrderedDict[Hashable, CharDfa] = OrderedDict()
        self._lock = Lock()

    def get(self, key: Hashable) -> CharDfa | None:
        """Give what was kept under a key."""
        with self._lock:
            found = self._values.get(key)
            if found is not None:
                self._values.move_to_end(key)
            return found

    def keep(self, key: Hashable, dfa: CharDfa) -> CharDfa:
        """Keep a small automaton; give the one to use."""
        if dfa.table.size > _MAX_REMEMBERED_CELLS:
            return dfa
        with self._lock:
            dfa = self._values.setdefault(key, dfa)
            if len(self._values) > _MAX_REMEMBERED:
                self._values.popitem(last=False)
        return dfa


_MINIMAL = _Store()
_PRODUCTS = _Store()
_FINITE = _Store()


def empty() -> CharDfa:
    """Give the empty set."""
    return CharDfa(np.zeros(1, np.int32), np.full((1, 1), -1, np.int32), np.zeros(1, bool))


def universal() -> CharDfa:
    """Give the set of all strings."""
    return CharDfa(np.zeros(1, np.int32), np.zeros((1, 1), np.int32), np.ones(1, bool))


def from_strings(strings: Iterable[str]) -> CharDfa:
    """Give a finite set."""
    members = frozenset(strings)
    found = _FINITE.get(members)
    return found or _FINITE.keep(members, _make_trie(members))


def _make_trie(strings: Iterable[str]) -> CharDfa:
    rows: list[dict[int, int]] = [{}]
    accepting = set()
    for text in strings:
        state = 0
        for code in map(ord, text):
            row = rows[state]
            if code not in row:
                row[code] = len(rows)
                rows.append({})
            state = row[code]
        spend(len(text))
        accepting.add(state)
    codes = {code for row in rows for code in row}
    starts = np.array(sorted({0, *codes, *(code + 1 for code in codes)} - {NUM_CODES}), dtype=np.int32)
    table = np.full((len(rows), len(starts)), -1, np.int32)
    column = {code: i for i, code in enumerate(starts.tolist())}
    for state, row in enumerate(rows):
        for code, target in row.items():
            table[state, column[code]] = target
    is_accepting = np.zeros(len(rows), bool)
    is_accepting[list(accepting)] = True
    return minimise(CharDfa(starts, table, is_accepting))


def explore(
    start: _State,
    step: Callable[[_State, int], _State | None],
    is_accepting: Callable[[_State], bool],
    ranges: Sequence[tuple[int, int]],
) -> CharDfa:
    """Build the automaton whose states are values that `step` reaches from `start`.

    Args:
        start: First state.
        step: Next state for a state and the first code point of a range; ``None`` is dead.
        is_accepting: Whether a state accepts.
        ranges: Inclusive ranges of code points that `step` does not tell apart; all others are dead.
    """
    starts = np.array(sorted({0, *(lo for lo, _ in ranges), *(hi + 1 for _, hi in ranges)} - {NUM_CODES}), np.int32)
    columns = [(lo, int(np.searchsorted(starts, lo))) for lo, _ in ranges]
    index: dict[_State, int] = {start: 0}
    order = [start]
    rows: list[list[int]] = []
    for state in order:
        row = [-1] * len(starts)
        for code, column in columns:
            target = step(state, code)
            if target is None:
                continue
            if target not in index:
                spend()
                index[target] = len(order)
                order.append(target)
            row[column] = index[target]
        rows.append(row)
    accepting = np.array([is_accepting(state) for state in order])
    return minimise(CharDfa(starts, np.array(rows, np.int32).reshape(len(rows), -1), accepting))


def intersect(a: CharDfa, b: CharDfa) -> CharDfa:
    """Give the strings that are in both sets."""
    if a.is_universal or b.is_empty or a is b:
        return b
    if b.is_universal or a.is_empty:
        return a
    return _product(a, b, set_kernels.AND)


def unite(a: CharDfa, b: CharDfa) -> CharDfa:
    """Give the strings that are in one of the sets."""
    if a.is_universal or b.is_empty or a is b:
        return a
    if b.is_universal or a.is_empty:
        return b
    return _product(a, b, set_kernels.OR)


def subtract(a: CharDfa, b: CharDfa) -> CharDfa:
    """Give the strings that are in `a` and not in `b`."""
    if b.is_empty or a.is_empty:
        return a
    return _product(a, b, set_kernels.WITHOUT)


def complement(a: CharDfa) -> CharDfa:
    """Give the strings that are not in the set."""
    return subtract(universal(), a)


def length_between(minimum: int, maximum: int | None) -> CharDfa:
    """Give the strings of `minimum` to `maximum` characters."""
    last = minimum if maximum is None else maximum
    spend(last + 1)
    table = np.arange(1, last + 2, dtype=np.int32).reshape(-1, 1)
    table[-1] = last if maximum is None else -1
    accepting = np.arange(last + 1) >= minimum
    return CharDfa(np.zeros(1, np.int32), table, accepting) if last >= minimum else empty()


def minimise(dfa: CharDfa) -> CharDfa:
    """Give the smallest automaton of the same set, its states in breadth-first order."""
    if not len(dfa.table):
        return empty()
    starts, table, accepting = set_kernels.reduce_table(dfa.starts, dfa.table, dfa.accepting)
    return _intern(CharDfa(starts, table, accepting)) if len(table) else empty()


def reach_forward(table: IntArray) -> BoolArray:
    """Give the states that can be reached from state 0, ``(S,)`` bool; `table` holds targets, negative: none."""
    reached = np.zeros(len(table), bool)
    reached[0] = True
    frontier = np.array([0])
    while len(frontier):
        targets = np.unique(table[frontier])
        targets = targets[targets >= 0]
        frontier = targets[~reached[targets]]
        reached[frontier] = True
    return reached


def _intern(dfa: CharDfa) -> CharDfa:
    """Give the one object that stands for all automata equal to this minimal one."""
    return _MINIMAL.get(dfa.key) or _MINIMAL.keep(dfa.key, dfa)


def _product(a: CharDfa, b: CharDfa, keep: int) -> CharDfa:
    """Run both automata side by side; `keep` is one of the constants of `set_kernels`."""
    key = (a.key, b.key, keep)
    found = _PRODUCTS.get(key)
    if found is not None:
        return found
    starts, table, accepting = set_kernels.multiply(
        a.starts, a.table, a.accepting, b.starts, b.table, b.accepting, keep, num_states_left()
    )
    spend(len(table))
    return _PRODUCTS.keep(key, minimise(CharDfa(starts, table, accepting)))
