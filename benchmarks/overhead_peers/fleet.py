"""What every framework of `benchmarks/overhead.py` is measured with; it needs the standard library only.

A program of this folder defines a fleet and calls `serve`. It then waits for lines on its standard input and answers
each ``run`` with one line of JSON, so that the driver can let the frameworks take turns round by round.

The task is the same for all: the model asks for ``add(a=i, b=1)`` in `num_steps` turns, one call a turn, and then says
``done``. The model answers at once, after giving the event loop one chance to run another agent. So all time that
passes is the framework's, but for the few lines of the tool and of the model.
"""

from __future__ import annotations

import argparse
import gc
import json
import re
import resource
import sys
import time
from collections.abc import Callable
from importlib import metadata
from typing import Any

Fleet = Callable[[int, int], list[str]]
"""Runs that many agents, all at once where the framework can, with that many steps each; gives their answers."""

ANSWER = "done"
TASK = "Add one to each number from 0 on."
NUM_WARM_UP_AGENTS = 2
num_additions = 0


async def add(a: int, b: int) -> int:
    """Add two numbers.

    Args:
        a: The first number.
        b: The second number.
    """
    return add_now(a, b)


def add_now(a: int, b: int) -> int:
    """Add two numbers.

    Args:
        a: The first number.
        b: The second number.
    """
    global num_additions  # noqa: PLW0603 - counts what really ran
    num_additions += 1
    return a + b


def serve(fleet: Fleet, distribution: str, *, description: str) -> None:
    """Measure `fleet` whenever the driver asks.

    Args:
        fleet: What is measured.
        distribution: What pip calls the framework; empty for none.
        description: How it is used here, in a few words.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("--agents", type=int, default=100)
    parser.add_argument("--steps", type=int, default=50)
    options = parser.parse_args()
    imported_mib = _resident_mib()
    run_checked(fleet, NUM_WARM_UP_AGENTS, options.steps)
    _tell({"description": description, "imported_mib": imported_mib, **describe(distribution)})
    for line in sys.stdin:
        if line.strip() != "run":
            break
        _tell(measure(fleet, options.agents, options.steps))


def measure(fleet: Fleet, num_agents: int, num_steps: int) -> dict[str, float]:
    """Run the fleet once and say what a step took, in milliseconds, and the largest memory so far, in MiB."""
    gc.collect()
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    run_checked(fleet, num_agents, num_steps)
    wall_s, cpu_s = time.perf_counter() - wall_s, time.process_time() - cpu_s
    per_step = 1000 / (num_agents * num_steps)
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"cpu_ms": cpu_s * per_step, "wall_ms": wall_s * per_step, "peak_mib": peak_mib}


def run_checked(fleet: Fleet, num_agents: int, num_steps: int) -> None:
    """Run the fleet and make sure that it did all of its work."""
    before = num_additions
    answers = fleet(num_agents, num_steps)
    num_done = num_additions - before
    if num_done != num_agents * num_steps or answers != [ANSWER] * num_agents:
        raise SystemExit(f"{num_done} additions in place of {num_agents * num_steps}, answers {answers[:3]}")


def describe(distribution: str) -> dict[str, Any]:
    """Say which version it is, and how many distributions pip installs for it, itself included."""
    if not distribution:
        return {"version": "", "num_distributions": 0, "size_mib": 0.0}
    installed = sorted(find_distributions(distribution))
    return {
        "version": metadata.version(distribution),
        "num_distributions": len(installed),
        "size_mib": sum(size_bytes(name) for name in installed) / 2**20,
    }


def find_distributions(name: str) -> set[str]:
    """Follow the requirements of a distribution, without extras, through what is installed here."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        normal = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if normal in found or not _is_installed(normal):
            continue
        found.add(normal)
        needed = [text for text in metadata.requires(normal) or () if "extra ==" not in text]
        waiting += [re.split(r"[^A-Za-z0-9._-]", text, maxsplit=1)[0] for text in needed]
    return found


def size_bytes(name: str) -> int:
    """Count the bytes of the files of a distribution that are there."""
    files = metadata.files(name) or []
    paths = [file.locate() for file in files if not str(file).endswith(".pyc")]
    return sum(path.stat().st_size for path in paths if path.is_file())  # type: ignore[attr-defined]


def _is_installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def _resident_mib() -> float:
    with open("/proc/self/statm") as file:  # noqa: PTH123 - importing pathlib would count
        return int(file.read().split()[1]) * resource.getpagesize() / 2**20


def _tell(record: dict[str, Any]) -> None:
    print(json.dumps(record), flush=True)
