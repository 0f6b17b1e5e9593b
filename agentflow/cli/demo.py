"""``agentflow demo``: an agent does a task with several tool calls, on the model that ships, before your eyes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agentflow.errors import ConfigurationError

if TYPE_CHECKING:
    from rich.console import Console

    from agentflow.backend.base import Backend
    from agentflow.cli.demo_tasks import DemoTask
    from agentflow.cli.session import Outcome
    from agentflow.cli.views import View

INSTRUCTIONS = "Use the tools. Then answer."


def demo(
    seed: Annotated[int, typer.Option(help="Seed of the draws.")] = 0,
    task: Annotated[str, typer.Option(metavar="NAME", help="rent, deadline or stock.")] = "rent",
    model: Annotated[str, typer.Option(help="'embedded', a folder, or the name of a checkpoint.")] = "embedded",
    live: Annotated[bool, typer.Option("--live/--no-live", help="Show canvases while they settle.")] = True,
    svg: Annotated[Path | None, typer.Option(metavar="PATH", help="Also draw the run as a picture.")] = None,
) -> None:
    """Watch an agent do a task: real tools, a canvas that settles from noise to text, a checked answer.

    Ends with 0 when the answer is right, with 1 when it is wrong.
    """
    from rich.console import Console

    from agentflow.cli.views import FilmView

    chosen, console, film = _find_task(task), Console(), FilmView()
    print_header(console, chosen, model=model, seed=seed)
    outcome, failure = run_demo(chosen, console, model=model, seed=seed, is_live=live, film=film)
    outcome.print(console)
    print_verdict(console, failure)
    if svg is not None:
        from agentflow.cli.picture import draw_run

        draw_run(svg, chosen, film, outcome, model=model, seed=seed, failure=failure)
    if failure:
        raise typer.Exit(1)


def run_demo(
    task: DemoTask, console: Console, *, model: str | Backend, seed: int, is_live: bool, film: View
) -> tuple[Outcome, str]:
    """Run a task in a world of its own.

    Returns:
        What remains of the run, and what is wrong with it (``""`` if it is right).

    Raises:
        AgentflowError: The model cannot be loaded, or the run failed.
    """
    from agentflow.agent import Agent
    from agentflow.bench.task import find_failure
    from agentflow.bench.world import World
    from agentflow.cli.session import run_and_show, view_for
    from agentflow.types import GenerationSettings

    solved = task.solved()
    with World.opened(task.before) as world:
        agent = Agent(
            model,
            name="demo",
            instructions=INSTRUCTIONS,
            tools=world.tools(task.tools),
            output_type=task.output_type,
            settings=GenerationSettings(seed=seed),
        )
        outcome = run_and_show(agent, task.prompt, views=[view_for(console, is_live=is_live), film])
        return outcome, find_failure(solved, outcome.output.model_dump(mode="json"), world.read())


def print_header(console: Console, task: DemoTask, *, model: str, seed: int) -> None:
    """Say what is about to happen."""
    from rich.table import Table

    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column()
    table.add_row("task", task.prompt)
    table.add_row("tools", ", ".join(task.tools))
    table.add_row("answer", f"{task.output_type.__name__}({', '.join(task.output_type.model_fields)})")
    table.add_row("model", f"{model}, seed {seed}")
    console.print(table, "", highlight=False, markup=False)


def print_verdict(console: Console, failure: str) -> None:
    """Say whether the answer is right, and if not, why."""
    text, style = (
        (f"The answer is wrong: {failure}.", "bold red") if failure else ("The answer is right.", "bold green")
    )
    console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)


def _find_task(name: str) -> DemoTask:
    from agentflow.cli.demo_tasks import DEMO_TASKS

    if name not in DEMO_TASKS:
        raise ConfigurationError(f"there is no demo task {name!r}", hint=f"choose one of: {', '.join(DEMO_TASKS)}")
    return DEMO_TASKS[name]
