"""A run on a terminal: the list of steps grows, and below it the canvas settles in a panel of fixed height.

A canvas settles in a few hundredths of a second, too fast to see. So the view plays what it was told from a queue, in
a thread of its own, at a pace that eyes can follow. The run does not wait for it, and its figures are its own.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Final, Self

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from agentflow.cli.views import View, canvas_panel, plan_lines, rejection_text, step_text
from agentflow.events import (
    CallFinished,
    CallProgressed,
    CallRunning,
    DraftUpdated,
    Event,
    OutputRejected,
    PlanUpdated,
    TurnStarted,
    UsageUpdated,
)
from agentflow.types import Draft, Usage

FRAME_S: Final = 0.12
"""Seconds for which a draft stays on the screen."""

PANEL_ROWS: Final = 4
"""Rows of a panel beside its canvas: two of its frame, one for the figures, one for the cursor."""

CATCH_UP_EVENTS: Final = 20
"""Events in the queue at which frames stay half as long; a long queue plays fast."""


class _Pause:
    """Stands in the queue where the player shall wait."""

    def __init__(self) -> None:
        self.is_reached = threading.Event()
        self.is_over = threading.Event()


class LiveView(View):
    """Plays a run. The panel vanishes when the view closes; the steps stay."""

    def __init__(self, console: Console, *, num_lines: int = 5, wait: Callable[[float], object] | None = None) -> None:
        """Make a view of at most `num_lines` lines of canvas; `wait`, for tests, is given the seconds of each frame."""
        self._console = console
        self._num_lines = max(1, min(num_lines, (console.height - PANEL_ROWS) // 2))
        self._hurry = threading.Event()
        self._wait = wait or self._hurry.wait
        self._draft: Draft | None = None
        self._status = "loading the model"
        self._num_steps = 0
        self._run_id = ""
        self._usage = Usage()
        self._events: SimpleQueue[Event | _Pause | None] = SimpleQueue()
        self._live = self._make_panel()
        self._player = threading.Thread(target=self._play, name="agentflow-live-view", daemon=True)

    def __enter__(self) -> Self:
        """Show the empty panel and begin to play."""
        self._live.start()
        self._refresh()
        self._player.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Play what is left, at once if the run was interrupted, and take the panel away."""
        if isinstance(error[1], BaseException) and not isinstance(error[1], Exception):
            self._hurry.set()
        self._events.put(None)
        try:
            self._player.join()
        finally:
            self._hurry.set()
            self._live.stop()

    def show(self, event: Event) -> None:
        """Queue an event."""
        self._events.put(event)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Play what is there, take the panel away, and put it back afterwards."""
        pause = _Pause()
        self._events.put(pause)
        pause.is_reached.wait()
        self._live.stop()
        try:
            yield
        finally:
            self._live = self._make_panel()  # the old one would erase what was written meanwhile
            self._live.start()
            pause.is_over.set()

    def _make_panel(self) -> Live:
        return Live(console=self._console, auto_refresh=False, transient=True, vertical_overflow="crop")

    def _play(self) -> None:
        while (event := self._events.get()) is not None:
            if isinstance(event, _Pause):
                event.is_reached.set()
                event.is_over.wait()
                continue
            self._play_event(event)
            if isinstance(event, DraftUpdated) and not self._hurry.is_set():
                self._wait(FRAME_S / (1 + self._events.qsize() / CATCH_UP_EVENTS))

    def _play_event(self, event: Event) -> None:
        """Move the panel, or add a finished call to the list."""
        self._run_id = self._run_id or event.run_id  # the first one; runs inside it count as its own
        if isinstance(event, DraftUpdated):
            self._draft = event.draft
        elif isinstance(event, TurnStarted):
            self._status, self._draft = f"turn {event.turn}: the model drafts", None
        elif isinstance(event, CallRunning):
            self._status = f"turn {event.turn}: {event.call.name} runs"
        elif isinstance(event, CallProgressed):
            self._status = f"turn {event.turn}: {event.call.name}: {event.message}"
        elif isinstance(event, UsageUpdated) and event.run_id == self._run_id:
            self._usage = event.usage
        elif isinstance(event, CallFinished):
            self._num_steps += 1
            self._console.print(step_text(self._num_steps, event))
        elif isinstance(event, OutputRejected):
            self._console.print(rejection_text(event))
        elif isinstance(event, PlanUpdated):
            for line in plan_lines(event):
                self._console.print(f" {line}", markup=False, highlight=False, no_wrap=True, overflow="ellipsis")
        self._refresh()

    def _refresh(self) -> None:
        is_ascii = self._console.options.ascii_only
        panel = canvas_panel(self._draft, status=self._status, num_lines=self._num_lines, is_ascii=is_ascii)
        progress = Text(f" {self._progress()}", style="dim", no_wrap=True, overflow="ellipsis")
        self._live.update(Group(panel, progress), refresh=True)

    def _progress(self) -> str:
        """Say how far the run is and how fast its model."""
        usage = self._usage
        parts = [_count(self._num_steps, "call"), _count(usage.output_tokens, "token")]
        if usage.model_time_s:
            parts.append(f"{usage.output_tokens / usage.model_time_s:,.0f} tokens per second of the model")
        return " · ".join(parts)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'s' * (number != 1)}"
