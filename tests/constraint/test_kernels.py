"""Compiled inner loops that have two ways to the same result."""

from __future__ import annotations

import numpy as np

from agentflow.constraint.kernels import split_blocks, split_many


def test_a_partition_is_refined_alike_with_few_pairs_and_with_many() -> None:
    """The table of pairs that occur gives the blocks that the table of all pairs gives, in the same order."""
    generator = np.random.default_rng(0)
    blocks = generator.integers(0, 40, 3_000).astype(np.int32)
    cells = generator.integers(0, 60, 3_000).astype(np.int32)
    refined, first = split_blocks(blocks, 40, cells, 60)
    also_refined, also_first = split_many(blocks, cells, 60)
    assert np.array_equal(refined, also_refined)
    assert np.array_equal(first, also_first)
