"""The benchmark of what a framework adds to a step: its fleets do all their work, and what is missing is said."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def path(monkeypatch):
    """Find the programs of the benchmark, and forget them afterwards."""
    monkeypatch.syspath_prepend(str(BENCHMARKS / "overhead_peers"))
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    yield
    for name in ("fleet", "by_hand", "with_agentflow", "overhead"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize(
    ("has_journal", "is_sync"), [(False, False), (True, False), (False, True)], ids=["plain", "journal", "function"]
)
def test_a_fleet_does_all_its_work(has_journal, is_sync):
    """Every agent makes every call and answers; the shared check would end the program if not."""
    fleet, ours = importlib.import_module("fleet"), importlib.import_module("with_agentflow")
    run = ours.make_fleet(has_journal=has_journal, is_sync=is_sync)
    record = fleet.measure(run, 3, 4)
    assert fleet.num_additions == 12
    assert set(record) == {"cpu_ms", "wall_ms", "peak_mib"}
    assert record["wall_ms"] > 0


def test_a_fleet_that_cheats_is_caught():
    """An answer without the calls ends the program."""
    fleet = importlib.import_module("fleet")
    with pytest.raises(SystemExit, match="0 additions in place of 12"):
        fleet.run_checked(lambda num_agents, _num_steps: ["done"] * num_agents, 3, 4)


@pytest.mark.slow
def test_a_program_answers_whenever_it_is_asked():
    """The driver starts a program once and lets it measure round by round."""
    command = [sys.executable, str(BENCHMARKS / "overhead_peers" / "by_hand.py"), "--agents", "2", "--steps", "3"]
    run = subprocess.run(command, input="run\nrun\nstop\n", capture_output=True, text=True, check=True, timeout=60)  # noqa: S603
    facts, first, second = (json.loads(line) for line in run.stdout.splitlines())
    assert "while loop" in facts["description"]
    assert min(first["cpu_ms"], second["cpu_ms"]) > 0


def test_what_is_missing_is_said(tmp_path):
    """A framework without an environment has a row that says so, and no figures."""
    overhead = importlib.import_module("overhead")
    assert overhead.find_pythons(tmp_path, ["agno=/usr/bin/python3"]) == {
        "": sys.executable,
        "agno": "/usr/bin/python3",
    }
    rows = [overhead.Row(name="by hand", cpu_ms=(0.01,), wall_ms=(0.02,)), overhead.Row(name="agno", is_missing=True)]
    record = {"num_agents": 100, "num_steps": 50, "rows": [overhead.dataclasses.asdict(row) for row in rows]}
    assert "| agno |  | not installed |" in overhead.markdown(record)


def test_limits_are_judged():
    """Each limit of our own is kept or broken, in words."""
    overhead = importlib.import_module("overhead")
    rows = [{"name": "agentflow", "cpu_ms": [0.2, 0.1, 0.4]}, {"name": "agentflow, journal", "cpu_ms": [1.2]}]
    told = overhead.verdicts({"rows": rows, "import_agentflow_ms": 120.0, "is_torch_imported": True})
    assert [line.rsplit(" ", 1)[1] for line in told] == ["kept", "BROKEN", "BROKEN"]
