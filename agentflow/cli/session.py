"""One run of an agent in front of a terminal: events go to views, what remains is an `Outcome`."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.panel import Panel
from rich.pretty import Pretty
from rich.text import Text

from agentflow.cli.figures import Figure, figures_line, figures_table, run_figures
from agentflow.cli.live import LiveView
from agentflow.cli.problems import Stopped
from agentflow.cli.stopping import run_until_stopped
from agentflow.cli.views import JsonView, LineView, View
from agentflow.cli.wording import to_json
from agentflow.events import Event
from agentflow.types import Message, Usage

if TYPE_CHECKING:
    from agentflow.agent import Agent
    from agentflow.agent.options import RunOptions
    from agentflow.planner import Planner


class RunStopped(Stopped):
    """A signal stopped a run.

    Attributes:
        messages: The conversation up to there, closed: every call has a result.
    """

    def __init__(self, stopped: Stopped, messages: tuple[Message, ...]) -> None:
        """Add the conversation to a stop."""
        super().__init__(stopped.exit_code - 128)
        self.messages = messages


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What remains of a run that reached its output.

    Attributes:
        output: A value of the agent's output type.
        usage: What the model cost.
        duration_s: Wall time of the loop, tools and framework included.
        run_id: Unique per run.
        messages: The whole conversation.
    """

    output: Any
    usage: Usage
    duration_s: float
    run_id: str = ""
    messages: tuple[Message, ...] = ()

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
        return {
            "output": to_json(self.output),
            "run_id": self.run_id,
            "usage": dataclasses.asdict(self.usage),
            **measured,
        }

    def print(self, console: Console) -> None:
        """Print the output and the figures, framed on a terminal and as plain lines elsewhere."""
        if console.is_terminal:
            body = Text(self.output) if isinstance(self.output, str) else Pretty(self.output)
            console.print(Panel(body, title="answer", title_align="left", border_style="green"))
            console.print(figures_table(self.figures, width=console.width))
        else:
            text = self.output if isinstance(self.output, str) else repr(self.output)
            for line in (text, figures_line(self.figures)):
                console.print(line, markup=False, highlight=False, soft_wrap=True)


def view_for(console: Console, *, is_live: bool, is_json: bool = False) -> View:
    """Choose a view: live on a terminal, lines elsewhere or when asked, JSON for programs."""
    if is_json:
        return JsonView()
    is_able = console.is_terminal and not console.is_dumb_terminal
    return LiveView(console) if is_live and is_able else LineView(console)


def run_and_show(
    agent: Agent[Any, Any] | Planner[Any, Any],
    task: str,
    *,
    views: Sequence[View],
    options: RunOptions[Any] | None = None,
) -> Outcome:
    """Run an agent or a planner and show what happens.

    Args:
        agent: Who works.
        task: What it shall do.
        views: Told every event; opened and closed here.
        options: Of the run.

    Returns:
        What remains.

    Raises:
        AgentflowError: The run failed.
        RunStopped: Ctrl-C.
    """
    import anyio

    loops: list[Any] = []

    async def work() -> Outcome:
        given: Any = {**(options or {}), "on_event": _Teller(views)}
        loop: Any = await agent.prepare(task, **given)
        loops.append(loop)
        result = await loop.run()
        return Outcome(
            output=result.output,
            usage=result.usage,
            duration_s=result.duration_s,
            run_id=result.run_id,
            messages=result.messages,
        )

    try:
        with ExitStack() as stack:
            for view in views:
                stack.enter_context(view)
            return anyio.run(run_until_stopped, work)
    except Stopped as stopped:
        transcript = getattr(loops[0], "transcript", None) if loops else None  # a planner has none
        raise RunStopped(stopped, transcript.show() if transcript else ()) from stopped


class _Teller:
    """Hands events to views."""

    def __init__(self, views: Sequence[View]) -> None:
        self._views = views
        self.wants_drafts = any(view.wants_drafts for view in views)

    def __call__(self, event: Event) -> None:
        for view in self._views:
            view.show(event)
