"""Structured turns for 1 to 32 agents at once: our engine, transformers' own loop and left to right, on equal terms.

    python benchmarks/engine.py [--agents 1,2,4,8,16,32] [--repeats 5] [--json benchmarks/results/engine.json]

The same weights, prompts, machine and run for all of:

    diffusion            our engine, held to the schemas
    unconstrained        our engine without the constraint
    generate             transformers' `generate` as it stands: no schema, one request at a time
    generate+mask        the same with a grammar mask, left to right over the canvas, as logits processor
    static-cache         left to right with transformers alone: its causal encoder, one token a pass, llguidance's
                         mask, its static cache (the beginning of the last prompt of a kind is reused), one at a time
    left-to-right-1      the same with all that our engine and forward pass do for speed: a much faster twin
    left-to-right        that, all agents in one pass
    diffusion-replicas, left-to-right-replicas
                         ours and left to right, each in as many processes as the machine has cores

Every agent asks for the first turn of a task of the suite `assistant`: a tool call of one of the tools it has. There
are as many sets of tools as kinds of tasks, as in a fleet of agents, so beginnings of prompts repeat and are reused by
all modes but transformers'; with ``--fresh`` the tools are shuffled for every request, so that little can be reused. No
tool runs. Agents share one loaded model; each asks for its next turn when it has its last one, at least eight in a
run, so that its beginning and end, when not all are at work, count little; no request comes twice. Modes are run in
turns, once each and then again; numbers are medians over these rounds, and ratios are taken within each round first;
one warm-up round before is not counted. With our engine it has as many turns as fill the memory of kept contexts, so
that what is measured is a process that has served for a while. What takes one request at a time is measured for one
agent, and replicas, which do not help one agent, for 8 and more.

Beside it: how soon the first denoising step behind a prompt of 1,000 tokens starts and is done, with and without
reuse, and a roofline: the operations of a pass over the rate that one large product reaches on this machine, against
the time it takes.
"""

from __future__ import annotations

import argparse
import dataclasses
import gc
import json
import os
import resource
import shlex
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import anyio
import torch
from rich.console import Console
from rich.table import Table

from agentflow.backend.autoregressive import AutoregressiveBackend
from agentflow.backend.base import Backend
from agentflow.backend.diffusion.backend import DiffusionBackend
from agentflow.backend.diffusion.denoiser import Denoiser
from agentflow.backend.diffusion.engine import EngineStatistics
from agentflow.backend.diffusion.loader import Checkpoint, load_checkpoint
from agentflow.backend.diffusion.packed import PackedDenoiser
from agentflow.backend.diffusion.segment import Outcome, Segment
from agentflow.backend.replicas import ReplicatedBackend
from agentflow.bench.harness import INSTRUCTIONS
from agentflow.bench.machine import this_machine
from agentflow.bench.metrics import percentile
from agentflow.bench.suite import make_suite
from agentflow.bench.task import BenchTask
from agentflow.bench.world import World
from agentflow.errors import ModelOutputError
from agentflow.model import load_model
from agentflow.types import Generation, GenerationRequest, GenerationSettings, SystemMessage, Usage, UserMessage

MODES = (
    "diffusion", "diffusion-replicas", "unconstrained", "generate", "generate+mask", "static-cache", "left-to-right-1",
    "left-to-right", "left-to-right-replicas",
)  # fmt: skip
ONE_AGENT_MODES = ("generate", "generate+mask", "static-cache", "left-to-right-1")
MIN_AGENTS_OF_REPLICAS = 8
_TURNS_PER_AGENT, _MAX_TURNS = 16, 256
_NUM_WARM = 192
"""Turns that fill the memory of kept contexts: 256 MiB, 1.8 for each conversation."""
PREFIX_LENGTH = 1000


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """One run: all turns once.

    Attributes:
        wall_s: Wall time.
        first_s: Time to the first finished turn.
        turn_s: Duration of each turn, waiting for a place included.
        num_readable: Turns that were a call or an answer.
        usage: Sum over the turns.
        pass_s: Time that the engine spent in passes.
        scheduling_s: Time that it spent between them.
    """

    wall_s: float
    first_s: float
    turn_s: tuple[float, ...]
    num_readable: int
    usage: Usage
    pass_s: float
    scheduling_s: float


