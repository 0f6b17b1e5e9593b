"""The live view of a terminal."""

import io
import threading

import pytest
from rich.console import Console

from agentflow.cli.figures import figures_table, run_figures
from agentflow.cli.live import FRAME_S, LiveView
from agentflow.cli.session import view_for
from agentflow.cli.views import JsonView, LineView
from agentflow.events import CallFinished, CallRunning, DraftUpdated, OutputRejected, TurnStarted, UsageUpdated
from agentflow.types import Draft, ToolCall, ToolResult, Usage

ORIGIN = {"agent": "a", "turn": 1, "run_id": "r"}
CALL = ToolCall("1", "weekday", {"date": "2026-03-14"})
FINISHED = CallFinished(
    **ORIGIN, call=CALL, result=ToolResult("1", "weekday", {"weekday": "Saturday"}), duration_s=0.001
)


def drafts(num_steps):
    """Make the events of a canvas that settles in `num_steps` steps."""
    for step in range(1, num_steps + 1):
        states = tuple("accepted" if i < step else "open" for i in range(4))
        draft = Draft(
            canvas_index=0,
            step=step,
            max_steps=num_steps,
            pieces=("word",) * 4,
            states=states,
            is_committed=step == num_steps,
        )
        yield DraftUpdated(**ORIGIN, draft=draft)


def terminal(*, is_recorded=False) -> Console:
    """Make a terminal that writes to memory."""
    return Console(file=io.StringIO(), force_terminal=True, width=80, height=30, record=is_recorded)


def test_the_steps_stay_and_the_panel_goes():
    """After the run the list of calls remains, in order; the canvas does not."""
    console = terminal(is_recorded=True)
    rejected = OutputRejected(**ORIGIN, text="x", problem="not JSON")
    with LiveView(console, wait=lambda _: None) as view:
        for event in (TurnStarted(**ORIGIN), *drafts(3), CallRunning(**ORIGIN, call=CALL), FINISHED, rejected):
            view.show(event)
    printed = console.export_text()
    assert printed.index("✓ 1  weekday(date=") < printed.index('weekday: "Saturday"') < printed.index("not JSON")


def test_every_draft_is_played_and_stays_a_while():
    """No step of a canvas is skipped, however fast the model is; the committed canvas is among them."""
    held_s = []
    console = terminal()
    with LiveView(console, wait=held_s.append) as view:
        for event in drafts(5):
            view.show(event)
    shown = console.file.getvalue()
    assert all(f"denoising step {step} of 5" in shown for step in range(1, 5))
    assert "settled in 5 denoising steps" in shown
    assert len(held_s) == 5
    assert all(0 < seconds <= FRAME_S for seconds in held_s)


def test_a_long_queue_plays_faster():
    """A run that is far ahead of the view is caught up with."""
    held_s = []
    with LiveView(terminal(), wait=held_s.append) as view:
        for event in drafts(60):
            view.show(event)
    assert min(held_s) < FRAME_S / 2


def test_the_run_does_not_wait_for_the_view():
    """Telling the view an event returns at once, even while a frame is held."""
    is_told = threading.Event()
    with LiveView(terminal(), wait=lambda _: is_told.wait(5)) as view:
        for event in drafts(3):
            view.show(event)
        is_told.set()


def test_a_failed_run_is_played_to_its_end():
    """The error comes through, and what led to it has been shown."""
    console = terminal(is_recorded=True)

    def fail():
        with LiveView(console, wait=lambda _: None) as view:
            view.show(FINISHED)
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        fail()
    assert "weekday(date=" in console.export_text()


def test_an_interrupted_run_is_not_held():
    """After Ctrl-C the rest of the queue is played without holding a frame."""
    held_s = []

    def hold(seconds):
        held_s.append(seconds)
        view._hurry.wait(5)

    view = LiveView(terminal(), wait=hold)

    def interrupt():
        with view:
            for event in drafts(9):
                view.show(event)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupt()
    assert len(held_s) <= 1


def test_a_pause_leaves_the_terminal_to_somebody_else():
    """What was told before is played first; what is written meanwhile is not erased by the panel that comes back."""
    console = terminal()
    with LiveView(console, wait=lambda _: None) as view:
        for event in (TurnStarted(**ORIGIN), *drafts(3), FINISHED):
            view.show(event)
        with view.paused():
            is_played = "weekday(date=" in console.file.getvalue()
            console.print("a question")
            asked_at = len(console.file.getvalue())
        view.show(FINISHED)
    assert is_played
    later = console.file.getvalue()[asked_at:]
    first_panel, _, _ = later.partition("╭")
    assert "\x1b[1A" not in first_panel


def test_how_far_the_run_is_stands_below_the_panel():
    """Calls, tokens and the speed of the model; runs inside the run are part of its own figures."""
    console = terminal()
    usage = Usage(output_tokens=120, model_time_s=2.0)
    nested = {**ORIGIN, "run_id": "r.1"}
    with LiveView(console, wait=lambda _: None) as view:
        for event in (
            TurnStarted(**ORIGIN),
            UsageUpdated(**ORIGIN, usage=usage, turn_usage=usage),
            UsageUpdated(**nested, usage=Usage(output_tokens=7), turn_usage=Usage(output_tokens=7)),
            FINISHED,
        ):
            view.show(event)
    assert "1 call · 120 tokens · 60 tokens per second" in console.file.getvalue()


def test_the_panel_fits_a_small_terminal():
    """In ten rows the canvas has three lines, and everything is still there."""
    console = Console(file=io.StringIO(), force_terminal=True, width=46, height=10)
    with LiveView(console, wait=lambda _: None) as view:
        view.show(TurnStarted(**ORIGIN))
    first, _, _ = console.file.getvalue().partition("\x1b[1A")
    assert first.count("\n") + 1 <= 10
    assert "╰" in first


def test_figures_stand_below_each_other_in_a_narrow_terminal():
    """Names of figures are never cut."""
    figures = run_figures(Usage(requests=1, output_tokens=14, num_canvases=1, denoising_steps=6), duration_s=1.0)
    for width, num_rows in ((46, len(figures)), (80, 3)):
        console = Console(file=io.StringIO(), width=width)
        console.print(figures_table(figures, width=width))
        printed = console.file.getvalue()
        assert "…" not in printed
        assert len(printed.splitlines()) == num_rows


@pytest.mark.parametrize(("variables", "kind"), [({}, LiveView), ({"TERM": "dumb"}, LineView)])
def test_a_terminal_that_cannot_move_its_cursor_gets_lines(variables, kind):
    """TERM=dumb and pipes are told line by line."""
    console = Console(file=io.StringIO(), force_terminal=True, _environ={"TERM": "xterm", **variables})
    assert isinstance(view_for(console, is_live=True), kind)
    assert isinstance(view_for(Console(file=io.StringIO()), is_live=True), LineView)
    assert isinstance(view_for(console, is_live=False), LineView)
    assert isinstance(view_for(console, is_live=True, is_json=True), JsonView)
