"""Telling the people who watch a run."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol, TypeAlias

from anyio.lowlevel import current_token

from agentflow.agent.partial import NOTHING, PartialOutput
from agentflow.backend.base import DraftObserver
from agentflow.events import DraftUpdated, Event, OutputDrafted
from agentflow.executor import post
from agentflow.output import OutputType
from agentflow.types import Draft

EventObserver: TypeAlias = Callable[[Event], None]
"""Called in the event loop with each event as it happens; must return quickly."""


def tell_both(first: EventObserver, second: EventObserver | None) -> EventObserver:
    """Make one observer of two."""
    if second is None:
        return first

    def tell(event: Event) -> None:
        first(event)
        second(event)

    return tell


class Recorder(Protocol):
    """What writes events down before they have an effect; a journal."""

    def append(self, event: Event) -> None:
        """Write it down; raises if it cannot."""
        ...


class Observer:
    """Stamps events with their run and turn, has them recorded, and hands them on.

    An `on_event` that raises is the caller's mistake, but it must not look like a tool's or a backend's
    failure: the error is kept, nothing more is told, and the loop raises it at its next step. A recorder
    that raises is another matter: nothing may go on that is not recorded, so its error comes out at once.

    Attributes:
        turn: The turn that events belong to.
    """

    def __init__(
        self, on_event: EventObserver | None, *, agent: str, run_id: str, recorder: Recorder | None = None
    ) -> None:
        """Make it for one run, in the event loop of that run."""
        self.turn = 0
        self._on_event = on_event
        self._recorder = recorder
        self._origin: dict[str, Any] = {"agent": agent, "run_id": run_id}
        self._error: Exception | None = None
        self._thread_id = threading.get_ident()
        self._token = current_token()

    @property
    def is_watched(self) -> bool:
        """Whether there is anybody to tell."""
        return self._on_event is not None

    def tell(self, kind: type[Event], **members: Any) -> None:
        """Make an event of this turn and hand it on."""
        if self._on_event is not None or self._recorder is not None:
            self.pass_on(kind(turn=self.turn, **self._origin, **members))

    def pass_on(self, event: Event) -> None:
        """Record and hand on an event that is complete; raises only what the recorder raises."""
        if self._recorder is not None and event.run_id == self._origin["run_id"]:
            self._recorder.append(event)
        if self._on_event is None or self._error is not None:
            return
        try:
            self._on_event(event)
        except Exception as error:  # noqa: BLE001 # raised by the loop, see `raise_error`
            self._error = error

    def raise_error(self) -> None:
        """Raise what `on_event` raised, if it did."""
        if self._error is not None:
            raise self._error

    def make_draft_observer(self, output_type: OutputType[Any] | None = None) -> DraftObserver | None:
        """Make what a backend may call after each denoising step, from any thread; `None` if nobody watches.

        An observer that does not look at drafts says so with an attribute ``wants_drafts = False``.

        Args:
            output_type: What the answer must be; with a type, the answer so far is told, too.
        """
        if self._on_event is None or not getattr(self._on_event, "wants_drafts", True):
            return None
        output = None if output_type is None or output_type.is_text else PartialOutput(output_type)
        return partial(self._take_draft, self.turn, output)

    def _take_draft(self, turn: int, output: PartialOutput | None, draft: Draft) -> None:
        if threading.get_ident() == self._thread_id:
            self._tell_draft(turn, output, draft)
        else:
            post(self._token, partial(self._tell_draft, turn, output, draft))

    def _tell_draft(self, turn: int, output: PartialOutput | None, draft: Draft) -> None:
        self.pass_on(DraftUpdated(turn=turn, **self._origin, draft=draft))
        value = NOTHING if output is None else output.read(draft)
        if value is not NOTHING:
            self.pass_on(OutputDrafted(turn=turn, **self._origin, output=value, is_settled=draft.is_committed))
