"""Runs in the log of the standard library.

    agent.run(task, on_event=LogWriter())

    INFO    a run starts or ends            WARNING   a run ends without an output, a call fails, an answer is rejected
    DEBUG   turns and calls

Records carry what they say as members, too (``run_id``, ``agent``, ``turn``, ...), for logs that are JSON.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any, Final

from agentflow.events import (
    CallFinished,
    CallRunning,
    Event,
    OutputRejected,
    PlanUpdated,
    RunFinished,
    RunStarted,
    TurnWritten,
)
from agentflow.telemetry.redaction import redact
from agentflow.types import JsonValue

_MAX_CHARS: Final = 500


class LogWriter:
    """An observer of runs that writes to a log. One may watch many runs at once.

    Attributes:
        wants_drafts: Never; a backend need not make drafts for it.
    """

    wants_drafts = False

    def __init__(self, logger: logging.Logger | None = None, *, has_content: bool = False) -> None:
        """Make an observer.

        Args:
            logger: Where to write; the logger ``agentflow`` if not given. It has no handler until the program adds one.
            has_content: Write tasks, arguments, results and errors, too, cut to 500 characters and without what is
                called or looks like a secret; see `redact`.
        """
        self._logger = logger or logging.getLogger("agentflow")
        self._has_content = has_content
        self._handlers: dict[type[Any], Callable[[Any], None]] = {
            RunStarted: self._write_start,
            TurnWritten: self._write_turn,
            CallRunning: self._write_call,
            CallFinished: self._write_result,
            OutputRejected: self._write_rejection,
            PlanUpdated: self._write_plan,
            RunFinished: self._write_end,
        }

    def __call__(self, event: Event) -> None:
        """Take an event."""
        if handle := self._handlers.get(type(event)):
            handle(event)

    def _write_start(self, event: RunStarted) -> None:
        self._write(logging.INFO, event, f"run started with {event.model}", event.task)

    def _write_turn(self, event: TurnWritten) -> None:
        usage, num_calls = event.turn_usage, len(event.message.tool_calls)
        what = f"{num_calls} calls" if num_calls else "an answer"
        text = f"turn {event.turn}: {what}, {usage.output_tokens} tokens in {usage.model_time_s:.3f} s"
        self._write(logging.DEBUG, event, text, event.message.text)

    def _write_call(self, event: CallRunning) -> None:
        self._write(logging.DEBUG, event, f"call {event.call.id}: {event.call.name} runs", dict(event.call.arguments))

    def _write_result(self, event: CallFinished) -> None:
        outcome, level = ("failed", logging.WARNING) if event.result.is_error else ("finished", logging.DEBUG)
        text = f"call {event.call.id}: {event.call.name} {outcome} after {event.duration_s:.3f} s"
        self._write(level, event, text, event.result.content)

    def _write_rejection(self, event: OutputRejected) -> None:
        self._write(logging.WARNING, event, f"turn {event.turn}: the answer was rejected", event.problem)

    def _write_plan(self, event: PlanUpdated) -> None:
        num_done = sum(step.state == "done" for step in event.plan.steps)
        self._write(logging.DEBUG, event, f"plan: {num_done} of {len(event.plan.steps)} steps done", None)

    def _write_end(self, event: RunFinished) -> None:
        level = logging.INFO if event.reason == "output" else logging.WARNING
        usage = event.usage
        text = f"run ended: {event.reason}, {usage.requests} turns, {usage.tool_calls} calls, {event.duration_s:.3f} s"
        self._write(level, event, text, event.error)

    def _write(self, level: int, event: Event, text: str, content: JsonValue) -> None:
        if not self._logger.isEnabledFor(level):
            return
        shown = f": {_show(content)}" if self._has_content and content not in (None, "", {}) else ""
        members = {"run_id": event.run_id, "agent": event.agent, "turn": event.turn, "event": type(event).__name__}
        self._logger.log(level, "%s %s: %s%s", event.agent, event.run_id[:8], text, shown, extra=members)


def _show(content: JsonValue) -> str:
    """Write content on one line, so that it cannot pass for another record."""
    safe = redact(content)
    return json.dumps(safe, ensure_ascii=True)[:_MAX_CHARS]
