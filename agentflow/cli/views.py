"""What the terminal shows of a run while it happens.

A view is told every event and knows nothing of agents. There are two for people: `LineView` for pipes and logs, which
prints lines, and `LiveView` for a terminal, in `agentflow.cli.live`. `JsonView` is for programs. `FilmView` keeps a few
drafts for a picture.
"""

from __future__ import annotations

import json
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, Final, Self

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.panel import Panel
from rich.text import Text

from agentflow.cli.canvas import CanvasView, count_states, draft_line, legend
from agentflow.cli.wording import call_text, compact, result_text
from agentflow.events import (
    CallFinished,
    CallProgressed,
    DraftUpdated,
    Event,
    OutputReady,
    OutputRejected,
    PlanUpdated,
    RunFinished,
    TurnStarted,
    TurnWritten,
)
from agentflow.types import Draft, Usage

END_WORDS: Final = {"output": "done", "limit": "ended at a limit", "error": "failed", "cancelled": "stopped"}

LINE_CELLS: Final = 120
"""Width of a line of `LineView`."""


class View(ABC):
    """Told every event of a run; a context manager around the run.

    Attributes:
        wants_drafts: Whether it looks at drafts; where no view does, none are made.
    """

    wants_drafts: ClassVar[bool] = True

    def __enter__(self) -> Self:
        """Open the view."""
        return self

    def __exit__(self, *error: object) -> None:  # noqa: B027 - most views have nothing to close
        """Close the view, whatever happened."""

    @abstractmethod
    def show(self, event: Event) -> None:
        """Show one event."""

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave the terminal to somebody else for a while; what was told before is shown first."""
        yield


class LineView(View):
    """One line per denoising step, call and result; for pipes and logs."""

    def __init__(self, console: Console) -> None:
        """Print to `console`."""
        self._console = console

    def show(self, event: Event) -> None:
        """Print the lines of one event."""
        for line in event_lines(event, is_ascii=self._console.options.ascii_only):
            self._console.print(line, markup=False, highlight=False, soft_wrap=True)


class JsonView(View):
    """One JSON object per event but drafts, on the standard output; for programs."""

    wants_drafts = False

    def show(self, event: Event) -> None:
        """Print one event."""
        if not isinstance(event, DraftUpdated):
            sys.stdout.write(json.dumps(event_object(event)) + "\n")
            sys.stdout.flush()


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


def event_object(event: Event) -> dict[str, Any]:
    """Write an event as plain JSON, with the name of its kind under ``event``."""
    from pydantic_core import to_jsonable_python

    members: dict[str, Any] = to_jsonable_python(event, fallback=repr)
    return {"event": type(event).__name__, **members}


def event_lines(event: Event, *, is_ascii: bool = False) -> list[str]:
    """Write an event as plain lines; events that say nothing new give none, nor do errors: the caller gets those."""
    if isinstance(event, TurnStarted):
        return [f"turn {event.turn:<4d}  clamped  accepted  open  draft"]
    if isinstance(event, DraftUpdated):
        return [_draft_event_line(event.draft, is_ascii=is_ascii)]
    if isinstance(event, CallProgressed):
        return [f"  {event.call.name}: {event.message}{_percent(event.fraction)}"]
    if isinstance(event, CallFinished):
        verdict = "error" if event.result.is_error else "result"
        return [f"  call   {call_text(event.call)}", f"  {verdict:6s} {result_text(event.result)}"]
    if isinstance(event, OutputRejected):
        return [f"  answer rejected: {event.problem}"]
    return plan_lines(event) if isinstance(event, PlanUpdated) else []


def plan_lines(event: PlanUpdated) -> list[str]:
    """Write a plan that was made or made anew; how its steps end is told by their calls."""
    from agentflow.planner import plan_as_text

    _, *lines = plan_as_text(event.plan).splitlines()
    return ["plan", *(f"  {line}" for line in lines)] if event.is_revised else []


def replay_lines(event: Event) -> list[str]:
    """Write an event of a journal as plain lines, the answer and the end among them."""
    if isinstance(event, TurnStarted):
        return [f"turn {event.turn}"]
    if isinstance(event, TurnWritten) and event.message.tool_calls and event.message.text.strip():
        return [f"  says   {compact(event.message.text)}"]
    if isinstance(event, OutputReady):
        return [f"  answer {event.output if isinstance(event.output, str) else compact(event.output)}"]
    if isinstance(event, RunFinished):
        error = f": {event.error}" if event.error and event.reason != "cancelled" else ""
        return [f"{END_WORDS[event.reason]} after {event.duration_s:.1f} s{error}", f"  {usage_line(event.usage)}"]
    return event_lines(event)


def usage_line(usage: Usage) -> str:
    """Say what a run cost."""
    return (
        f"{usage.requests} model turns, {usage.tool_calls} calls, {usage.input_tokens:,} tokens read, "
        f"{usage.output_tokens:,} written"
    )


def _percent(fraction: float | None) -> str:
    return "" if fraction is None else f" ({fraction:.0%})"


def _draft_event_line(draft: Draft, *, is_ascii: bool) -> str:
    counts = count_states(draft)
    head = "settled" if draft.is_committed else f"{draft.step}/{draft.max_steps}"
    prefix = f"  {head:8s} {counts['clamped']:7d} {counts['accepted']:9d} {counts['open']:5d}  "
    return prefix + draft_line(draft, max_cells=LINE_CELLS - len(prefix), is_ascii=is_ascii)
