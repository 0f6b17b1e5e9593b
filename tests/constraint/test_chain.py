"""Chains: what the posterior walks."""

from __future__ import annotations

import numpy as np

from agentflow.constraint import compile_constraint, json_grammar


def test_states_of_several_free_values_are_known_as_copies(vocabulary):
    """Where a schema leaves three values open, what stands within the same brackets goes on alike in all of them."""
    schema = {"type": "object", "properties": {"a": {}, "b": {}, "c": {}}, "required": ["a", "b", "c"]}
    c = compile_constraint(json_grammar(schema, is_strict=True), vocabulary)
    is_copy = c.origin >= 0
    assert is_copy.mean() > 0.9
    within = np.stack([c.copy, c.part, c.origin])[:, is_copy]
    assert np.unique(within, axis=1).shape == within.shape  # no state stands for two
    values = np.unique(within[0][within[1] > 0])
    assert len(values) == 3
    first, *others = (within[1:, within[0] == value] for value in values)
    assert all(np.array_equal(np.sort(first), np.sort(other)) for other in others)
    inner = (c.copy[c.edge_source] == c.copy[c.edge_target]) & (c.part[c.edge_source] == c.part[c.edge_target])
    edges: dict[tuple[int, int], set[int]] = {}
    for s, label, t in zip(c.edge_source[inner], c.edge_label[inner], c.edge_target[inner], strict=True):
        if c.origin[s] >= 0:
            edges.setdefault((int(c.origin[s]), int(label)), set()).add(int(c.origin[t]))
    assert all(len(targets) == 1 for targets in edges.values())
    assert len(np.unique(c.origin)) < 0.1 * is_copy.sum()  # brackets within brackets are copies, too
