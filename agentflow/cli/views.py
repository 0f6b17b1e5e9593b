"""What the terminal shows of a run while it happens.

A view is told every event and knows nothing of agents. There are two for people: `LineView` for pipes and logs, which
prints lines, and `LiveView` for a terminal, in `agentflow.cli.live`. `FilmView` keeps a few drafts for a picture.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Final, Self

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.panel import Panel
from rich.text import Text

from agentflow.cli.canvas import CanvasView, count_states, draft_line, legend
from agentflow.cli.wording import call_text, result_text
from agentflow.events import (
    CallFinished,
    DraftUpdated,
    Event,
    OutputRejected,
    TurnStarted,
)
from agentflow.types import Draft

LINE_CELLS: Final = 120
"""Width of a line of `LineView`."""


class View(ABC):
    """Told every event of a run; a context manager around the run."""

    def __enter__(self) -> Self:
        """Open the view."""
        return self

    def __exit__(self, *error: object) -> None:  # noqa: B027 - most views have nothing to close
        """Close the view, whatever happened."""

    @abstractmethod
    def show(self, event: Event) -> None:
        """Show one event."""


class LineView(View):
    """One line per denoising step, call and result; for pipes and logs."""

    def __init__(self, console: Console) -> None:
        """Print to `console`."""
        self._console = console

    def show(self, event: Event) -> None:
        """Print the lines of one event."""
        for line in event_lines(event, is_ascii=self._console.options.ascii_only):
            self._console.print(line, markup=False, highlight=False, soft_wrap=True)


class QuietView(View):
    """Shows nothing; for output that programs read."""

    def show(self, event: Event) -> None:
        """Do nothing."""


class FilmView(View):
    """Keeps what a still picture of a run needs: the drafts of its first canvas and the finished calls."""

    def __init__(self) -> None:
        """Start with an empty film."""
        self.drafts: list[Draft] = []
        self.calls: list[CallFinished] = []

    def show(self, event: Event) -> None:
        """Keep drafts of the first canvas of the first turn, and every finished call."""
        if isinstance(event, DraftUpdated) and event.turn == 1 and event.draft.canvas_index == 0:
            self.drafts.append(event.draft)
        elif isinstance(event, CallFinished):
            self.calls.append(event)

    def frames(self) -> list[Draft]:
        """Choose the first draft, one half-way to being settled, and the last."""
        if len(self.drafts) < 3:  # noqa: PLR2004 - nothing to choose
            return self.drafts
        first, *middle, last = self.drafts
        target = (count_states(first)["open"] + count_states(last)["open"]) / 2
        return [first, min(middle, key=lambda draft: abs(count_states(draft)["open"] - target)), last]


def canvas_panel(draft: Draft | None, *, status: str, num_lines: int, is_ascii: bool = False) -> RenderableType:
    """Frame a canvas: what happens above it, what the marks mean below it."""
    return Panel(
        CanvasView(draft, num_lines=num_lines),
        title=Text.assemble((status, "bold"), f" · {progress_text(draft)}" if draft else ""),
        title_align="left",
        subtitle=legend(is_ascii=is_ascii),
        subtitle_align="left",
        border_style="bright_black",
    )


def progress_text(draft: Draft) -> str:
    """Say how far a canvas is: ``canvas 1 · denoising step 3 of 48``."""
    done = f"settled in {draft.step} denoising step{'s' * (draft.step != 1)}"
    going = f"denoising step {draft.step} of {draft.max_steps}"
    return f"canvas {draft.canvas_index + 1} · {done if draft.is_committed else going}"


def step_text(number: int, event: CallFinished) -> RenderableType:
    """Write one finished call of the list of steps: the call, and its result on the next line."""
    mark, style = ("✗", "red") if event.result.is_error else ("✓", "green")
    lines = Text.assemble(
        (f"{mark} ", f"bold {style}"), (f"{number}  ", "bold"), call_text(event.call), "\n     ",
        ("→ ", "dim"), (result_text(event.result), style), (f"   {1000 * event.duration_s:.0f} ms", "dim"),
    )  # fmt: skip
    return Padding(lines, (0, 0, 0, 1))


def rejection_text(event: OutputRejected) -> RenderableType:
    """Write a rejected answer of the list of steps."""
    return Padding(Text.assemble(("! ", "bold yellow"), "answer rejected: ", (event.problem, "yellow")), (0, 0, 0, 1))


def event_lines(event: Event, *, is_ascii: bool = False) -> list[str]:
    """Write an event as plain lines; events that say nothing new give none, nor do errors: the caller gets those."""
    if isinstance(event, TurnStarted):
        return [f"turn {event.turn:<4d}  clamped  accepted  open  draft"]
    if isinstance(event, DraftUpdated):
        return [_draft_event_line(event.draft, is_ascii=is_ascii)]
    if isinstance(event, CallFinished):
        verdict = "error" if event.result.is_error else "result"
        return [f"  call   {call_text(event.call)}", f"  {verdict:6s} {result_text(event.result)}"]
    if isinstance(event, OutputRejected):
        return [f"  answer rejected: {event.problem}"]
    return []


def _draft_event_line(draft: Draft, *, is_ascii: bool) -> str:
    counts = count_states(draft)
    head = "settled" if draft.is_committed else f"{draft.step}/{draft.max_steps}"
    prefix = f"  {head:8s} {counts['clamped']:7d} {counts['accepted']:9d} {counts['open']:5d}  "
    return prefix + draft_line(draft, max_cells=LINE_CELLS - len(prefix), is_ascii=is_ascii)