def make_backend(mode: str, checkpoint: Checkpoint, *, num_agents: int) -> Backend:
    """One way of decoding over a loaded checkpoint."""
    if mode.startswith("generate"):
        from engine_peers.with_transformers import TransformersBackend

        return TransformersBackend(checkpoint, has_mask=mode == "generate+mask")
    if mode == "static-cache":
        from engine_peers.with_static_cache import StaticCacheBackend

        return StaticCacheBackend(checkpoint)
    if mode.startswith("left-to-right"):
        max_rows = 1 if mode == "left-to-right-1" else num_agents
        return AutoregressiveBackend(checkpoint, mask="llguidance", max_rows=max_rows)
    return DiffusionBackend(checkpoint, max_rows=num_agents)


def first_turn(task: BenchTask, *, seed: int, is_constrained: bool = True, is_fresh: bool = False) -> GenerationRequest:
    """Ask for the first turn of a task."""
    with World.opened(task.before) as world:
        tools = tuple(tool.spec for tool in world.tools(task.tools if is_fresh else sorted(task.tools)))
    return GenerationRequest(
        messages=(SystemMessage(INSTRUCTIONS), UserMessage(task.prompt)),
        tools=tools,
        output_schema=task.output_schema,
        settings=GenerationSettings(seed=seed, is_constrained=is_constrained),
    )


async def run_turns(backend: Backend, requests: Sequence[GenerationRequest], *, num_agents: int) -> Run:
    """Have `num_agents` agents work off the requests."""
    waiting = list(requests)
    turn_s: list[float] = []
    generations: list[Generation] = []
    ends_s: list[float] = []

    async def work() -> None:
        while waiting:
            request = waiting.pop()
            started_s = time.perf_counter()
            with suppress(ModelOutputError):  # only without the constraint: a turn that is not readable
                generations.append(await backend.generate(request))
            ends_s.append(time.perf_counter())
            turn_s.append(ends_s[-1] - started_s)

    before = _statistics(backend)
    started_s = time.perf_counter()
    async with anyio.create_task_group() as group:
        for _ in range(num_agents):
            group.start_soon(work)
    wall_s = time.perf_counter() - started_s
    after = _statistics(backend)
    return Run(
        wall_s=wall_s,
        first_s=min(ends_s) - started_s,
        turn_s=tuple(turn_s),
        num_readable=len(generations),
        usage=sum((generation.usage for generation in generations), Usage()),
        pass_s=after.pass_time_s - before.pass_time_s if after and before else 0.0,
        scheduling_s=after.scheduling_time_s - before.scheduling_time_s if after and before else 0.0,
    )


def _statistics(backend: Backend) -> EngineStatistics | None:
    found = getattr(backend, "statistics", None)
    return found() if found is not None else None


@dataclasses.dataclass(kw_only=True)
class Case:
    """One mode at one number of agents, and its runs so far.

    Attributes:
        mode: The mode.
        num_agents: Agents at once.
        backend: Its way of decoding, kept over the runs.
        batches: Requests of each run, the warm-up first.
        runs: What the runs gave.
        kept_bytes: Memory of the contexts that it kept in the end.
    """

    mode: str
    num_agents: int
    backend: Backend
    batches: list[list[GenerationRequest]]
    runs: list[Run] = dataclasses.field(default_factory=list)
    kept_bytes: int = 0


def load_replicas(options: argparse.Namespace) -> dict[str, Backend]:
    """Start the processes of the modes that have several, for all numbers of agents."""
    agents = max(int(number) for number in options.agents.split(","))
    modes = [mode for mode in options.modes.split(",") if mode.endswith("-replicas")]
    if agents < MIN_AGENTS_OF_REPLICAS or options.replicas < 2:
        return {}
    load = partial(load_model, options.model, dtype=options.dtype, max_rows=agents, num_replicas=options.replicas)
    return {
        mode: (load() if mode == "diffusion-replicas" else load(mode="autoregressive", mask="llguidance")).backend
        for mode in modes
    }


def make_case(
    mode: str,
    checkpoint: Checkpoint,
    options: argparse.Namespace,
    *,
    num_agents: int,
    loaded: dict[str, Backend],
) -> Case:
    """Prepare one mode at one number of agents; all modes get the same requests."""
    num_turns = min(max(options.turns, _TURNS_PER_AGENT * num_agents), _MAX_TURNS)
    num_warm = num_turns if mode in ONE_AGENT_MODES else max(num_turns, min(_NUM_WARM, options.turns * 6))
    sizes = [num_warm] + [num_turns] * options.repeats
    suites = [make_suite(size, seed=100 * num_agents + i) for i, size in enumerate(sizes)]
    make = partial(first_turn, is_constrained=mode not in ("unconstrained", "generate"), is_fresh=options.fresh)
    return Case(
        mode=mode,
        num_agents=num_agents,
        backend=loaded[mode] if mode in loaded else make_backend(mode, checkpoint, num_agents=num_agents),
        batches=[
            [make(task, seed=num_turns * i + j) for j, task in enumerate(suite)] for i, suite in enumerate(suites)
        ],
    )


