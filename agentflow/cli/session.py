"""One run of an agent in front of a terminal: events go to a view, what remains is an `Outcome`."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.panel import Panel
from rich.pretty import Pretty
from rich.text import Text

from agentflow.cli.figures import Figure, figures_line, figures_table, run_figures
from agentflow.cli.live import LiveView
from agentflow.cli.views import LineView, QuietView, View
from agentflow.cli.wording import to_json
from agentflow.events import Event
from agentflow.types import GenerationSettings, Usage

if TYPE_CHECKING:
    from agentflow.agent import Agent


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What remains of a run that reached its output.

    Attributes:
        output: A value of the agent's output type.
        usage: What the model cost.
        duration_s: Wall time of the loop, tools and framework included.
    """

    output: Any
    usage: Usage
    duration_s: float

    @property
    def figures(self) -> tuple[Figure, ...]:
        """The figures of the run."""
        return run_figures(self.usage, duration_s=self.duration_s)

    def to_json(self) -> dict[str, Any]:
        """Return output and figures as plain JSON."""
        measured = {
            "output_tokens_per_second": self.usage.output_tokens / self.duration_s if self.duration_s else 0.0,
            "denoising_steps_per_canvas": self.usage.denoising_steps_per_canvas,
            "tokens_per_forward": self.usage.tokens_per_forward,
            "duration_s": self.duration_s,
        }
        return {"output": to_json(self.output), "usage": dataclasses.asdict(self.usage), **measured}

    def print(self, console: Console) -> None:
        """Print the output and the figures, framed on a terminal and as plain lines elsewhere."""
        if console.is_terminal:
            body = Text(self.output) if isinstance(self.output, str) else Pretty(self.output)
            console.print(Panel(body, title="answer", title_align="left", border_style="green"))
            console.print(figures_table(self.figures))
        else:
            text = self.output if isinstance(self.output, str) else repr(self.output)
            for line in (text, figures_line(self.figures)):
                console.print(line, markup=False, highlight=False, soft_wrap=True)


def view_for(console: Console, *, is_live: bool, is_quiet: bool = False) -> View:
    """Choose a view: live on a terminal, lines elsewhere or when asked, nothing when quiet."""
    if is_quiet:
        return QuietView()
    return LiveView(console) if is_live and console.is_terminal else LineView(console)


def run_and_show(
    agent: Agent[Any, Any], task: str, *, views: Sequence[View], settings: GenerationSettings | None = None
) -> Outcome:
    """Run an agent and show what happens.

    Args:
        agent: The agent.
        task: What it shall do.
        views: Told every event; opened and closed here.
        settings: In place of the agent's.

    Returns:
        What remains.

    Raises:
        AgentflowError: The run failed.
    """
    import anyio

    def show(event: Event) -> None:
        for view in views:
            view.show(event)

    with ExitStack() as stack:
        for view in views:
            stack.enter_context(view)
        result = anyio.run(partial(agent.run, task, settings=settings, on_event=show))
    return Outcome(output=result.output, usage=result.usage, duration_s=result.duration_s)
