"""Structured turns per second for 1 to 16 agents at once: diffusion against the same weights from left to right.

    python benchmarks/engine.py [--agents 1,2,4,8,16] [--repeats 5] [--turns 16] [--json benchmarks/results/engine.json]

Every agent asks for the first turn of a task of the suite `assistant`: a tool call, held to the schemas of the offered
tools. No tool runs. Agents share one loaded model; each asks for its next turn when it has its last one. Within
one number of agents no request comes twice, so nothing is found in a cache that a real agent would not find there.
Numbers are medians over the repeats, with the least and the most; one warm-up run before is not counted.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
from rich.console import Console
from rich.table import Table

from agentflow.backend.base import Backend
from agentflow.bench.harness import INSTRUCTIONS, Mode
from agentflow.bench.machine import this_machine
from agentflow.bench.metrics import percentile
from agentflow.bench.suite import make_suite
from agentflow.bench.task import BenchTask
from agentflow.bench.world import World
from agentflow.cli.bench import DEFAULT_MODES, load_mode
from agentflow.errors import ModelOutputError
from agentflow.types import Generation, GenerationRequest, SystemMessage, Usage, UserMessage


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """One run: all turns once.

    Attributes:
        wall_s: Wall time.
        turn_s: Duration of each turn, waiting for a place included.
        num_readable: Turns that were a call or an answer.
        usage: Sum over the turns.
    """

    wall_s: float
    turn_s: tuple[float, ...]
    num_readable: int
    usage: Usage


def first_turn(task: BenchTask, mode: Mode, *, seed: int) -> GenerationRequest:
    """Ask for the first turn of a task."""
    with World.opened(task.before) as world:
        tools = tuple(tool.spec for tool in world.tools(task.tools))
    return GenerationRequest(
        messages=(SystemMessage(INSTRUCTIONS), UserMessage(task.prompt)),
        tools=tools,
        output_schema=task.output_schema,
        settings=dataclasses.replace(mode.settings, seed=seed),
    )


async def run_turns(backend: Backend, requests: Sequence[GenerationRequest], *, num_agents: int) -> Run:
    """Have `num_agents` agents work off the requests."""
    waiting = list(requests)
    turn_s: list[float] = []
    generations: list[Generation] = []

    async def work() -> None:
        while waiting:
            request = waiting.pop()
            started_s = time.perf_counter()
            with suppress(ModelOutputError):  # only without the constraint: a turn that is not readable
                generations.append(await backend.generate(request))
            turn_s.append(time.perf_counter() - started_s)

    started_s = time.perf_counter()
    async with anyio.create_task_group() as group:
        for _ in range(num_agents):
            group.start_soon(work)
    return Run(
        wall_s=time.perf_counter() - started_s,
        turn_s=tuple(turn_s),
        num_readable=len(generations),
        usage=sum((generation.usage for generation in generations), Usage()),
    )


def measure(mode: Mode, *, name: str, num_agents: int, num_turns: int, num_repeats: int) -> dict[str, Any]:
    """Measure one mode at one number of agents."""
    tasks = make_suite(num_turns * (num_repeats + 1), seed=num_agents)
    requests = [first_turn(task, mode, seed=i) for i, task in enumerate(tasks)]

    async def measure_all() -> list[Run]:
        batches = [requests[i : i + num_turns] for i in range(0, len(requests), num_turns)]
        _warm_up, *runs = [await run_turns(mode.backend, batch, num_agents=num_agents) for batch in batches]
        return runs

    runs = anyio.run(measure_all)
    usage = sum((run.usage for run in runs), Usage())
    return {
        "mode": name,
        "num_agents": num_agents,
        "num_turns": num_turns,
        "num_repeats": num_repeats,
        "turns_per_second": _spread([len(run.turn_s) / run.wall_s for run in runs]),
        "output_tokens_per_second": _spread([run.usage.output_tokens / run.wall_s for run in runs]),
        "turn_duration_s_p50": _spread([percentile(run.turn_s, 50) for run in runs]),
        "readable_share": sum(run.num_readable for run in runs) / sum(len(run.turn_s) for run in runs),
        "denoising_steps_per_canvas": usage.denoising_steps_per_canvas,
        "tokens_per_forward": usage.tokens_per_forward,
        "constraint_time_share": usage.constraint_time_s / usage.model_time_s if usage.model_time_s else 0.0,
    }


def print_table(rows: Sequence[dict[str, Any]], console: Console) -> None:
    """Print one line per mode and number of agents."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("mode", "agents", "turns/s", "(least to most)", "tokens/s", "turn p50, s", "steps/canvas", "readable"):
        table.add_column(name, justify="left" if name == "mode" else "right")
    for row in rows:
        turns = row["turns_per_second"]
        table.add_row(
            row["mode"],
            str(row["num_agents"]),
            f"{turns['median']:.2f}",
            f"({turns['least']:.2f} to {turns['most']:.2f})",
            f"{row['output_tokens_per_second']['median']:.1f}",
            f"{row['turn_duration_s_p50']['median']:.3f}",
            f"{row['denoising_steps_per_canvas']:.1f}" if row["denoising_steps_per_canvas"] else "-",
            f"{100 * row['readable_share']:.0f} %",
        )
    console.print(table)


def _spread(values: Sequence[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "least": min(values), "most": max(values)}


def main() -> None:
    """Read the options, measure, print a table and a last line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--agents", default="1,2,4,8,16")
    parser.add_argument("--modes", default=DEFAULT_MODES)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--turns", type=int, default=16)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    machine = this_machine()
    print(f"{machine}\n{', '.join(f'{name} {number}' for name, number in machine.versions.items())}")
    print(
        f"model {options.model}, {options.turns} turns a run, {options.repeats} repeats, seeds 0 to {options.turns - 1}"
    )
    rows: list[dict[str, Any]] = []
    for name in options.modes.split(","):
        mode = load_mode(name, options.model)
        rows += [
            measure(mode, name=name, num_agents=num_agents, num_turns=options.turns, num_repeats=options.repeats)
            for num_agents in map(int, options.agents.split(","))
        ]
        anyio.run(mode.backend.aclose)
    print_table(rows, Console(width=140))
    report = {"model": options.model, "machine": dataclasses.asdict(machine), "rows": rows}
    if options.json is not None:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(report))


if __name__ == "__main__":
    main()
