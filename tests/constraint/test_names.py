"""Symbols numbered anew."""

from __future__ import annotations

import numpy as np

from agentflow.constraint.names import number_symbols


def test_symbols_are_numbered_by_where_they_stand_first():
    """Also the second time, and where there are none."""
    for symbols, distinct, names in [
        ([70, 12, 70, 99], [70, 12, 99], [0, 1, 0, 2]),
        ([12, 400_000, 12], [12, 400_000], [0, 1, 0]),
        ([], [], []),
    ]:
        found = number_symbols(np.array(symbols, np.int32))
        assert (found.distinct.tolist(), found.names.tolist()) == (distinct, names)
