"""Rows of numbers that are recognised again, on which the subset construction stands."""

from __future__ import annotations

import numpy as np
import pytest

from agentflow.constraint.assembly_kernels import new_store
from agentflow.constraint.pool_kernels import NUM, Pool, intern, sort


@pytest.mark.parametrize("length", [0, 1, 2, 3, 4, 7, 16, 37, 200])
def test_a_part_of_an_array_is_sorted_and_the_rest_left(length: int) -> None:
    """The first entry is the tag of a row and stays where it is."""
    values = np.random.default_rng(length).integers(0, 50, length + 2).astype(np.int32)
    values[0] = 99
    expected = [99, *sorted(values[1 : 1 + length].tolist()), values[-1]]
    sort(values, 1, 1 + length)
    assert values.tolist() == expected


def test_equal_rows_have_one_name_however_many_there_are() -> None:
    """Names stay the same while the pool grows and its table is made anew."""
    pool = Pool(*new_store()[:5])
    before = int(pool.num[NUM])
    generator = np.random.default_rng(0)
    rows = [tuple(generator.integers(0, 12, generator.integers(2, 6)).tolist()) for _ in range(1_500)]
    rows = [(9, *row) for row in rows]  # a tag that no other row has
    names: dict[tuple[int, ...], int] = {}
    for row in rows:
        pool, name = intern(pool, np.array(row, np.int32), len(row))
        assert names.setdefault(row, name) == name
    assert len(set(names.values())) == len(names) == int(pool.num[NUM]) - before
    kept = {tuple(pool.items[pool.begin[name] : pool.begin[name + 1]].tolist()) for name in names.values()}
    assert kept == set(names)
