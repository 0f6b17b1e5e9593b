"""Deterministic automata over characters, and their algebra.

    starts:  0 ... 'a' ... '{' ...        first code point of each range
    state 0  .      1      .              table[0] = (-1, 1, -1)
    state 1  .      1      .   accepting  table[1] = (-1, 1, -1)

An automaton reads code points, so that length, patterns and complements mean what JSON Schema means;
`agentflow.constraint.surface` spells it out in bytes. State 0 is the start, -1 is the dead state, and every
state of a finished automaton lies on a path to acceptance. Sets are closed under `intersect`, `unite`,
`subtract` and `complement`; all four return minimal automata. Minimisation is Moore's refinement with
hashed rows.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from agentflow.constraint.limits import spend

IntArray: TypeAlias = npt.NDArray[np.int32]
BoolArray: TypeAlias = npt.NDArray[np.bool_]
Ranges: TypeAlias = tuple[tuple[int, int], ...]
"""Sorted, disjoint, inclusive ranges of code points."""

NUM_CODES = 0x110000
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

    @property
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


def empty() -> CharDfa:
    """Give the empty set."""
    return CharDfa(np.zeros(1, np.int32), np.full((1, 1), -1, np.int32), np.zeros(1, bool))


def universal() -> CharDfa:
    """Give the set of all strings."""
    return CharDfa(np.zeros(1, np.int32), np.zeros((1, 1), np.int32), np.ones(1, bool))


def from_strings(strings: Iterable[str]) -> CharDfa:
    """Give a finite set."""
    rows: list[dict[int, int]] = [{}]
    accepting = {}
    for text in strings:
        state = 0
        for char in text:
            if ord(char) not in rows[state]:
                spend()
                rows[state][ord(char)] = len(rows)
                rows.append({})
            state = rows[state][ord(char)]
        accepting[state] = True
    codes = sorted({code for row in rows for code in row})
    starts = np.array(sorted({0, *codes, *(c + 1 for c in codes)} - {NUM_CODES}), dtype=np.int32)
    table = np.full((len(rows), len(starts)), -1, np.int32)
    column = {int(code): i for i, code in enumerate(starts)}
    for state, row in enumerate(rows):
        for code, target in row.items():
            table[state, column[code]] = target
    return minimise(CharDfa(starts, table, np.array([accepting.get(i, False) for i in range(len(rows))])))


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
    if a.is_universal or b.is_empty:
        return b
    if b.is_universal or a.is_empty:
        return a
    return _product(a, b, np.logical_and)


def unite(a: CharDfa, b: CharDfa) -> CharDfa:
    """Give the strings that are in one of the sets."""
    if a.is_universal or b.is_empty:
        return a
    if b.is_universal or a.is_empty:
        return b
    return _product(a, b, np.logical_or)


def subtract(a: CharDfa, b: CharDfa) -> CharDfa:
    """Give the strings that are in `a` and not in `b`."""
    return _product(a, b, lambda x, y: x & ~y)


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
    table, accepting = _trim(dfa.table, dfa.accepting)
    if not len(table):
        return empty()
    starts, table = _merge_columns(dfa.starts, table)
    block = accepting.astype(np.int64)
    weights = np.random.default_rng(7).integers(1, 2**62, size=table.shape[1], dtype=np.int64)
    num_blocks = -1
    while True:
        padded = np.append(block, -1)
        with np.errstate(over="ignore"):
            signature = (padded[table] * weights).sum(axis=1) + block * np.int64(0x9E3779B97F4A7C1)
        block = np.unique(signature, return_inverse=True)[1].astype(np.int64)
        if block.max() + 1 == num_blocks:
            break
        num_blocks = int(block.max()) + 1
    return CharDfa(starts, *_quotient(table, accepting, block))


def _quotient(table: IntArray, accepting: BoolArray, block: npt.NDArray[np.int64]) -> tuple[IntArray, BoolArray]:
    """Merge the states of each block and number blocks breadth-first from the start's."""
    representative = np.unique(block, return_index=True)[1]
    small = np.append(block, -1)[table[representative]]
    order = [int(block[0])]
    seen = set(order)
    for state in order:
        for target in small[state].tolist():
            if target >= 0 and target not in seen:
                seen.add(target)
                order.append(target)
    rank = np.full(len(small) + 1, -1, np.int32)
    rank[order] = np.arange(len(order))
    return rank[small[order]], accepting[representative[order]]


def _trim(table: IntArray, accepting: BoolArray) -> tuple[IntArray, BoolArray]:
    """Keep the states that lie on a path from the start to acceptance."""
    forward = reach_forward(table)
    live = accepting.copy()
    while True:
        grown = live | np.where(table >= 0, live[table], False).any(axis=1)
        if (grown == live).all():
            break
        live = grown
    keep = forward & live
    if not keep[0]:
        return table[:0], accepting[:0]
    rank = np.full(len(table) + 1, -1, np.int32)
    rank[:-1][keep] = np.arange(int(keep.sum()))
    return rank[table[keep]], accepting[keep]


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


def _merge_columns(starts: IntArray, table: IntArray) -> tuple[IntArray, IntArray]:
    """Join neighbouring ranges that no state tells apart."""
    differs = np.ones(len(starts), bool)
    differs[1:] = (table[:, 1:] != table[:, :-1]).any(axis=0)
    return starts[differs], table[:, differs]


def _product(a: CharDfa, b: CharDfa, keep: Callable[[BoolArray, BoolArray], BoolArray]) -> CharDfa:
    """Run both automata side by side; `keep` decides from both answers."""
    starts = np.union1d(a.starts, b.starts).astype(np.int32)
    table_a = _with_sink(a.table[:, np.searchsorted(a.starts, starts, side="right") - 1])
    table_b = _with_sink(b.table[:, np.searchsorted(b.starts, starts, side="right") - 1])
    num_b = len(table_b)
    codes = np.zeros(1, np.int64)
    index = {0: 0}
    rows = []
    while len(codes):
        targets = table_a[codes // num_b].astype(np.int64) * num_b + table_b[codes % num_b]  # (F, R)
        rows.append(targets)
        fresh = [code for code in np.unique(targets).tolist() if code not in index]
        spend(len(fresh))
        for code in fresh:
            index[code] = len(index)
        codes = np.array(fresh, np.int64)
    order = np.array(list(index), np.int64)
    sorted_codes = np.argsort(order)
    table = sorted_codes[np.searchsorted(order[sorted_codes], np.concatenate(rows))].astype(np.int32)
    accepting = keep(np.append(a.accepting, False)[order // num_b], np.append(b.accepting, False)[order % num_b])
    return minimise(CharDfa(starts, table, accepting))


def _with_sink(table: IntArray) -> IntArray:
    """Write the dead state as one more row instead of -1."""
    sink = len(table)
    padded = np.vstack([table, np.full((1, table.shape[1]), sink, np.int32)])
    return np.where(padded < 0, sink, padded).astype(np.int32)
