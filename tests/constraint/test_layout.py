"""Layouts of chains against the plain recursion over their edges, and labels against sums over their atoms."""

from __future__ import annotations

import numpy as np
import pytest

from agentflow.constraint import compile_constraint, json_grammar
from agentflow.constraint import trellis_plain as plain
from agentflow.constraint.alignment import Edges, Nodes
from agentflow.constraint.chain import chain_of
from agentflow.constraint.labels import make_labels
from agentflow.constraint.layout import GROUP, lay_out
from agentflow.constraint.messages import PlainMessages, Sums, empty_rows, run_backward, run_scaled

NUM_LABELS = 14
TAIL = NUM_LABELS - 1


def random_chain(seed: int) -> tuple[Edges, Nodes, int]:
    """Copies of two random fragments, some without some states, with exits of their own to single states."""
    rng = np.random.default_rng(seed)
    copy, origin, edges = [], [], set()
    places: list[dict[int, int]] = []
    num_origins = 0
    for size, num_copies in ((6, 11), (4, 3)):
        common = [(6 + k, int(r)) for k, r in enumerate(rng.integers(size, size=4))]
        inner = {(q, label, r) for q in range(3) for label, r in common}
        inner |= {tuple(edge) for edge in rng.integers([size, 6, size], size=(20, 3)).tolist()}
        for _ in range(num_copies):
            kept = [q for q in range(size) if q < 3 or rng.random() < 0.8]
            places.append({num_origins + q: len(copy) + i for i, q in enumerate(kept)})
            copy += [len(places) - 1] * len(kept)
            origin += [num_origins + q for q in kept]
            at = {q: places[-1][num_origins + q] for q in kept}
            edges |= {(at[q], label, at[r]) for q, label, r in inner if q in at and r in at}
        num_origins += size
    num_inner, num_single = len(copy), 9
    final = num_inner + num_single
    copy += [-1] * (num_single + 1)
    origin += [-1] * (num_single + 1)
    for s in range(final):
        for t in rng.choice(final + 1, size=2, replace=False).tolist():
            edges.add((s, int(rng.integers(10, TAIL)), t))
    edges.add((final, TAIL, final))
    source, label, target = np.array(sorted(edges), np.int64).T
    depth = rng.integers(3, size=final + 1)
    depth[0] = 0
    part = np.zeros(len(copy), np.int64)
    return Edges(source, label, target), Nodes(depth, np.array(copy), np.array(origin), part), final


@pytest.mark.parametrize("seed", range(6))
def test_laid_out_sums_equal_the_plain_recursion(seed):
    """Backward and forward sums over units and shared sums are those over the edges, from any state, for any end."""
    edges, states, final = random_chain(seed)
    layout, rank = lay_out(edges, states, NUM_LABELS, min_edges=0)
    assert np.count_nonzero(layout.lanes.label < NUM_LABELS) > 10
    assert layout.begin[0] < layout.num_units // GROUP  # there are shared sums
    rng = np.random.default_rng(seed)
    length, start = 7, int(rng.integers(final))
    label = rng.random((length, NUM_LABELS)) / 8
    can_end = rng.random(final + 1) < 0.5
    can_end[final] = True
    expected = np.zeros((length + 1, final + 1))
    expected[length, can_end] = 1.0
    matrices = np.zeros((length, final + 1, final + 1))
    for i in range(length):
        np.add.at(matrices[i], (edges.source, edges.target), label[i, edges.label])
    for i in range(length - 1, -1, -1):
        expected[i] = matrices[i] @ expected[i + 1]
    label = np.hstack([label, np.ones((length, 1)), np.zeros((length, 1))])
    place = layout.place[rank]
    after, rows = empty_rows(length + 1, layout.num_state_nodes), np.zeros((2, layout.num_nodes))
    after[:] = np.nan
    after[length] = 0.0
    after[length, place[can_end]] = 1.0
    rows[length % 2, : layout.num_state_nodes] = after[length]
    plain.backward(
        label, *layout.lanes, *layout.loose, layout.loose_node, layout.filled, *layout.begin,
        np.tile(layout.reached[-1], (length, 1)), np.zeros(layout.num_nodes), rows, after, length, place[final], TAIL,
    )  # fmt: skip
    assert np.allclose(after[:, place], expected, rtol=1e-12, atol=0)
    weight, tail = np.zeros_like(label), np.zeros(length)
    order = np.argsort(place[edges.source], kind="stable")
    row = np.searchsorted(place[edges.source][order], np.arange(layout.num_state_nodes + 1)).astype(np.uint32)
    plain.forward(
        label, row, edges.label[order], place[edges.target][order], place[start], after, place[final], weight, tail,
        np.zeros((2, len(row))), np.zeros((2, len(row)), np.uint32),
    )  # fmt: skip
    before = np.zeros(final + 1)
    before[start] = 1.0 / expected[0, start]
    for i in range(length):
        assert tail[i] == pytest.approx(before[final] * expected[i, final], abs=1e-12)
        wanted = np.zeros(NUM_LABELS)
        np.add.at(wanted, edges.label, before[edges.source] * expected[i + 1, edges.target])
        assert np.allclose(weight[i, :NUM_LABELS], wanted, rtol=1e-9, atol=1e-15)
        before = before @ matrices[i]


