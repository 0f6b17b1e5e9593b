"""How the sums over states are laid out: what states share is summed once, and copies are summed side by side.

Two things make automata of schemas large, and both repeat themselves. States whose edges are partly the same edges
share their sum: it becomes a node of its own, which those states reach by an edge that reads no token. And most
states go on like others (any value, any string): eight of them are one *unit*, with numbers one after the other, so
that one edge of the unit stands for an edge of each of them and eight products are one instruction:

    unit of 3 states at 40, 41, 42  --label 7-->  unit at 96      stands for 40 -7-> 96, 41 -7-> 97, 42 -7-> 98

Edges that not all nodes of a unit have stay edges of single nodes. A unit may have gaps, whose numbers stay 0. What is
put together is said in `agentflow.constraint.alignment`.

A processor waits for a sum before it adds to it, and guesses when a loop ends. So the edges of four units, or four
single nodes, stand side by side, filled up with edges that add nothing; and those with as many edges follow each other:

    group of units 0..3      begin[0]     edge of unit 0, of unit 1, of unit 2, of unit 3
                                          edge of unit 0, nothing,   of unit 2, of unit 3
                             begin[1]     ...
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from agentflow.constraint.alignment import Edges, LongArray, Nodes, align, lanes_of, whole_edges
from agentflow.constraint.automaton import BoolArray
from agentflow.constraint.vectors import WIDTH

_MIN_EDGES = 2_000
_NODE_COST = 2
_DEPTH_STEP = 16
GROUP = 4
"""Units, or single nodes, whose edges stand side by side."""


class Groups(NamedTuple):
    """Edges of owners in groups of four.

    Attributes:
        begin: ``(G + 1,)``, where the steps of each group begin.
        edge: ``(steps * 4,)``, one edge of each owner, and then the next: its label in the upper half of the number's
            bits, its target in the lower; targets of whole units are the first nodes of these.
    """

    begin: npt.NDArray[Any]
    edge: npt.NDArray[Any]

    @property
    def label(self) -> npt.NDArray[Any]:
        """``(steps * 4,)``, the labels."""
        label: npt.NDArray[Any] = self.edge >> self.edge.dtype.type(4 * self.edge.itemsize)
        return label


@dataclass(frozen=True, eq=False)
class Layout:
    """Key: ``S`` states, ``U`` units, ``D`` depths.

    There are 8 U nodes. The first unit is empty. Units of states come before those of sums, each kind roughly in order
    of depth. States are numbered as their nodes are, without gaps. Labels are those of the edges; the next says that
    no token is read, and the one behind it adds nothing.

    Attributes:
        place: ``(S,)`` int64, the node of each state.
        num_units: ``U``.
        lanes: The edges of whole units; a group has four units.
        loose: All other edges; a group has four nodes.
        loose_node: The nodes that have such edges.
        filled: ``(U,)`` uint8, the places of each unit that have a node, a bit each; edges of whole units may lead from
            the others, too.
        begin: Where the groups of sums begin, in `lanes` and `loose`.
        reached: ``(D, 4)`` int64, where the groups of units end, and those of single nodes, of states and of sums, that
            can be reached within 0, 1, ... tokens, or a few more.
    """

    place: LongArray
    num_units: int
    lanes: Groups
    loose: Groups
    loose_node: npt.NDArray[Any]
    filled: npt.NDArray[np.uint8]
    begin: tuple[int, int]
    reached: LongArray

    @property
    def num_nodes(self) -> int:
        """States, shared sums and places that are empty."""
        return WIDTH * self.num_units

    @property
    def num_state_nodes(self) -> int:
        """States, and places that are empty between them; sums come behind them."""
        return WIDTH * GROUP * self.begin[0]


class _Owners(NamedTuple):
    """Who has edges: units or nodes, in groups of four; each array is of their number.

    Attributes:
        number: Which unit, or node, -1: nobody.
        begin: Where those of sums begin.
        ends: ``(D, 2)``, where those of states, and of sums, end that are so deep at most.
    """

    number: LongArray
    begin: int
    ends: LongArray


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
    unit, lane = align(edges, nodes, is_shared, num_labels, is_large=is_large)
    is_lane, is_first = whole_edges(edges, unit, lane, num_labels)
    depth = np.full(int(unit.max()) + 1, np.iinfo(np.int64).max)  # of units, rounded down
    np.minimum.at(depth, unit, nodes.depth // _DEPTH_STEP)
    kind = np.zeros(len(depth), bool)
    kind[unit[is_shared]] = True
    num_lanes = np.bincount(unit[edges.source[is_first]], minlength=len(depth))
    num_depths = int(states.depth.max()) // _DEPTH_STEP + 1
    units = _order(np.arange(len(depth)), kind, depth, num_lanes, num_depths, num_empty=1)
    rank = np.empty(len(depth), np.int64)
    rank[units.number[units.number >= 0]] = np.flatnonzero(units.number >= 0)
    node = WIDTH * rank[unit] + lane
    limit = max(WIDTH * len(units.number), num_labels + 2)
    whole = Edges(rank[unit[edges.source[is_first]]], edges.label[is_first], WIDTH * rank[unit[edges.target[is_first]]])
    rest = Edges(node[edges.source[~is_lane]], edges.label[~is_lane], node[edges.target[~is_lane]])
    own, num_loose = np.unique(edges.source[~is_lane], return_counts=True)
    singles = _order(own, kind[unit[own]], depth[unit[own]], num_loose, num_depths)
    loose_node = np.where(singles.number >= 0, node[singles.number], 0)
    at = np.zeros(WIDTH * len(units.number), np.int64)
    at[loose_node] = np.arange(len(loose_node))
    steps = np.arange(int(states.depth.max()) + 1) // _DEPTH_STEP
    place = np.sort(node[:num_states])
    layout = Layout(
        place=place,
        num_units=len(units.number),
        lanes=_pack(whole, whole.source, len(units.number), num_labels + 1, limit),
        loose=_pack(rest, at[rest.source], len(loose_node), num_labels + 1, limit),
        loose_node=narrow(loose_node, limit),
        filled=np.where(units.number < 0, 0, lanes_of(unit, lane)[units.number]).astype(np.uint8),
        begin=(units.begin // GROUP, singles.begin // GROUP),
        reached=-(-np.hstack([units.ends, singles.ends])[steps] // GROUP),
    )
    return layout, np.searchsorted(place, node[:num_states])


def _order(
    number: LongArray, kind: BoolArray, depth: LongArray, num_edges: LongArray, num_depths: int, *, num_empty: int = 0
) -> _Owners:
    """Put owners of edges in order of kind, depth and the number of their edges, behind some that are empty."""
    order = np.lexsort((num_edges, depth, kind))
    num_first = num_empty + int(np.count_nonzero(~kind))
    begin, num = -(-num_first // GROUP) * GROUP, len(number) - num_first + num_empty
    found = np.full(begin + -(-num // GROUP) * GROUP, -1)
    found[num_empty:num_first] = number[order[: num_first - num_empty]]
    found[begin : begin + num] = number[order[num_first - num_empty :]]
    parts = (np.sort(depth[~kind]), num_empty), (np.sort(depth[kind]), begin)
    ends = [first + np.searchsorted(part, np.arange(num_depths), side="right") for part, first in parts]
    return _Owners(found, begin, np.stack(ends, axis=1))


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
    copy, part = (np.minimum.reduceat(values[sources], begin) for values in (states.copy, states.part))
    most = (np.maximum.reduceat(values[sources], begin) for values in (states.copy, states.part))
    copy[np.any([low != high for low, high in zip((copy, part), most, strict=True)], axis=0)] = -1
    num_origins = int(states.origin.max()) + 1
    salt = np.random.default_rng(1).integers(1 << 63, size=num_origins + 1, dtype=np.uint64)
    names = np.unique(np.add.reduceat(salt[states.origin[sources]], begin), return_inverse=True)[1]
    depth = np.minimum.reduceat(states.depth[sources], begin)
    added = depth, copy, num_origins + names, part
    return Nodes(*(np.append(old, new) for old, new in zip(states, added, strict=True)))


def _pack(edges: Edges, owner: LongArray, num_owners: int, nothing: int, limit: int) -> Groups:
    """Put edges side by side; `nothing` is the label of those that fill up."""
    order = np.argsort(owner, kind="stable")
    num = np.bincount(owner, minlength=num_owners)
    steps = num.reshape(-1, GROUP).max(axis=1)
    begin = np.append(0, np.cumsum(steps))
    owner = owner[order]
    step = begin[owner // GROUP] + np.arange(len(owner)) - (np.cumsum(num) - num)[owner]
    at = GROUP * step + owner % GROUP
    label, target = np.full(GROUP * int(begin[-1]), nothing), np.zeros(GROUP * int(begin[-1]), np.int64)
    label[at], target[at] = edges.label[order], edges.target[order]
    half, whole = (16, np.uint32) if limit <= np.iinfo(np.uint16).max else (32, np.uint64)
    return Groups(begin.astype(np.uint32), ((label << half) | target).astype(whole))


def narrow(values: npt.NDArray[Any], limit: int) -> npt.NDArray[Any]:
    """Use two bytes where they do: the loops are bound by memory."""
    return values.astype(np.uint16 if limit <= np.iinfo(np.uint16).max else np.uint32)
