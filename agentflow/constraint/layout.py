"""How the sums over states are laid out: what states share is summed once, and copies are summed side by side.

Two things make automata of schemas large, and both repeat themselves. States whose edges are partly the same edges
share their sum: it becomes a node of its own, which those states reach by an edge that reads no token. And most
states are copies (any value, any string) that stand in many places: up to eight copies of a state are one *unit*, with
numbers one after the other, so that one edge of the unit stands for an edge of each of them and eight products are one
instruction:

    unit of 3 copies at 40, 41, 42  --label 7-->  unit at 96      stands for 40 -7-> 96, 41 -7-> 97, 42 -7-> 98

Edges that not all copies of a unit have, where they are left, say, stay edges of single nodes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from agentflow.constraint.vectors import WIDTH

_MIN_EDGES = 2_000
_MIN_COPIES = 3
_NODE_COST = 2
_DEPTH_STEP = 16

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
    """

    depth: LongArray
    copy: LongArray
    origin: LongArray


@dataclass(frozen=True, eq=False)
class Layout:
    """Key: ``N`` nodes, ``U`` units, ``D`` depths. Units of states come first, each kind roughly in order of depth.

    Attributes:
        unit_begin: ``(U + 1,)``, where the nodes of each unit begin.
        unit_of: ``(N,)``.
        lane_row: ``(U + 1,)``, where the edges of each whole unit begin.
        lane_label: Their labels.
        lane_target: Targets of their first nodes.
        row: ``(N + 1,)``, where the other edges of each node begin.
        edge_label: Their labels; the one behind the last says that no token is read.
        edge_target: Their targets.
        num_units: Units of states.
        reached: ``(D, 2)`` int64, where the units of states, and those of sums, end that can be reached within 0, 1,
            ... tokens, or a few more.
    """

    unit_begin: npt.NDArray[Any]
    unit_of: npt.NDArray[Any]
    lane_row: npt.NDArray[Any]
    lane_label: npt.NDArray[Any]
    lane_target: npt.NDArray[Any]
    row: npt.NDArray[Any]
    edge_label: npt.NDArray[Any]
    edge_target: npt.NDArray[Any]
    num_units: int
    reached: LongArray

    @property
    def num_nodes(self) -> int:
        """States and shared sums."""
        return len(self.unit_of)