def test_a_small_chain_is_left_as_it_is():
    """Below the threshold there are no shared sums, and every edge stays or is one of a unit's."""
    edges, states, final = random_chain(0)
    layout, rank = lay_out(edges, states, NUM_LABELS)
    assert sorted(rank) == list(range(final + 1))
    assert layout.begin == (layout.num_units // GROUP, len(layout.loose_node) // GROUP)
    num_whole = np.count_nonzero(layout.lanes.label < NUM_LABELS)
    num_loose = np.count_nonzero(layout.loose.label < NUM_LABELS)
    assert num_loose + 8 * num_whole >= len(edges.label) >= num_loose


@pytest.mark.parametrize("left", [0, 30])
def test_a_schema_with_several_free_values_is_summed_side_by_side(vocabulary, left):
    """Three free values give units, and the posterior is that of the scaled sums, which walk each edge by itself."""
    schema = {"type": "object", "properties": {"a": {}, "b": {}, "c": {}}, "required": ["a", "b", "c"]}
    c = compile_constraint(json_grammar(schema, is_strict=True), vocabulary)
    chain = chain_of(c)
    num_labels = len(chain.label_begin) - 1
    num_whole = np.count_nonzero(chain.layout.lanes.label < num_labels)
    num_loose = np.count_nonzero(chain.layout.loose.label <= num_labels)
    assert num_whole > 500
    assert num_loose + 2 * num_whole < len(chain.edge_label)
    rng = np.random.default_rng(left)
    log_sum = np.where(c.atom_size > 0, rng.normal(0.0, 3.0, (40, c.num_atoms)), -np.inf)
    log_sum -= np.log(np.exp(log_sum).sum(axis=1, keepdims=True))
    sums = Sums(np.exp(log_sum), log_sum, np.where(c.atom_size > 0, log_sum - np.log(np.maximum(c.atom_size, 1)), 0.0))
    for state in (0, int(np.flatnonzero(c.distance == c.distance.max() // 2)[0])):
        here = run_backward(sums, chain, int(chain.block[state]), left)
        there = run_scaled(sums, chain, int(chain.block[state]), left)
        assert isinstance(here, PlainMessages)
        assert here.log_partition == pytest.approx(there.log_partition, abs=1e-9)
        one, other = here.marginals(c.atom_size), there.marginals(c.atom_size)
        share, other_share = np.exp(one.log_weight + log_sum), np.exp(other.log_weight + log_sum)
        assert np.allclose(share, other_share, atol=1e-9, rtol=0)
        assert np.allclose(one.entropies, other.entropies, atol=1e-9, rtol=0)
        assert np.allclose(one.tail, other.tail, atol=1e-9, rtol=0)


def test_the_brackets_of_a_lone_free_value_are_summed_side_by_side(vocabulary):
    """What stands within the same inner brackets is one unit, so that most edges are edges of whole units."""
    chain = chain_of(compile_constraint(json_grammar({}), vocabulary))
    num_labels = len(chain.label_begin) - 1
    num_loose = np.count_nonzero(chain.layout.loose.label <= num_labels)
    assert len(chain.edge_label) > 2_000
    assert num_loose < len(chain.edge_label) / 4


def test_labels_are_summed_once_and_by_parts():
    """Equal labels are one; sums of labels and weights of atoms by way of parts are those by way of atoms."""
    rng = np.random.default_rng(0)
    num_atoms, num_positions = 150, 37
    common = rng.random(num_atoms) < 0.8
    has = np.array([common ^ (rng.random(num_atoms) < 0.05) for _ in range(40)] + [rng.random(num_atoms) < 0.02] * 2)
    has = np.vstack([has, has[:3], np.zeros((1, num_atoms), bool)])
    begin = np.append(0, np.cumsum(has.sum(axis=1)))
    labels = make_labels(begin, np.nonzero(has)[1], num_atoms)
    assert len(labels.begin) - 1 == 42
    assert labels.num_parts > 0
    assert len(labels.sum_members) < len(labels.atoms) / 2
    arrays = labels.sum_begin.astype(np.uint32), labels.sum_members.astype(np.uint16), labels.num_parts
    table = np.zeros((num_atoms + len(labels.sum_begin) - 1) * plain.BLOCK)
    mass = rng.random((num_positions, num_atoms))
    sums = np.ones((num_positions, len(labels.begin)))
    plain.gather(mass, *arrays, table, sums)
    assert np.allclose(sums[:, labels.number], mass @ has.T, rtol=1e-12)
    assert (sums[:, -1] == 1.0).all()
    weight = rng.random(sums.shape)
    weight[:, ::3] = 0.0
    first = np.unique(labels.number, return_index=True)[1]
    by_atom = np.empty_like(mass)
    plain.scatter(weight, *arrays, table, by_atom)
    assert np.allclose(by_atom, weight[:, :-1] @ has[first], rtol=1e-12)


def test_labels_that_share_too_little_stay_lists_of_atoms():
    """Where no part saves anything the search for parts ends, and labels are their atoms."""
    num_atoms = 4_000
    begin = np.arange(0, num_atoms + 1, 40)
    labels = make_labels(begin, np.arange(num_atoms), num_atoms)
    assert labels.num_parts == 0
    assert len(labels.sum_members) == num_atoms
