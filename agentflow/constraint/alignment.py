"""Which nodes of a chain are summed side by side: units of up to eight nodes that go on by the same labels.

    unit (3, 4)   3 -a-> 5   4 -a-> 6     one edge of two lanes, where 5 and 6 are a unit in this order
                  3 -b-> 3   4 -b-> 4     one edge

Copies of a fragment are known to go on alike, and make a *part*. So does a value without a schema whatever brackets
are open, and the text within one more bracket is reached by the same labels from all of them. Where there are few
such values, the outermost brackets choose the lane, and those within them the unit:

    lane 0   {{    {{[    {{[{  ...        a closing bracket leads from each of these to the one on its left,
    lane 1   {[    {[[    {[[{  ...        in its own lane
    lane 2   [{    [{[    [{[{  ...

A unit may have gaps: brackets nest less deep in some lanes. An edge of a whole unit is one that all nodes have whose
lane is filled in the unit to which it leads.

Parts are often alike, too. So parts with the same labels are put together, as many as there is room for, then the parts
that these lead to by one label, and so on from there. Any choice gives the same sums; a good one leaves few edges over.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from agentflow.constraint.alignment_kernels import grow
from agentflow.constraint.automaton import BoolArray
from agentflow.constraint.chain_kernels import refine
from agentflow.constraint.free import DEEPEST, bracket_paths
from agentflow.constraint.vectors import WIDTH

_ROUNDS = 2
_MOST_NODES = (1, 2, WIDTH // 2)
_LOOSE_COST = 0.9
"""Of a single edge, in edges of whole units: 0.42 beside 0.48 ns, fitted to the times of many schemas."""
_UNIT_COST = 5.0
"""Of a unit, likewise: 2.6 ns, most of it for reading and writing its numbers."""

LongArray = npt.NDArray[np.int64]


class Edges(NamedTuple):
    """Edges, in no order; each array is ``(E,)`` int64."""

    source: LongArray
    label: LongArray
    target: LongArray


class Nodes(NamedTuple):
    """Nodes: the states, and behind them the shared sums; each array is ``(N,)`` int64.

    Attributes:
        depth: Fewest tokens from the start.
        copy: The copy of a fragment that the node stands in, -1: none.
        origin: What it is a copy of; nodes of one fragment that are copies of one thing have one origin.
        part: Which brackets of a value without a schema are open; see `agentflow.constraint.free.bracket_paths`.
    """

    depth: LongArray
    copy: LongArray
    origin: LongArray
    part: LongArray


class _Parts(NamedTuple):
    """Small units with the edges that all their nodes have.

    Attributes:
        row: ``(P + 1,)``, where the edges of each begin.
        label: ``(E,)``, ascending within a part.
        target: ``(E,)``.
        size: ``(P,)``, nodes of each.
        kind: ``(P,)``; those of one kind alone can be put together.
        depth: ``(P,)``, fewest tokens from the start.
    """

    row: LongArray
    label: LongArray
    target: LongArray
    size: LongArray
    kind: LongArray
    depth: LongArray


def align(
    edges: Edges, nodes: Nodes, is_shared: BoolArray, num_labels: int, *, is_large: bool
) -> tuple[LongArray, LongArray]:
    """Give the unit of each node, and its place there.

    Args:
        edges: The edges.
        nodes: Where they lead.
        is_shared: ``(N,)``, the nodes that are sums; a unit has none or no others.
        num_labels: Labels of edges are this at most.
        is_large: Whether it pays to look for nodes that go on alike; if not, they are taken in order of depth.

    Returns:
        ``(N,)`` units, and ``(N,)`` numbers of the nodes of a unit.
    """
    unit, lane = np.full(len(is_shared), -1), np.zeros(len(is_shared), np.int64)
    num_units = 0
    if is_large:
        part, place = _align_copies(nodes, is_shared)
        parts = _make_parts(edges, nodes, is_shared, num_labels, (part, place))
        found = []
        for most in _MOST_NODES:
            team, rank = _align_parts(parts, most)
            unit, lane = np.unique(team, return_inverse=True)[1][part], WIDTH * rank[part] + place
            lane = _places(unit, lane)
            found.append((_cost(edges, unit, lane, num_labels), unit, lane))
        unit, lane = min(found, key=lambda one: one[0])[1:]
        num_units = int(unit.max()) + 1
        unit[np.bincount(unit)[unit] == 1] = -1
    for is_sum in (False, True):
        left = np.flatnonzero((unit < 0) & (is_shared == is_sum))
        left = left[np.argsort(nodes.depth[left], kind="stable")]
        number = np.arange(len(left))
        unit[left], lane[left] = num_units + number // WIDTH, number % WIDTH
        num_units += -(-len(left) // WIDTH)
    return np.unique(unit, return_inverse=True)[1], lane


def _make_parts(
    edges: Edges, nodes: Nodes, is_shared: BoolArray, num_labels: int, parts: tuple[LongArray, LongArray]
) -> _Parts:
    """Take each part for one node; `parts` says which each node is in, and its place there."""
    part = parts[0]
    size = np.bincount(part)
    is_single = (size[part[edges.source]] == 1) & (size[part[edges.target]] == 1)
    is_kept = is_single | whole_edges(edges, *parts, num_labels)[1]
    source, label, target = part[edges.source[is_kept]], edges.label[is_kept], part[edges.target[is_kept]]
    order = np.lexsort((target, label, source))
    row = np.searchsorted(source[order], np.arange(len(size) + 1))
    kind, depth = np.empty(len(size), np.int64), np.full(len(size), np.iinfo(np.int64).max)
    kind[part] = 2 * size[part] + is_shared
    np.minimum.at(depth, part, nodes.depth)
    return _Parts(row, label[order], target[order], size, kind, depth)


def _cost(edges: Edges, unit: LongArray, lane: LongArray, num_labels: int) -> float:
    """Give about how long the sums over these units take."""
    is_lane, is_first = whole_edges(edges, unit, lane, num_labels)
    num_loose = len(is_lane) - np.count_nonzero(is_lane)
    return float(np.count_nonzero(is_first) + _LOOSE_COST * num_loose + _UNIT_COST * int(unit.max()))


def _align_parts(parts: _Parts, most_nodes: int) -> tuple[LongArray, LongArray]:
    """Put parts together that go on alike; give the unit that each becomes a part of, and its rank there."""
    row, label, target, size, kind, depth = parts
    unit, rank, num_units = np.full(len(size), -1), np.zeros(len(size), np.int64), 0
    most = np.where(size <= most_nodes, WIDTH // size, 1)
    ways, labels = _ways_on(row, label, target, kind), _commonest_labels(row, label, kind)
    for name, is_full in (ways, True), (labels, True), (labels, False):
        seeds, begin = _seeds(name, (unit < 0) & (most > 1), depth)
        num_units = grow(row, label, target, kind, most, seeds, begin, is_full, unit, rank, num_units)
    is_left = unit < 0
    unit[is_left] = num_units + np.arange(np.count_nonzero(is_left))
    return unit, rank


def _ways_on(row: LongArray, label: LongArray, target: LongArray, kind: LongArray) -> LongArray:
    """Give one number to nodes with the same labels that lead to nodes with the same labels."""
    key = kind.astype(np.uint64)
    for _ in range(_ROUNDS):
        key = refine(key, row, label, target)
    return np.unique(key, return_inverse=True)[1]


def _commonest_labels(row: LongArray, label: LongArray, kind: LongArray) -> LongArray:
    """Give one number to nodes whose label that stands on most edges is the same."""
    rank = np.argsort(np.argsort(np.bincount(label), kind="stable"))
    common = np.maximum.reduceat(np.append(rank[label], 0), row[:-1])
    common[np.diff(row) == 0] = -1
    return common * (int(kind.max()) + 1) + kind


def _seeds(name: LongArray, is_open: BoolArray, depth: LongArray) -> tuple[LongArray, LongArray]:
    """Group open nodes by their names, those that come first in front; say where the groups begin."""
    nodes = np.flatnonzero(is_open)
    name, depth = name[nodes], depth[nodes]
    number = np.unique(name, return_inverse=True)[1]
    first = np.full(len(nodes) + 1, np.iinfo(np.int64).max)
    np.minimum.at(first, number, depth)
    order = np.lexsort((depth, number, first[number]))
    begin = np.flatnonzero(np.diff(number[order], prepend=-1, append=-1))
    return nodes[order], begin


def _places(unit: LongArray, lane: LongArray) -> LongArray:
    """Number the nodes of each unit whose places are not numbers of lanes."""
    order = np.lexsort((lane, unit))
    size = np.bincount(unit)
    place = np.empty(len(unit), np.int64)
    place[order] = np.arange(len(unit)) - np.repeat(np.cumsum(size) - size, size)
    most = np.zeros(len(size), np.int64)
    np.maximum.at(most, unit, lane)
    return np.where(most[unit] < WIDTH, lane, place)


def whole_edges(edges: Edges, unit: LongArray, place: LongArray, num_labels: int) -> tuple[BoolArray, BoolArray]:
    """Say which edges are a part of an edge of a whole unit, and which of these are the first of it.

    Such an edge leads from each node of a unit to that in the same place of another, wherever both have one.
    """
    filled = lanes_of(unit, place)
    source, target = unit[edges.source], unit[edges.target]
    common = np.bitwise_count(filled[source] & filled[target])
    level = np.flatnonzero((place[edges.source] == place[edges.target]) & (common > 1))
    key = (source[level] * (num_labels + 1) + edges.label[level]) * len(filled) + target[level]
    order = np.argsort(key, kind="stable")
    at = np.flatnonzero(np.diff(key[order], prepend=-1))
    num = np.diff(np.append(at, len(key)))
    by_key = level[order]
    is_whole = num == common[by_key[at]]
    is_lane, is_first = np.zeros((2, len(source)), bool)
    is_lane[by_key[np.repeat(is_whole, num)]] = True
    is_first[by_key[at[is_whole]]] = True
    return is_lane, is_first


def lanes_of(unit: LongArray, place: LongArray) -> npt.NDArray[np.uint8]:
    """Give the places of each unit that have a node, a bit each."""
    filled = np.zeros(int(unit.max()) + 1, np.uint8)
    np.bitwise_or.at(filled, unit, np.left_shift(1, place).astype(np.uint8))
    return filled


def _align_copies(nodes: Nodes, is_shared: BoolArray) -> tuple[LongArray, LongArray]:
    """Give the unit of each node that it has as a copy of a fragment, and its place there."""
    num_nodes = len(nodes.copy)
    key, lane = -1 - np.arange(num_nodes), np.zeros(num_nodes, np.int64)
    is_copy = nodes.copy >= 0
    if is_copy.any():
        copies, copy = np.unique(nodes.copy[is_copy], return_inverse=True)
        group, place, num_chosen = (values[copy] for values in _group_copies(nodes, is_copy & ~is_shared, copies))
        path, offset = _split_brackets(nodes.part[is_copy], num_chosen)
        key[is_copy] = (group * (int(path.max()) + 1) + path) * (int(nodes.origin.max()) + 1) + nodes.origin[is_copy]
        lane[is_copy] = place + offset
    return np.unique(key, return_inverse=True)[1], lane


def _split_brackets(part: LongArray, num_chosen: LongArray) -> tuple[LongArray, LongArray]:
    """Take the outermost brackets as a choice of the lane, and number what is left of them.

    Args:
        part: ``(N,)``, the brackets of each node.
        num_chosen: ``(N,)``, how many of them choose the lane.
    """
    depth, bits = (values[part].astype(np.int64) for values in bracket_paths())
    num_inner = np.maximum(depth - num_chosen, 0)
    inner = (1 << num_inner) | (bits & ((1 << num_inner) - 1))
    path = inner * (DEEPEST + 1) + np.minimum(depth, num_chosen)
    return path, (bits >> num_inner) << np.maximum(num_chosen - depth, 0)


def _group_copies(nodes: Nodes, is_member: BoolArray, copies: LongArray) -> tuple[LongArray, LongArray, LongArray]:
    """Put copies of one fragment in groups of eight, the largest first, and then by depth.

    Where fewer are in a group, the outermost brackets choose among several lanes for each of them.

    Returns:
        For each copy its group, its first lane, and how many brackets choose a lane.
    """
    copy, origin = np.searchsorted(copies, nodes.copy[is_member]), nodes.origin[is_member]
    low, depth = np.full((2, len(copies)), np.iinfo(np.int64).max)
    high = np.full(len(copies), -1)
    np.minimum.at(low, copy, origin)
    np.maximum.at(high, copy, origin)
    np.minimum.at(depth, copy, nodes.depth[is_member])
    size = np.bincount(copy, minlength=len(copies))
    by_origin = np.argsort(low, kind="stable")  # fragments have ranges of origins that do not overlap
    is_next = low[by_origin][1:] > np.maximum.accumulate(high[by_origin])[:-1]
    fragment = np.empty(len(copies), np.int64)
    fragment[by_origin] = np.cumsum(np.append(False, is_next))
    order = np.lexsort((depth, -size, fragment))
    is_first = np.append(True, fragment[order][1:] != fragment[order][:-1])
    number = np.arange(len(order)) - np.maximum.accumulate(np.where(is_first, np.arange(len(order)), 0))
    group, place, num_chosen = np.zeros((3, len(copies)), np.int64)
    group[order] = np.cumsum(number % WIDTH == 0) - 1
    place[order] = number % WIDTH
    has_parts = np.zeros(len(copies), bool)
    has_parts[copy[nodes.part[is_member] > 0]] = True
    num = np.bincount(group)[group]
    num_chosen[has_parts] = np.log2(WIDTH // num[has_parts])
    return group, place << num_chosen, num_chosen