def lay_out(edges: Edges, states: Nodes, num_labels: int, *, min_edges: int = _MIN_EDGES) -> tuple[Layout, LongArray]:
    """Lay out the states of a chain.

    Args:
        edges: Its edges.
        states: Its states.
        num_labels: Labels of edges are below this.
        min_edges: Fewest edges for which looking for repetition pays.

    Returns:
        The layout, and the number in it of each state, ``(S,)``.
    """
    num_states = len(states.depth)
    nodes, is_large = states, len(edges.source) >= min_edges
    if is_large:
        edges, nodes = _share(edges, states, num_labels)
    is_shared = np.arange(len(nodes.depth)) >= num_states
    unit, lane = _group(nodes, is_shared) if is_large else (np.arange(num_states), np.zeros(num_states, np.int64))
    place = _places(unit, lane)
    is_lane, is_first = _whole_edges(edges, unit, place, num_labels)
    depth = np.full(int(unit.max()) + 1, np.iinfo(np.int64).max)  # of units, rounded down
    np.minimum.at(depth, unit, nodes.depth // _DEPTH_STEP)
    kind = np.zeros(len(depth), bool)
    kind[unit[is_shared]] = True
    num_lane, num_loose = (np.bincount(unit[edges.source[x]], minlength=len(depth)) for x in (is_first, ~is_lane))
    order = np.lexsort((num_loose, num_lane, depth, kind))  # loops of one length follow each other
    rank = np.argsort(order)
    begin = np.append(0, np.cumsum(np.bincount(unit)[order]))
    node = begin[rank[unit]] + place
    unit_of = np.repeat(np.arange(len(order)), np.diff(begin))
    edges = Edges(node[edges.source], edges.label, node[edges.target])
    num_units = int(np.count_nonzero(~kind))
    steps = np.arange(int(states.depth.max()) + 1) // _DEPTH_STEP
    parts = depth[order][:num_units], depth[order][num_units:]
    reached = np.stack([np.searchsorted(part, steps, side="right") for part in parts], axis=1)
    reached[:, 1] += num_units
    lanes, loose = (Edges(*(part[chosen] for part in edges)) for chosen in (is_first, ~is_lane))
    limit = max(len(unit_of), num_labels + 1)
    lane_row, lane_label, lane_target = _pack(lanes, unit_of[lanes.source], len(order), limit)
    row, edge_label, edge_target = _pack(loose, loose.source, len(unit_of), limit)
    layout = Layout(
        unit_begin=begin.astype(np.uint32), unit_of=unit_of.astype(np.uint32), lane_row=lane_row, lane_label=lane_label,
        lane_target=lane_target, row=row, edge_label=edge_label, edge_target=edge_target, num_units=num_units,
        reached=reached,
    )  # fmt: skip
    return layout, node[:num_states]


def _places(unit: LongArray, lane: LongArray) -> LongArray:
    """Number the nodes of each unit."""
    order = np.lexsort((lane, unit))
    size = np.bincount(unit)
    place = np.empty(len(unit), np.int64)
    place[order] = np.arange(len(unit)) - np.repeat(np.cumsum(size) - size, size)
    return place


def _whole_edges(
    edges: Edges, unit: LongArray, place: LongArray, num_labels: int
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Say which edges are a part of an edge of a whole unit, and which of these are the first of it."""
    size = np.bincount(unit)
    source, target = unit[edges.source], unit[edges.target]
    level = np.flatnonzero((place[edges.source] == place[edges.target]) & (size[source] > 1))
    key = (source[level] * (num_labels + 1) + edges.label[level]) * len(size) + target[level]
    order = np.argsort(key, kind="stable")
    at = np.flatnonzero(np.diff(key[order], prepend=-1))
    num = np.diff(np.append(at, len(key)))
    by_key = level[order]
    is_whole = np.repeat(num == size[source[by_key[at]]], num)
    is_lane = np.zeros(len(source), bool)
    is_lane[by_key[is_whole]] = True
    return is_lane, is_lane & (place[edges.source] == 0)


def _share(edges: Edges, states: Nodes, num_labels: int) -> tuple[Edges, Nodes]:
    """Give a node to edges that several states have in common: (label, target) pairs with the same sources."""
    num_states = len(states.depth)
    salt = np.random.default_rng(0).integers(1 << 63, size=num_states, dtype=np.uint64)
    key = edges.label * num_states + edges.target
    order = np.argsort(key)
    begin = np.flatnonzero(np.append(True, key[order][1:] != key[order][:-1]))  # of each pair
    num_sources = np.diff(np.append(begin, len(order)))
    group = np.unique(np.add.reduceat(salt[edges.source[order]], begin), return_inverse=True)[1]  # of each pair
    num_pairs = np.bincount(group)
    first = np.empty(len(num_pairs), np.int64)  # pair of each group
    first[group[::-1]] = np.arange(len(group))[::-1]
    is_shared = num_pairs * num_sources[first] > num_pairs + num_sources[first] + _NODE_COST
    node = num_states + np.cumsum(is_shared) - 1  # of each group
    pairs = np.flatnonzero(is_shared[group])
    kept = order[~np.repeat(is_shared[group], num_sources)]
    chosen = first[is_shared]
    size = num_sources[chosen]
    at = np.repeat(begin[chosen] - np.cumsum(size) + size, size) + np.arange(int(size.sum()))
    sources = edges.source[order[at]]
    return Edges(
        np.concatenate([edges.source[kept], node[group[pairs]], sources]),
        np.concatenate([edges.label[kept], edges.label[order[begin[pairs]]], np.full(len(sources), num_labels)]),
        np.concatenate([edges.target[kept], edges.target[order[begin[pairs]]], np.repeat(node[is_shared], size)]),
    ), _name(states, sources, np.cumsum(size) - size)


def _name(states: Nodes, sources: LongArray, begin: LongArray) -> Nodes:
    """Describe the shared sums behind the states: copies of one sum are those whose sources have the same origins."""
    if not len(begin):
        return states
    copy = np.minimum.reduceat(states.copy[sources], begin)
    copy[copy != np.maximum.reduceat(states.copy[sources], begin)] = -1
    num_origins = int(states.origin.max()) + 1
    salt = np.random.default_rng(1).integers(1 << 63, size=num_origins + 1, dtype=np.uint64)
    names = np.unique(np.add.reduceat(salt[states.origin[sources]], begin), return_inverse=True)[1]
    depth = np.minimum.reduceat(states.depth[sources], begin)
    return Nodes(
        np.append(states.depth, depth), np.append(states.copy, copy), np.append(states.origin, num_origins + names)
    )


def _group(nodes: Nodes, is_shared: npt.NDArray[np.bool_]) -> tuple[LongArray, LongArray]:
    """Give the unit of each node, and its place there."""
    num_nodes = len(nodes.copy)
    key = -1 - np.arange(num_nodes)
    lane = np.zeros(num_nodes, np.int64)
    is_copy = nodes.copy >= 0
    if is_copy.any():
        copies, copy = np.unique(nodes.copy[is_copy], return_inverse=True)
        group, place = _group_copies(nodes, is_copy & ~is_shared, copies)
        key[is_copy] = group[copy] * (int(nodes.origin.max()) + 1) + nodes.origin[is_copy]
        lane[is_copy] = place[copy]
    unit, size = np.unique(key, return_inverse=True, return_counts=True)[1:]
    is_alone = size[unit] < _MIN_COPIES
    key[is_alone] = -1 - np.flatnonzero(is_alone)
    return np.unique(key, return_inverse=True)[1], lane


def _group_copies(nodes: Nodes, is_member: npt.NDArray[np.bool_], copies: LongArray) -> tuple[LongArray, LongArray]:
    """Put copies of one fragment in groups of eight, the largest first, and then by depth."""
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
    group, place = np.empty((2, len(copies)), np.int64)
    group[order] = np.cumsum(number % WIDTH == 0) - 1
    place[order] = number % WIDTH
    return group, place


def _pack(edges: Edges, owner: LongArray, num_owners: int, limit: int) -> tuple[npt.NDArray[Any], ...]:
    """Sort edges by whose they are, and say where those of each begin."""
    order = np.argsort(owner, kind="stable")
    begin = np.searchsorted(owner[order], np.arange(num_owners + 1)).astype(np.uint32)
    return begin, narrow(edges.label[order], limit), narrow(edges.target[order], limit)


def narrow(values: npt.NDArray[Any], limit: int) -> npt.NDArray[Any]:
    """Use two bytes where they do: the loops are bound by memory."""
    return values.astype(np.uint16 if limit <= np.iinfo(np.uint16).max else np.uint32)
