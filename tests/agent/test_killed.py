"""Processes that are really stopped, at random moments, and gone on with."""

import importlib
import os
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_stopped_runs_end_with_every_call_made_once_or_reported(tmp_path, monkeypatch):
    """An agent, nested agents and a plan, stopped by SIGKILL, SIGTERM and full disks until 24 stops hit a run.

    Each message is sent exactly once, but for those that are reported as unknown, which are sent at most once; outputs
    and results are those of runs that nobody stops. `benchmarks/kills.py` does the same with hundreds of stops.
    """
    monkeypatch.syspath_prepend(BENCHMARKS)
    kills = importlib.import_module("kills")
    tally = kills.kill_runs(24, 5, tmp_path)
    assert tally.problems == []
    assert tally.kills.total() >= 24
    assert set(tally.kills) == set(kills.MODES)
    assert tally.runs.total() >= 2