async def measure(cases: Sequence[Case]) -> None:
    """Run all cases in turns, so that a slower or faster hour of the machine meets all of them."""
    gc.collect()
    gc.freeze()  # thousands of requests wait here: else half a second goes to the collector now and then
    for i in range(len(cases[0].batches)):
        for case in cases:
            run = await run_turns(case.backend, case.batches[i], num_agents=case.num_agents)
            if i:  # the first one warms up
                case.runs.append(run)
    for case in cases:
        found = _statistics(case.backend)
        case.kept_bytes = found.prefix_bytes if found is not None else 0
        if not isinstance(case.backend, ReplicatedBackend):  # these serve all numbers of agents
            await case.backend.aclose()


def _summarize(case: Case) -> dict[str, Any]:
    runs = case.runs
    usage = sum((run.usage for run in runs), Usage())
    pass_s, scheduling_s = sum(run.pass_s for run in runs), sum(run.scheduling_s for run in runs)
    busy_s = pass_s or usage.model_time_s
    return {
        "mode": case.mode,
        "num_agents": case.num_agents,
        "num_turns": len(runs[0].turn_s),
        "num_repeats": len(runs),
        "calls_per_second": _spread([len(run.turn_s) / run.wall_s for run in runs]),
        "output_tokens_per_second": _spread([run.usage.output_tokens / run.wall_s for run in runs]),
        "first_call_s": _spread([run.first_s for run in runs]),
        "call_s_p50": _spread([percentile(run.turn_s, 50) for run in runs]),
        "call_s_p95": _spread([percentile(run.turn_s, 95) for run in runs]),
        "readable_share": sum(run.num_readable for run in runs) / sum(len(run.turn_s) for run in runs),
        "output_tokens_per_call": usage.output_tokens / max(usage.requests, 1),
        "forwards_per_call": usage.num_forwards / max(usage.requests, 1),
        "denoising_steps_per_canvas": usage.denoising_steps_per_canvas,
        "tokens_per_forward": usage.tokens_per_forward,
        "constraint_share_of_pass": usage.constraint_time_s / busy_s if busy_s else 0.0,
        "compile_s_per_call": usage.compile_time_s / max(usage.requests, 1),
        "scheduling_share": scheduling_s / (pass_s + scheduling_s) if pass_s else 0.0,
        "reused_prompt_share": usage.cached_input_tokens / max(usage.input_tokens, 1),
        "kept_contexts_mib": case.kept_bytes / 2**20,
    }


