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
    """Keeps what a still picture of a run needs: every draft, and the finished calls.

    Attributes:
        canvases: The drafts of each canvas, by turn and index of the canvas.
        calls: The finished calls.
    """

    def __init__(self) -> None:
        """Start with an empty film."""
        self.canvases: dict[tuple[int, int], list[Draft]] = {}
        self.calls: list[CallFinished] = []

    def show(self, event: Event) -> None:
        """Keep drafts and finished calls."""
        if isinstance(event, DraftUpdated):
            self.canvases.setdefault((event.turn, event.draft.canvas_index), []).append(event.draft)
        elif isinstance(event, CallFinished):
            self.calls.append(event)

    def frames(self) -> tuple[int, list[Draft]]:
        """Choose the canvas that began with the most noise, and of it the first draft, one half-way, and the last.

        Returns:
            The turn of the canvas, and up to three drafts; turn 0 and none for a model that does not draft.
        """
        if not self.canvases:
            return 0, []
        (turn, _), drafts = max(self.canvases.items(), key=lambda item: _num_open(item[1][0]))
        unsettled = [draft for draft in drafts[:-1] if _num_open(draft)]
        if len(unsettled) < 2:  # noqa: PLR2004 - nothing to choose
            return turn, [*unsettled, drafts[-1]]
        first, *middle = unsettled
        half_way = min(middle, key=lambda draft: abs(_num_open(draft) - _num_open(first) / 2))
        return turn, [first, half_way, drafts[-1]]


def _num_open(draft: Draft) -> int:
    return count_states(draft)["open"]


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
