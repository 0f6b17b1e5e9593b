"""``agentflow bench``: tasks solved, and at what speed, for three ways of decoding with the same weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal, TypeAlias

import typer

from agentflow.errors import ConfigurationError, MissingDependencyError

if TYPE_CHECKING:
    from rich.console import Console

    from agentflow.bench.harness import Mode
    from agentflow.bench.metrics import TaskRecord
    from agentflow.bench.report import Report
    from agentflow.bench.task import BenchTask

ModeName: TypeAlias = Literal["diffusion", "unconstrained", "left-to-right", "ungrounded", "left-to-right-own-mask"]

MODES: Final[dict[ModeName, str]] = {
    "diffusion": "diffusion, held to the schemas",
    "unconstrained": "diffusion, on its own",
    "left-to-right": "the same weights from left to right, masked by llguidance",
    "ungrounded": "diffusion, held to the schemas, free strings not limited to spans of the conversation",
    "left-to-right-own-mask": "the same weights from left to right, masked by agentflow's own automaton",
}
"""What can be compared."""

DEFAULT_MODES: Final = "diffusion,unconstrained,left-to-right"

NUM_WARM_UP_TASKS: Final = 2
WARM_UP_SEED: Final = -1
"""Seed of the suite that the warm-up is taken from: its tasks are not among those that are measured."""

DEADLINE_S: Final = 10.0
"""Deadline of the goodput."""


def bench(
    tasks: Annotated[int, typer.Option(min=1, help="Tasks of the suite.")] = 24,
    seeds: Annotated[str, typer.Option(help="Seeds of the draws, e.g. 0,1,2; every task runs once with each.")] = "0",
    modes: Annotated[str, typer.Option(help=f"Ways of decoding to compare, of: {', '.join(MODES)}.")] = DEFAULT_MODES,
    model: Annotated[str, typer.Option(help="'embedded', a folder, or the name of a checkpoint.")] = "embedded",
    json_path: Annotated[Path | None, typer.Option("--json", metavar="OUT", help="Also write every record.")] = None,
) -> None:
    """Measure agents: tasks solved, valid calls, tokens per second, denoising steps, tokens per forward pass.

    Off a terminal the last line is the same data as JSON.
    """
    chosen, seed_numbers = _parse_modes(modes), _parse_seeds(seeds)
    from rich.console import Console

    from agentflow.bench.report import print_report
    from agentflow.bench.suite import make_suite

    console = Console()
    report = measure(make_suite(tasks), chosen, seed_numbers, model=model, console=console)
    print_report(report, console)
    if json_path is not None:
        json_path.write_text(json.dumps(report.to_json(), ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    if not console.is_terminal:
        typer.echo(json.dumps(report.to_json(has_records=False), ensure_ascii=False))


def measure(
    tasks: tuple[BenchTask, ...], modes: tuple[ModeName, ...], seeds: tuple[int, ...], *, model: str, console: Console
) -> Report:
    """Run the suite once for every mode and seed, after a warm-up on other tasks, and say how far it is."""
    import anyio

    from agentflow.bench.harness import run_suite, run_task
    from agentflow.bench.machine import this_machine
    from agentflow.bench.report import Report, header_lines
    from agentflow.bench.suite import make_suite

    records: dict[str, list[TaskRecord]] = {}
    report = Report(
        suite="assistant", model=model, machine=this_machine(), seeds=seeds, deadline_s=DEADLINE_S, modes=records
    )
    for line in header_lines(report, num_tasks=len(tasks)):
        console.print(line, markup=False, highlight=False, soft_wrap=True)

    async def run(mode: Mode) -> list[TaskRecord]:
        for task in make_suite(NUM_WARM_UP_TASKS, seed=WARM_UP_SEED):
            await run_task(task, mode, seed=0)
        return await run_suite(tasks, mode, seeds=seeds, on_record=lambda record: _print_record(console, record))

    for name in modes:
        mode = load_mode(name, model)
        console.print(f"\n{name}: {mode.name}", style="bold", markup=False, highlight=False)
        records[name] = anyio.run(run, mode)
    return report


def load_mode(name: ModeName, model: str) -> Mode:
    """Load the model for one way of decoding.

    Raises:
        MissingDependencyError: llguidance is needed and not installed.
        ModelNotFoundError: There is no such model.
    """
    from agentflow.bench.harness import Mode
    from agentflow.model import load_model
    from agentflow.types import GenerationSettings

    if name == "left-to-right":
        try:
            loaded = load_model(model, mode="autoregressive", mask="llguidance")
        except MissingDependencyError as error:
            raise MissingDependencyError(
                f"mode {name!r} compares with llguidance, which is not installed",
                hint="pip install 'agentflow-diffusion[dev]', or leave the mode out with --modes",
            ) from error
    elif name == "left-to-right-own-mask":
        loaded = load_model(model, mode="autoregressive")
    else:
        loaded = load_model(model)
    settings = GenerationSettings(
        is_constrained=name != "unconstrained", is_grounded=False if name == "ungrounded" else None
    )
    return Mode(name=MODES[name], backend=loaded.backend, settings=settings)


def _print_record(console: Console, record: TaskRecord) -> None:
    mark = "solved" if record.is_solved else "failed"
    line = f"  {mark}  {record.task:16s} seed {record.seed}  {record.num_calls} calls  {record.duration_s:6.2f} s"
    console.print(line, markup=False, highlight=False, soft_wrap=True)


def _parse_modes(text: str) -> tuple[ModeName, ...]:
    found: list[ModeName] = [name for name in MODES if name in {part.strip() for part in text.split(",")}]
    unknown = {part.strip() for part in text.split(",")} - set(MODES)
    if unknown or not found:
        raise ConfigurationError(
            f"there is no mode {', '.join(sorted(unknown))!r}", hint=f"modes are: {', '.join(MODES)}"
        )
    return tuple(found)


def _parse_seeds(text: str) -> tuple[int, ...]:
    try:
        seeds = tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise ConfigurationError(
            f"--seeds must be whole numbers, got {text!r}", hint="for example --seeds 0,1,2"
        ) from error
    if len(set(seeds)) != len(seeds):
        raise ConfigurationError(f"--seeds names a seed twice: {text!r}", hint="for example --seeds 0,1,2")
    return seeds