def _resident_mib() -> float:
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def measure_prefix(checkpoint: Checkpoint, *, num_repeats: int) -> dict[str, Any]:
    """Time until a turn behind 1,000 tokens starts and ends its first denoising step, they read anew and reused."""
    words = "The harbour opens at nine and the ferry leaves when the tide allows. "
    num_word_tokens = len(checkpoint.tokenizer.encode(words, add_special_tokens=False))
    started_s: list[float] = []

    def ask(salt: str, question: str) -> GenerationRequest:
        text = salt + words * (PREFIX_LENGTH // num_word_tokens)
        return GenerationRequest(
            messages=(SystemMessage(text), UserMessage(question)),
            settings=GenerationSettings(seed=1, max_new_tokens=48),
        )

    async def measure_first_step(backend: DiffusionBackend, request: GenerationRequest) -> tuple[float, float, Usage]:
        shown_s: list[float] = []
        started_s.clear()
        asked_s = time.perf_counter()
        generation = await backend.generate(request, on_draft=lambda _: shown_s.append(time.perf_counter()))
        return started_s[0] - asked_s, shown_s[0] - asked_s, generation.usage

    async def run() -> dict[str, Any]:
        backend = DiffusionBackend(checkpoint)
        pairs = []
        await measure_first_step(backend, ask("warm ", "When?"))
        for i in range(num_repeats):
            anew = await measure_first_step(backend, ask(f"{i} ", "When does it open?"))
            again = await measure_first_step(backend, ask(f"{i} ", "When does it leave?"))
            pairs.append((anew, again))
        await backend.aclose()
        return {
            "num_prompt_tokens": pairs[0][0][2].input_tokens,
            "num_reused_tokens": pairs[0][1][2].cached_input_tokens,
            "first_step_starts_anew_s": _spread([anew[0] for anew, _ in pairs]),
            "first_step_starts_reused_s": _spread([again[0] for _, again in pairs]),
            "starts_ratio": statistics.median(again[0] / anew[0] for anew, again in pairs),
            "first_draft_anew_s": _spread([anew[1] for anew, _ in pairs]),
            "first_draft_reused_s": _spread([again[1] for _, again in pairs]),
            "ratio": statistics.median(again[1] / anew[1] for anew, again in pairs),
        }

    with _watched(checkpoint.denoiser, started_s):
        return anyio.run(run)


@contextmanager
def _watched(denoiser: Denoiser, started_s: list[float]) -> Iterator[None]:
    """Note when each pass over an open canvas begins."""
    assert isinstance(denoiser, PackedDenoiser)  # noqa: S101 - only such a network reads and denoises in one pass
    run = denoiser.run

    def watched(segments: Sequence[Segment]) -> list[Outcome]:
        if any(segment.canvas is not None for segment in segments):
            started_s.append(time.perf_counter())
        return run(segments)

    with patch.object(denoiser, "run", watched):
        yield


def measure_roofline(checkpoint: Checkpoint, *, num_repeats: int = 15) -> list[dict[str, Any]]:
    """Passes over one and many canvases behind 300 tokens: operations, bytes of weights, and the time they take."""
    denoiser = checkpoint.denoiser
    if not isinstance(denoiser, PackedDenoiser):
        return []
    square = torch.randn(768, 768)
    flop_per_s = 2 * 768**3 / _median_s(lambda: square @ square, 25)
    table = denoiser.model.lm_head.weight
    layers = list(denoiser.model.model.decoder.layers.parameters())
    num_weights = sum(p.numel() for p in layers) + table.numel()
    rows = []
    for num_rows, length in ((1, 1), (1, 32), (4, 32), (16, 1), (16, 32)):
        contexts = [denoiser.open_context() for _ in range(num_rows)]
        for context in contexts:
            denoiser.read_inplace(context, [20 + i % 1000 for i in range(300)])
        canvas = torch.randint(denoiser.vocab_size, (length,))
        segments = [Segment(context, (), canvas) for context in contexts]

        def step(segments: list[Segment] = segments) -> None:
            outcomes = denoiser.run(segments)
            denoiser.logits(torch.cat([o.canvas for o in outcomes if o.canvas is not None]))

        flop = 2 * num_weights * num_rows * length
        taken_s = _median_s(step, num_repeats)
        rows.append(
            {
                "num_rows": num_rows,
                "tokens_a_row": length,
                "weight_mib": num_weights * 4 / 2**20,
                "gigaflop": flop / 1e9,
                "gigaflop_per_second_of_a_product": flop_per_s / 1e9,
                "floor_ms": 1e3 * flop / flop_per_s,
                "taken_ms": 1e3 * taken_s,
            }
        )
    return rows


def _median_s(work: Any, num_repeats: int) -> float:
    work()
    times = []
    for _ in range(num_repeats):
        started_s = time.perf_counter()
        work()
        times.append(time.perf_counter() - started_s)
    return statistics.median(times)


def ratios(cases: Sequence[Case]) -> dict[str, dict[str, float]]:
    """What the modes are to each other, by calls per second: of each round, and then the median of the rounds."""
    rates = {(case.mode, case.num_agents): [len(run.turn_s) / run.wall_s for run in case.runs] for case in cases}
    pairs = {
        "one agent: diffusion / left to right with transformers, mask and static cache": (
            ("diffusion", 1),
            ("static-cache", 1),
        ),
        "one agent: diffusion / left to right in our engine": (("diffusion", 1), ("left-to-right-1", 1)),
        "one agent: diffusion / generate with a mask": (("diffusion", 1), ("generate+mask", 1)),
        "diffusion: 16 agents / one agent": (("diffusion", 16), ("diffusion", 1)),
        "16 agents: diffusion / batched left to right": (("diffusion", 16), ("left-to-right", 16)),
        "diffusion: 16 agents on replicas / one agent": (("diffusion-replicas", 16), ("diffusion", 1)),
        "16 agents on replicas: diffusion / batched left to right": (
            ("diffusion-replicas", 16),
            ("left-to-right-replicas", 16),
        ),
    }
    return {
        name: _spread([ours / other for ours, other in zip(rates[a], rates[b], strict=True)])
        for name, (a, b) in pairs.items()
        if a in rates and b in rates
    }


def print_table(rows: Sequence[dict[str, Any]], console: Console) -> None:
    """Print one line per mode and number of agents."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    names = ("mode", "agents", "calls/s", "(least to most)", "tokens/s", "first, s", "p50, s", "p95, s", "steps/canvas",
             "tokens/forward", "constraint", "compiling, ms", "scheduling", "reused", "kept, MiB")  # fmt: skip
    for name in names:
        table.add_column(name, justify="left" if name == "mode" else "right")
    for row in rows:
        calls = row["calls_per_second"]
        table.add_row(
            row["mode"],
            str(row["num_agents"]),
            f"{calls['median']:.2f}",
            f"({calls['least']:.2f} to {calls['most']:.2f})",
            f"{row['output_tokens_per_second']['median']:.0f}",
            f"{row['first_call_s']['median']:.3f}",
            f"{row['call_s_p50']['median']:.3f}",
            f"{row['call_s_p95']['median']:.3f}",
            f"{row['denoising_steps_per_canvas']:.2f}" if row["denoising_steps_per_canvas"] else "-",
            f"{row['tokens_per_forward']:.1f}",
            f"{100 * row['constraint_share_of_pass']:.1f} %",
            f"{1e3 * row['compile_s_per_call']:.1f}",
            f"{100 * row['scheduling_share']:.1f} %",
            f"{100 * row['reused_prompt_share']:.0f} %",
            f"{row['kept_contexts_mib']:.0f}",
        )
    console.print(table)


def _spread(values: Sequence[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "least": min(values), "most": max(values)}


def _read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--agents", default="1,2,4,8,16,32")
    parser.add_argument("--modes", default=",".join(MODES))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--turns", type=int, default=64, help="turns a run, or more: sixteen an agent, 256 at most")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="threads of torch")
    parser.add_argument("--replicas", type=int, default=os.cpu_count() or 1, help="processes of the modes with several")
    parser.add_argument("--dtype", help="float32 or bfloat16; see `load_model`")
    parser.add_argument("--fresh", action="store_true", help="other tools in every request")
    parser.add_argument("--max-seconds", type=float, default=900, help="leave out what is not begun then")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def _applies(mode: str, num_agents: int, loaded: dict[str, Backend]) -> bool:
    """Skip what tells nothing: who cannot share a pass takes as long a turn for many agents as for one."""
    if mode.endswith("-replicas"):
        return mode in loaded and num_agents >= MIN_AGENTS_OF_REPLICAS
    if mode in ONE_AGENT_MODES:
        return num_agents == 1
    if mode == "unconstrained":
        return num_agents in (1, 16)
    return True


def main() -> None:
    """Read the options, measure, print tables and a last line of JSON."""
    started_s = time.monotonic()
    options = _read_options()
    torch.set_num_threads(options.threads)
    machine = this_machine()
    print(f"{machine}\n{', '.join(f'{name} {number}' for name, number in machine.versions.items())}")
    print(f"model {options.model}, {options.repeats} repeats, {options.threads} thread(s) of torch, seeds from 0")
    checkpoint = load_checkpoint(options.model, dtype=options.dtype)
    agents = [int(number) for number in options.agents.split(",")]
    prefix, roofline = measure_prefix(checkpoint, num_repeats=options.repeats), measure_roofline(checkpoint)
    loaded = load_replicas(options)
    done: list[Case] = []
    left_out: list[str] = []
    for group in ((1, 16), agents):  # those whose ratios count are run in turns, then the others
        some = [(mode, n) for n in agents for mode in options.modes.split(",") if _applies(mode, n, loaded)]
        some = [(mode, n) for mode, n in some if n in group and (mode, n) not in [(c.mode, c.num_agents) for c in done]]
        if time.monotonic() - started_s > options.max_seconds:
            left_out += [f"{mode}, {n} agents" for mode, n in some]
        elif some:
            together = [make_case(mode, checkpoint, options, num_agents=n, loaded=loaded) for mode, n in some]
            anyio.run(measure, together)
            done += together
    for backend in loaded.values():
        anyio.run(backend.aclose)
    gc.unfreeze()
    rows = [_summarize(case) for case in done]
    rows.sort(key=lambda row: (MODES.index(row["mode"]), row["num_agents"]))
    report = {
        "model": options.model,
        "machine": dataclasses.asdict(machine),
        "command": shlex.join(["python", *sys.argv]),
        "num_threads": options.threads,
        "num_replicas": options.replicas,
        "dtype": options.dtype or "default",
        "resident_mib": _resident_mib(),
        "rows": rows,
        "ratios": ratios(done),
        "prefix": prefix,
        "roofline": roofline,
        "left_out": left_out,
    }
    print_table(rows, Console(width=170))
    print(json.dumps({key: report[key] for key in ("ratios", "prefix", "roofline", "left_out")}, indent=1))
    if options.json is not None:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(report))


if __name__ == "__main__":
    main()
