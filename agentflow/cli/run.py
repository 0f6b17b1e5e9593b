"""``agentflow run``: one task for an agent that stands in a Python module."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agentflow.cli.reading import load_object, read_prompt
from agentflow.errors import ConfigurationError

if TYPE_CHECKING:
    from agentflow.agent import Agent


def run(
    agent: Annotated[str, typer.Argument(metavar="MODULE:AGENT", help="Where the agent stands, e.g. my_agents:clerk.")],
    task: Annotated[str, typer.Argument(help="What it shall do; - reads it from the standard input.")],
    seed: Annotated[int | None, typer.Option(help="Seed of the draws.")] = None,
    json_only: Annotated[bool, typer.Option("--json", help="Print one line of JSON and nothing else.")] = False,
    live: Annotated[bool, typer.Option("--live/--no-live", help="Show canvases while they settle.")] = True,
) -> None:
    """Let an agent do a task and print its output."""
    found, text = load_agent(agent), read_prompt(task)
    from rich.console import Console

    from agentflow.cli.session import run_and_show, view_for

    console = Console()
    settings = found.settings if seed is None else replace(found.settings, seed=seed)
    outcome = run_and_show(found, text, views=[view_for(console, is_live=live, is_quiet=json_only)], settings=settings)
    if json_only:
        typer.echo(json.dumps(outcome.to_json(), ensure_ascii=False))
    else:
        outcome.print(console)


def load_agent(reference: str) -> Agent[Any, Any]:
    """Import an agent.

    Raises:
        ConfigurationError: The reference leads nowhere, or to something that is no agent.
    """
    from agentflow.agent import Agent

    found = load_object(reference)
    if not isinstance(found, Agent):
        raise ConfigurationError(
            f"{reference!r} is a {type(found).__name__}, not an Agent",
            hint="name a module-level variable that holds an Agent",
        )
    return found
