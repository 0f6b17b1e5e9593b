"""Slots x vocabulary -> fragments: which tokens move a slot where.

Fragments depend on the slot and the vocabulary alone; they are computed once and shared by all constraints. Lengths
are counted here, slots that begin at the same place are read side by side, and single strings are taken out
(`agentflow.constraint.exclusion`); the walk along the vocabulary is left to `agentflow.constraint.lift`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from agentflow.constraint.automaton import BoolArray, CharDfa, IntArray, intersect, length_between
from agentflow.constraint.exclusion import exclude
from agentflow.constraint.fragment import DEAD, NO_EDGES, Fragment, SlotSpec
from agentflow.constraint.free import Containers
from agentflow.constraint.free_fragment import lift_containers
from agentflow.constraint.grounding import SpanSpec
from agentflow.constraint.index_kernels import group_cells, reach, unroll
from agentflow.constraint.lift import Lifted, lift
from agentflow.constraint.limits import spend
from agentflow.constraint.span_fragment import span_fragment
from agentflow.constraint.vocabulary import Vocabulary

_MAX_FINE_LEVELS = 48
_COARSE = 16
_MAX_SIDE_BY_SIDE = 31  # bits of a label
_TOO_MANY = 10**9
_MAX_UNIT_LENGTH = 4096


def slot_fragment(specs: tuple[SlotSpec | SpanSpec, ...], vocabulary: Vocabulary) -> Fragment:
    """Give the fragment in which several slots are read at once, from the vocabulary's store or made new."""
    key = tuple(spec.key for spec in specs)
    is_passing = any(isinstance(spec, SpanSpec) for spec in specs)
    store = vocabulary.passing_fragments if is_passing else vocabulary.fragments
    fragment: Fragment | None = store.get(key)
    if fragment is None:
        if len(specs) > _MAX_SIDE_BY_SIDE:
            spend(_TOO_MANY)
        fragment = store[key] = _make(specs, vocabulary)
    return fragment


def _make(specs: tuple[SlotSpec | SpanSpec, ...], vocabulary: Vocabulary) -> Fragment:
    if len(specs) == 1 and isinstance(specs[0], SpanSpec):
        return span_fragment(specs[0], vocabulary)
    withouts = [spec.without if isinstance(spec, SlotSpec) else frozenset() for spec in specs]
    bases = {_base_key(spec) for spec in specs}
    if len(bases) == 1 and isinstance(specs[0], SlotSpec):
        spec = specs[0]
        if isinstance(spec.dfa, Containers) and not spec.entry:
            lifted = lift_containers(spec.dfa, vocabulary)
            return _pack(lifted, lifted.labels, lifted.table, is_pruned=False)
        labels = spec.dfa.accepting.astype(np.int32) * ((1 << len(specs)) - 1)
        lifted = lift(spec.dfa.starts, spec.dfa.table, labels, spec.style, vocabulary)
        fragment = _count_characters(lifted, spec.minimum, spec.maximum, spec.unit, num_whole=spec.dfa.num_states)
    else:
        firsts = tuple(spec.start if isinstance(spec, SlotSpec) else 0 for spec in specs)
        starts, table, labels = _side_by_side([_with_length(spec) for spec in specs], firsts)
        fragment = _count_characters(lift(starts, table, labels, specs[0].style, vocabulary), 0, None, 1, num_whole=0)
    return exclude(fragment, withouts, specs[0].style, vocabulary) if any(withouts) else fragment


def _base_key(spec: SlotSpec | SpanSpec) -> tuple[object, ...]:
    return (*spec.base_key, spec.entry) if isinstance(spec, SlotSpec) else spec.key


def _with_length(spec: SlotSpec | SpanSpec) -> CharDfa:
    if isinstance(spec, SpanSpec) or (spec.minimum == 0 and spec.maximum is None):
        return spec.dfa
    maximum = spec.maximum if spec.maximum is None else min(spec.maximum, max(_MAX_UNIT_LENGTH, spec.minimum))
    return intersect(spec.dfa, length_between(spec.minimum, maximum))


