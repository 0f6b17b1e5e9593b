"""Which nodes are summed side by side: what a unit may hold, and that nodes which go on alike are found."""

from __future__ import annotations

import numpy as np
import pytest

from agentflow.constraint.alignment import Edges, Nodes, align, whole_edges

NUM_LABELS = 9


def chains(num_chains: int, length: int) -> tuple[Edges, Nodes]:
    """Chains that go on by the same labels, each to an end of its own."""
    first = np.arange(num_chains)[:, None] * (length + 1)
    source = (first + np.arange(length)).ravel()
    label = np.tile(np.arange(length), num_chains)
    depth = np.tile(np.arange(length + 1), num_chains)
    none = np.full(len(depth), -1)
    return Edges(source, label, source + 1), Nodes(depth, none, none, np.zeros_like(none))


def test_nodes_that_go_on_alike_are_put_side_by_side():
    """Of eight chains that nothing calls copies of each other, each edge is one edge of a whole unit."""
    edges, nodes = chains(8, 5)
    unit, lane = align(edges, nodes, np.zeros(len(nodes.depth), bool), NUM_LABELS, is_large=True)
    is_whole, is_first = whole_edges(edges, unit, lane, NUM_LABELS)
    assert is_whole.all()
    assert np.count_nonzero(is_first) == 5


def test_parts_of_a_few_copies_share_a_unit():
    """Two fragments of four copies each, whose texts go on alike, fill units of eight."""
    edges, nodes = chains(8, 5)
    chain = np.repeat(np.arange(8), 6)
    nodes = nodes._replace(copy=chain, origin=6 * (chain // 4) + nodes.depth)
    unit, lane = align(edges, nodes, np.zeros(len(chain), bool), NUM_LABELS, is_large=True)
    assert np.count_nonzero(whole_edges(edges, unit, lane, NUM_LABELS)[1]) == 5


@pytest.mark.parametrize("is_large", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_units_hold_eight_nodes_of_one_kind_at_most(seed, is_large):
    """Whatever the edges are, no place is taken twice, and states and sums are kept apart."""
    rng = np.random.default_rng(seed)
    source, label, target = np.unique(rng.integers([60, NUM_LABELS + 1, 60], size=(300, 3)), axis=0).T
    copy = np.where(rng.random(60) < 0.5, np.arange(60) % 12, -1)
    is_shared = np.arange(60) >= 50
    origin = np.where(copy < 0, -1, np.arange(60) // 12 + 5 * is_shared)
    nodes = Nodes(rng.integers(4, size=60), copy, origin, np.zeros(60, np.int64))
    unit, lane = align(Edges(source, label, target), nodes, is_shared, NUM_LABELS, is_large=is_large)
    assert len(np.unique(8 * unit + lane)) == 60
    assert lane.max() < 8
    assert all(len(np.unique(is_shared[unit == u])) == 1 for u in np.unique(unit))
