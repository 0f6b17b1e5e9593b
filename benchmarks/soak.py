"""Many agents for a long time: random arrivals, cancellations, deadlines and oversized prompts on one engine.

    python benchmarks/soak.py [--minutes 30] [--agents 24] [--seed 0] [--json benchmarks/results/soak.json]

Every request has a word of its own. Half of them have a schema that demands this word in the answer; the others may
call one of several tools with what stands in their text. So an answer that reached the wrong agent shows by its
content. Some requests are cancelled at a random time, some have a
deadline that is too short, some have prompts longer than the context, some are watched while they are drafted. Agents
come and go at random; the queue is shorter than their number, so some are refused.

It fails if an answer is wrong or missing, if anything else than the planned errors comes, if something is still open or
waiting at the end, or if memory grows by more than 2 % after the first fifth.
"""

from __future__ import annotations

import argparse
import dataclasses
import gc
import json
import os
import random
import shlex
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import torch

from agentflow.backend.diffusion.backend import DiffusionBackend
from agentflow.backend.diffusion.engine import EngineStatistics
from agentflow.backend.diffusion.loader import load_checkpoint
from agentflow.bench.machine import this_machine
from agentflow.errors import BackendError, ContextLengthError, OverloadedError
from agentflow.types import (
    Generation,
    GenerationRequest,
    GenerationSettings,
    SystemMessage,
    ToolCall,
    ToolSpec,
    UserMessage,
)

MAX_GROWTH = 0.02
FILLER = "The ferry leaves when the tide allows and the harbour opens at nine. "