def _side_by_side(dfas: list[CharDfa], first: tuple[int, ...]) -> tuple[IntArray, IntArray, IntArray]:
    """Run several automata at once; bit k of a label says that the k-th accepts."""
    starts = dfas[0].starts
    for dfa in dfas[1:]:
        starts = np.union1d(starts, dfa.starts).astype(np.int32)
    tables = [dfa.table[:, np.searchsorted(dfa.starts, starts, side="right") - 1].tolist() for dfa in dfas]
    dead = [-1] * len(starts)
    index = {first: 0, (-1,) * len(dfas): -1}
    order = [first]
    rows: list[list[int]] = []
    for states in order:
        row = []
        for after in zip(*(t[s] if s >= 0 else dead for t, s in zip(tables, states, strict=True)), strict=True):
            if after not in index:
                spend()
                index[after] = len(order)
                order.append(after)
            row.append(index[after])
        rows.append(row)
    labels = [sum(1 << k for k, s in enumerate(states) if s >= 0 and dfas[k].accepting[s]) for states in order]
    return starts, np.array(rows, np.int32).reshape(len(rows), -1), np.array(labels, np.int32)


def _count_characters(lifted: Lifted, minimum: int, maximum: int | None, unit: int, *, num_whole: int) -> Fragment:
    """Unroll a fragment along the number of characters read.

    Where there are many characters to count, the count runs in units of several, each token rounded up; states within
    a character (and there are ten of them for each state between characters) count in larger units still. That is
    sound, and a little shorter than the schema allows.

    Args:
        lifted: What to unroll.
        minimum: Fewest characters.
        maximum: Most characters.
        unit: Characters that are counted as one beyond the fewest.
        num_whole: States that lie between characters, the first ones.
    """
    if minimum == 0 and maximum is None:
        return _pack(lifted, lifted.labels, lifted.table)
    levels = _levels(minimum, maximum, unit, longest=int(lifted.counts.max()))
    spend(num_whole * len(levels.after))
    coarse = _coarsen(minimum, len(levels.after), is_exact=maximum is None)
    table = unroll(lifted.table, lifted.counts, levels.after, levels.is_enough, coarse, num_whole)
    labels = np.where(levels.is_enough[:-1, None], lifted.labels, 0)  # (N, S)
    return _pack(lifted, labels.ravel(), table)


def _coarsen(minimum: int, num_levels: int, *, is_exact: bool) -> IntArray:
    """Round levels up within characters, where there are many; the last entry is for -1."""
    levels = np.arange(num_levels)
    if num_levels - minimum > _MAX_FINE_LEVELS and not is_exact:
        rounded = minimum + -(-(levels - minimum) // _COARSE) * _COARSE
        levels = np.where(levels > minimum, np.where(rounded < num_levels, rounded, -1), levels)
    return np.append(levels, -1).astype(np.int32)


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


def _pack(lifted: Lifted, labels: IntArray, table: IntArray, *, is_pruned: bool = True) -> Fragment:
    """Keep what can be reached from the start, or everything."""
    reached = reach(table) if is_pruned else np.ones(len(table), bool)
    kept = np.flatnonzero(reached)
    rank = np.where(reached, np.cumsum(reached) - 1, DEAD).astype(np.int32)
    source, target, cells, first = group_cells(table, rank, len(lifted.exits))
    after = np.where(target >= 0, kept[np.maximum(target, 0)], target)
    chosen = zip(kept[source[first]].tolist(), after[first].tolist(), strict=True)
    sets = tuple([tuple(np.flatnonzero(table[state] == goal).tolist()) for state, goal in chosen])
    return Fragment(
        labels[reached], lifted.partition, sets, source, cells, target, NO_EDGES, NO_EDGES, NO_EDGES, lifted.exits, {}
    )
