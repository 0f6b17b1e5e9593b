"""Chains: what the posterior walks."""

from __future__ import annotations

import numpy as np

from agentflow.constraint import compile_constraint, json_grammar


def test_states_of_several_free_values_are_known_as_copies(vocabulary):
    """Where a schema leaves three values open, three states share each origin, and they go on alike within a copy."""
    schema = {"type": "object", "properties": {"a": {}, "b": {}, "c": {}}, "required": ["a", "b", "c"]}
    c = compile_constraint(json_grammar(schema, is_strict=True), vocabulary)
    is_copy = c.origin >= 0
    assert is_copy.mean() > 0.9
    origins, counts = np.unique(c.origin[is_copy], return_counts=True)
    assert np.bincount(counts).argmax() == 3
    inner = c.copy[c.edge_source] == c.copy[c.edge_target]
    edges = {
        (int(c.origin[s]), int(label)): int(c.origin[t])
        for s, label, t in zip(c.edge_source[inner], c.edge_label[inner], c.edge_target[inner], strict=True)
        if c.origin[s] >= 0
    }
    for s, label, t in zip(c.edge_source[inner], c.edge_label[inner], c.edge_target[inner], strict=True):
        assert c.origin[s] < 0 or edges[int(c.origin[s]), int(label)] == c.origin[t]
    assert len(origins) < is_copy.sum() / 2
