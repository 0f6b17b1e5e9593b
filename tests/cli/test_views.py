"""What a terminal and a pipe show of a run."""

import io

import pytest
from rich.console import Console

from agentflow.cli.views import LineView, event_lines
from agentflow.events import CallFinished, DraftUpdated, OutputRejected, RunFinished, TurnStarted
from agentflow.types import Draft, ToolCall, ToolResult, Usage

ORIGIN = {"agent": "a", "turn": 1, "run_id": "r"}
CALL = ToolCall("1", "weekday", {"date": "2026-03-14"})


def draft_event(step, *, is_committed=False) -> DraftUpdated:
    """Make an event with a draft of three positions, the first `step` of them accepted."""
    states = tuple("accepted" if i < step else "open" for i in range(3))
    draft = Draft(
        canvas_index=0, step=step, max_steps=3, pieces=("one", "two", "six"), states=states, is_committed=is_committed
    )
    return DraftUpdated(**ORIGIN, draft=draft)


def finished(content, *, is_error=False) -> CallFinished:
    """Make an event of a finished call."""
    result = ToolResult("1", "weekday", content, is_error=is_error)
    return CallFinished(**ORIGIN, call=CALL, result=result, duration_s=0.001)


@pytest.mark.parametrize(
    ("event", "lines"),
    [
        (TurnStarted(**ORIGIN), ["turn 1     clamped  accepted  open  draft"]),
        (draft_event(1), ["  1/3            0         1     2  one··"]),
        (draft_event(3, is_committed=True), ["  settled        0         3     0  onetwosix"]),
        (finished({"weekday": "Saturday"}), ['  call   weekday(date="2026-03-14")', '  result weekday: "Saturday"']),
        (finished("no such date", is_error=True), ['  call   weekday(date="2026-03-14")', "  error  no such date"]),
        (OutputRejected(**ORIGIN, text="x", problem="not JSON"), ["  answer rejected: not JSON"]),
        (RunFinished(**ORIGIN, reason="limit", usage=Usage(), duration_s=1.0, error="too long"), []),
    ],
)
def test_events_as_lines(event, lines):
    """On a pipe every event is plain lines; the end of a run says nothing more."""
    assert event_lines(event) == lines


def test_line_view_never_breaks_lines():
    """Long lines are left whole for whoever reads the pipe."""
    stream = io.StringIO()
    with LineView(Console(file=stream, width=20)) as view:
        view.show(finished("x" * 150))
    assert all(line in stream.getvalue().splitlines() for line in event_lines(finished("x" * 150)))