@dataclasses.dataclass(kw_only=True)
class Soak:
    """What a soak has seen.

    Attributes:
        outcomes: How requests ended, by name.
        failures: What should not have been.
        memory_mib: Resident memory, sampled.
        duration_s: How long it took.
        statistics: The engine's own account at the end.
    """

    outcomes: Counter[str] = dataclasses.field(default_factory=Counter)
    failures: list[str] = dataclasses.field(default_factory=list)
    memory_mib: list[float] = dataclasses.field(default_factory=list)
    duration_s: float = 0.0
    statistics: EngineStatistics | None = None

    @property
    def growth(self) -> float:
        """Memory at the end over memory after the first fifth, less 1; medians over a tenth of the samples."""
        num = max(len(self.memory_mib) // 10, 1)
        first = len(self.memory_mib) // 5
        early = statistics.median(self.memory_mib[first : first + num])
        return statistics.median(self.memory_mib[-num:]) / early - 1


OPEN_TOOLS = tuple(
    ToolSpec(name, "", {"type": "object", "properties": properties, "required": list(properties)})
    for name, properties in {
        "add_note": {"title": {"type": "string"}, "text": {"type": "string"}},
        "add_todo": {"item": {"type": "string"}},
        "delete_note": {"title": {"type": "string"}},
    }.items()
)


def make_request(rng: random.Random, number: int, agent: str) -> tuple[GenerationRequest, Callable[[ToolCall], bool]]:
    """A request, and whether a call can be its answer."""
    word = f"Q{number}x{rng.randrange(10_000)}"
    text = f"{FILLER * rng.randrange(0, 12)}Save a note called {word} that says: water the plants."
    properties = {"title": {"enum": [word, f"{word} again"]}, "text": {"type": "string"}}
    schema = {"type": "object", "properties": properties, "required": ["title", "text"]}
    is_open = rng.random() < 0.5
    system = "Use the tools. Then answer."
    request = GenerationRequest(
        messages=(SystemMessage(system), UserMessage(text)),
        tools=OPEN_TOOLS if is_open else (ToolSpec("add_note", "Save a note.", schema),),
        tool_choice="required",
        settings=GenerationSettings(
            seed=number,
            max_new_tokens=160,
            is_parallel=False,
            is_grounded=is_open or None,
            is_checked=rng.choice((None, None, None, False)),
        ),
        priority=rng.choice((0, 0, 1)),
        agent=agent,
    )

    def is_own(call: ToolCall) -> bool:
        if is_open:
            return all(value in text or value in system for value in call.arguments.values())
        return call.arguments["title"] in {word, f"{word} again"}

    return request, is_own


async def ask(backend: DiffusionBackend, soak: Soak, rng: random.Random, number: int, agent: str) -> None:
    """One request of a random kind."""
    request, is_own = make_request(rng, number, agent)
    kind = rng.choices(("plain", "watched", "cancelled", "late", "oversized"), (60, 10, 15, 10, 5))[0]
    if kind == "late":
        request = dataclasses.replace(request, timeout_s=rng.uniform(0.001, 0.2))
    if kind == "oversized":
        messages = (*request.messages, UserMessage(FILLER * 400))
        request = dataclasses.replace(request, messages=messages)
    drafts: list[Any] = []
    try:
        with anyio.move_on_after(rng.uniform(0, 0.5) if kind == "cancelled" else None) as scope:
            generation = await backend.generate(request, on_draft=drafts.append if kind == "watched" else None)
            soak.outcomes["answered"] += 1
            _judge(soak, generation, number, is_own)
        if scope.cancelled_caught:
            soak.outcomes["cancelled"] += 1
    except ContextLengthError as error:
        _expect(soak, "oversized", kind == "oversized", error)
    except OverloadedError as error:
        _expect(soak, "refused", True, error)
    except BackendError as error:
        _expect(soak, "late", kind == "late", error)
    if kind == "watched" and drafts and not drafts[-1].is_committed:
        soak.failures.append(f"request {number}: the last draft is not the committed one")


def _expect(soak: Soak, outcome: str, is_planned: bool, error: Exception) -> None:
    soak.outcomes[outcome] += 1
    if not is_planned:
        soak.failures.append(f"unplanned: {type(error).__name__}: {error}")


def _judge(soak: Soak, generation: Generation, number: int, is_own: Callable[[ToolCall], bool]) -> None:
    """The answer must be one call that says what its own request allows."""
    calls = generation.message.tool_calls
    if len(calls) != 1 or not is_own(calls[0]):
        soak.failures.append(f"request {number} was answered with {[call.arguments for call in calls]}")


async def run_soak(*, model: str, duration_s: float, num_agents: int, seed: int) -> Soak:
    """Let agents come and go for a while, then wait for all of them."""
    checkpoint = load_checkpoint(model)
    backend = DiffusionBackend(checkpoint, max_rows=8, max_waiting=max(num_agents - 10, 4), prefix_cache_bytes=1 << 25)
    soak, rng = Soak(), random.Random(seed)  # noqa: S311 - reproducible traffic, no secret
    numbers = iter(range(1 << 40))
    started_s = time.monotonic()

    async def agent(name: str, agent_rng: random.Random) -> None:
        while time.monotonic() - started_s < duration_s:
            await anyio.sleep(agent_rng.expovariate(4.0))
            await ask(backend, soak, agent_rng, next(numbers), name)

    async def watch_memory() -> None:
        while time.monotonic() - started_s < duration_s:
            await anyio.sleep(min(2.0, duration_s / 50))
            gc.collect()
            soak.memory_mib.append(_resident_mib())

    with anyio.move_on_after(duration_s + 120) as scope:
        async with anyio.create_task_group() as group:
            group.start_soon(watch_memory)
            for i in range(num_agents):
                group.start_soon(agent, f"agent-{i}", random.Random(rng.random()))  # noqa: S311 - as above
    if scope.cancelled_caught:
        soak.failures.append("something is stuck: 120 s after the end agents still wait")
    await anyio.sleep(0.5)  # rows that were cancelled last leave with the next pass
    soak.statistics = backend.statistics()
    if soak.statistics.num_open or soak.statistics.num_waiting:
        soak.failures.append(f"left over: {soak.statistics.num_open} open, {soak.statistics.num_waiting} waiting")
    await backend.aclose()
    soak.duration_s = time.monotonic() - started_s
    return soak


def _resident_mib() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def main() -> None:
    """Read the options, run, print what was seen and a last line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--agents", type=int, default=24)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    soak = anyio.run(
        lambda: run_soak(
            model=options.model, duration_s=60 * options.minutes, num_agents=options.agents, seed=options.seed
        )
    )
    if soak.growth > MAX_GROWTH:
        soak.failures.append(f"memory grew by {100 * soak.growth:.1f} % after the first fifth")
    step = max(len(soak.memory_mib) // 50, 1)
    report = {
        "machine": dataclasses.asdict(this_machine()),
        "command": shlex.join(["python", *sys.argv]),
        "duration_s": soak.duration_s,
        "outcomes": dict(soak.outcomes),
        "memory_mib": soak.memory_mib[::step],
        "memory_growth": soak.growth,
        "statistics": dataclasses.asdict(soak.statistics) if soak.statistics else None,
        "failures": soak.failures[:100],
        "num_failures": len(soak.failures),
    }
    for name, number in soak.outcomes.most_common():
        print(f"{number:8d}  {name}")
    print(f"memory {soak.memory_mib[0]:.0f} to {soak.memory_mib[-1]:.0f} MiB, growth {100 * soak.growth:+.2f} %")
    print(f"{len(soak.failures)} failures", *soak.failures[:10], sep="\n  ")
    if options.json is not None:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(report))
    raise SystemExit(1 if soak.failures else 0)


if __name__ == "__main__":
    main()
