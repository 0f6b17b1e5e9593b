"""Watching a run: callbacks, streams, cancellation."""

import threading

import anyio
import pytest

from agentflow.agent import Agent, Limits
from agentflow.backend.scripted import ScriptedBackend, call
from agentflow.errors import BackendError, LimitExceededError, UsageError
from agentflow.events import (
    CallFinished,
    CallReady,
    CallRunning,
    DraftUpdated,
    OutputDrafted,
    OutputReady,
    OutputRejected,
    RunFinished,
    RunStarted,
    TurnStarted,
    TurnWritten,
    UsageUpdated,
)
from agentflow.tool import tool
from agentflow.types import Draft

pytestmark = pytest.mark.anyio


@tool
async def echo(text: str) -> str:
    """Say it again."""
    return text


def _make_agent(*replies, **options):
    return Agent(ScriptedBackend(replies, num_draft_steps=1), tools=[echo], name="parrot", **options)


async def test_order_of_events():
    """A run of one call, one rejected and one good answer tells exactly this."""
    events = []
    await _make_agent(call("echo", text="hi"), "x", [1], output_type=list[int]).run("go", on_event=events.append)
    assert [type(e) for e in events] == [
        RunStarted,
        *(TurnStarted, DraftUpdated, TurnWritten, UsageUpdated, CallReady, CallRunning, CallFinished),
        *(TurnStarted, DraftUpdated, TurnWritten, UsageUpdated, OutputRejected),
        *(TurnStarted, DraftUpdated, OutputDrafted, TurnWritten, UsageUpdated, OutputReady),
        RunFinished,
    ]
    assert {e.agent for e in events} == {"parrot"}
    assert len({e.run_id for e in events}) == 1
    assert [e.turn for e in events] == [0] + [1] * 7 + [2] * 5 + [3] * 7
    assert events[-1].reason == "output"
    assert events[-1].usage.requests == 3


@pytest.mark.parametrize(
    ("replies", "limits", "reason"),
    [([BackendError("lost")], None, "error"), ([call("echo", text="a")], Limits(max_turns=1), "limit")],
)
async def test_last_event_tells_how_it_ended(replies, limits, reason):
    """A failed run ends with RunFinished too."""
    events = []
    with pytest.raises((BackendError, LimitExceededError)) as caught:
        await _make_agent(*replies, limits=limits).run("go", on_event=events.append)
    assert isinstance(events[-1], RunFinished)
    assert events[-1].reason == reason
    assert events[-1].error == caught.value.message


async def test_stream_gives_events_and_result():
    """Iterating gives the events; then the result is there."""
    async with _make_agent(call("echo", text="hi"), "done").stream("go") as stream:
        with pytest.raises(UsageError, match="has not ended"):
            _ = stream.result
        events = [event async for event in stream]
    assert isinstance(events[0], RunStarted)
    assert isinstance(events[-1], RunFinished)
    assert stream.result.output == "done"


async def test_stream_raises_what_the_run_raised():
    """The error comes after the last event, without an exception group around it."""
    events = []

    async def watch():
        async with _make_agent(BackendError("lost")).stream("go") as stream:
            async for event in stream:
                events.append(event)  # noqa: PERF401 # the events before the error count

    with pytest.raises(BackendError, match="lost"):
        await watch()
    assert isinstance(events[-1], RunFinished)


async def test_error_in_the_block_comes_out_as_it_is():
    """The caller's own exception is not wrapped, and the run is cancelled."""
    with pytest.raises(KeyError, match="mine"):
        async with _make_agent("done").stream("go"):
            raise KeyError("mine")


async def test_leaving_a_stream_early_cancels_the_run():
    """No task is left behind: the hanging tool has ended when the block has."""
    ended = []

    @tool
    async def hang() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            ended.append(True)

    agent = Agent(ScriptedBackend([call("hang")]), tools=[hang])
    async with agent.stream("go") as stream:
        async for event in stream:
            if isinstance(event, CallRunning):
                break
        await anyio.lowlevel.checkpoint()
    assert ended == [True]


async def test_cancelling_a_run_tells_so():
    """The last event says cancelled, and the tool has ended."""
    events, ended = [], []

    @tool
    async def hang() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            ended.append(True)

    def watch(event):
        events.append(event)
        if sum(isinstance(e, CallRunning) for e in events) == 2:
            scope.cancel()

    agent = Agent(ScriptedBackend([[call("hang"), call("hang")]]), tools=[hang])
    with anyio.CancelScope() as scope:
        await agent.run("go", on_event=watch)
    assert scope.cancelled_caught
    assert ended == [True, True]
    assert isinstance(events[-1], RunFinished)
    assert events[-1].reason == "cancelled"


@pytest.mark.parametrize("kind", [TurnStarted, DraftUpdated, CallRunning, OutputReady, RunFinished])
async def test_observer_that_raises_fails_the_run(kind):
    """A bug of the watcher is neither swallowed nor taken for a tool's or the model's failure."""

    def watch(event):
        if isinstance(event, kind):
            raise ZeroDivisionError("bug in the watcher")

    with pytest.raises(ZeroDivisionError, match="bug in the watcher"):
        await _make_agent(call("echo", text="hi"), "done").run("go", on_event=watch)


class ThreadedBackend(ScriptedBackend):
    """Drafts from a thread of its own, as an engine does."""

    async def generate(self, request, *, on_draft=None):
        draft = Draft(canvas_index=0, step=1, max_steps=1, pieces=("a",), states=("open",))
        await anyio.to_thread.run_sync(lambda: on_draft and on_draft(draft))
        return await super().generate(request)


async def test_drafts_from_another_thread_reach_the_observer_in_the_loop():
    """Observers need no locks: they are only called in the event loop's thread, in order."""
    events, threads = [], set()

    def watch(event):
        events.append(type(event))
        threads.add(threading.current_thread())

    await Agent(ThreadedBackend(["done"])).run("go", on_event=watch)
    assert threads == {threading.current_thread()}
    assert events == [RunStarted, TurnStarted, DraftUpdated, TurnWritten, UsageUpdated, OutputReady, RunFinished]


async def test_drafts_are_not_made_when_nobody_watches():
    """Without an observer the backend is not asked for drafts."""
    asked = []

    class Backend(ScriptedBackend):
        async def generate(self, request, *, on_draft=None):
            asked.append(on_draft)
            return await super().generate(request)

    await Agent(Backend(["done"])).run("go")
    assert asked == [None]
