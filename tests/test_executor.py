"""Calls become results, whatever the tools do."""

import dataclasses
import datetime as dt
import math
import re
import threading

import anyio
import pytest
from trio.testing import MockClock

from agentflow.errors import ConfigurationError, ToolDeniedError
from agentflow.events import CallFinished, CallProgressed, CallReady, CallRunning
from agentflow.executor import Approval, Denial, Executor
from agentflow.tool import Progress, RunContext, tool
from agentflow.types import ToolCall

pytestmark = pytest.mark.anyio


async def _execute(tools, *calls, context=None, **options):
    made = [ToolCall(f"call_{i}", name, arguments) for i, (name, arguments) in enumerate(calls)]
    return await Executor(tools, **options).execute(made, context or RunContext(deps=None))


async def _execute_one(function, arguments=None, **options):
    made = function if hasattr(function, "spec") else tool(function)
    (result,) = await _execute([made], (made.name, arguments or {}), **options)
    return result


async def test_results_stand_in_the_order_of_the_calls():
    """The second call ends first; its result still comes second, with its own id."""
    is_second_done = anyio.Event()

    @tool
    async def first() -> str:
        await is_second_done.wait()
        return "one"

    @tool
    async def second() -> str:
        is_second_done.set()
        return "two"

    results = await _execute([first, second], ("first", {}), ("second", {}))
    assert [(r.call_id, r.content) for r in results] == [("call_0", "one"), ("call_1", "two")]


async def test_sync_tools_run_at_the_same_time():
    """Three blocking tools meet at a barrier, which only works if all three run at once."""
    barrier = threading.Barrier(3, timeout=10)

    @tool
    def meet() -> int:
        return barrier.wait() * 0

    results = await _execute([meet], *[("meet", {})] * 3)
    assert [r.content for r in results] == [0, 0, 0]


@pytest.mark.parametrize(("per_turn", "per_tool", "most"), [(3, None, 3), (None, 2, 2), (8, 2, 2), (None, None, 12)])
async def test_fan_out_is_bounded(per_turn, per_tool, most):
    """Of twelve calls never more run at once than the turn and the tool allow."""
    num_running, seen = 0, []

    @tool(max_concurrency=per_tool)
    async def work() -> None:
        nonlocal num_running
        num_running += 1
        seen.append(num_running)
        for _ in range(3):
            await anyio.lowlevel.checkpoint()
        num_running -= 1

    await _execute([work], *[("work", {})] * 12, max_concurrency=per_turn)
    assert max(seen) == most


def _explode():
    raise ValueError("no such thing")


def _exit_program():
    raise SystemExit(3)


def _return_lock():
    return threading.Lock()


def _return_cycle():
    cycle = []
    cycle.append(cycle)
    return cycle


def _return_deep():
    value = 1
    for _ in range(200):
        value = [value]
    return value


def _return_bytes():
    return b"\xff\xfe"


def _refuse():
    raise ToolDeniedError("outside of the root folder")


@pytest.mark.parametrize(
    ("function", "problem"),
    [
        (_explode, "_explode failed: ValueError: no such thing"),
        (_exit_program, "tried to end the program"),
        (_return_lock, "cannot be sent as JSON"),
        (_return_cycle, "cannot be sent as JSON"),
        (_return_deep, "cannot be sent as JSON"),
        (_return_bytes, "cannot be sent as JSON"),
        (_refuse, "outside of the root folder"),
    ],
)
async def test_failures_become_results(function, problem):
    """Whatever a tool raises or returns, the model gets a sentence and the run goes on."""
    result = await _execute_one(function)
    assert result.is_error
    assert problem in result.content


async def test_unknown_tool_is_answered_with_the_names_there_are():
    """A misspelt name gets the nearest one and the list."""
    (result,) = await _execute([tool(name="explode")(_explode)], ("explod", {}))
    assert result.is_error
    assert result.content == "There is no tool called 'explod'. Did you mean 'explode'? Tools that exist: explode."


async def test_wrong_arguments_never_reach_the_tool():
    """The tool does not run; the model is told which argument is wrong."""
    ran = []

    def add(a: int) -> int:
        ran.append(a)
        return a

    result = await _execute_one(add, {"a": "many"})
    assert result.is_error
    assert "a: Input should be a valid integer" in result.content
    assert ran == []


@pytest.mark.parametrize("anyio_backend", [("trio", {"clock": MockClock(autojump_threshold=0)})], ids=["fake clock"])
async def test_async_tool_is_stopped_at_its_time_limit():
    """The tool is cancelled and the model told."""
    is_cleaned_up = False

    @tool(timeout_s=5)
    async def hang() -> None:
        nonlocal is_cleaned_up
        try:
            await anyio.sleep_forever()
        finally:
            is_cleaned_up = True

    result = await _execute_one(hang)
    assert result.content == "hang did not finish within 5 s and was stopped."
    assert is_cleaned_up


async def test_hanging_sync_tool_is_left_behind():
    """A blocked thread cannot be stopped; it is abandoned, and being a daemon it does not keep the program alive."""
    release, threads, is_started = threading.Event(), [], threading.Event()

    @tool(timeout_s=0.01)
    def hang() -> None:
        threads.append(threading.current_thread())
        is_started.set()
        release.wait(10)

    result = await _execute_one(hang)
    assert "did not finish within 0.01 s" in result.content
    assert is_started.wait(10)
    assert threads[0].daemon
    release.set()


async def test_timeout_raised_by_a_tool_is_its_own_failure():
    """A TimeoutError from inside the tool is not taken for the executor's limit."""

    async def call_server() -> None:
        raise TimeoutError("server is slow")

    assert (await _execute_one(call_server)).content == "call_server failed: TimeoutError: server is slow"


@dataclasses.dataclass
class Reading:
    at: dt.date
    values: set[int]


@pytest.mark.parametrize(
    ("value", "content"),
    [
        (Reading(dt.date(2026, 1, 2), {1}), {"at": "2026-01-02", "values": [1]}),
        ({1: None}, {"1": None}),
        ([math.nan, math.inf, 0.5], ["NaN", "Infinity", 0.5]),
        ("a\ud800b", "a?b"),
        ("Grüße 🌍", "Grüße 🌍"),
        (None, None),
        ((1, True), [1, True]),
    ],
)
async def test_results_are_json_values(value, content):
    """Python values become JSON; what JSON or Unicode cannot say is repaired."""

    def get():
        return value

    assert (await _execute_one(get)).content == content


async def test_long_results_are_shortened_in_the_middle():
    """Head and tail stay, a note says how much is missing, and the whole stays near the bound."""

    def read() -> str:
        return "a" * 5_000 + "z" * 5_000

    content = (await _execute_one(read, max_result_chars=1_000)).content
    assert content.startswith("a" * 800)
    assert content.endswith("z" * 200)
    assert "9000 of 10000 characters left out" in content
    assert len(content) < 1_100


async def test_long_results_can_be_read_page_by_page():
    """With the reader, a long result shows its first page and how to go on; the pages together are the result."""
    text = "".join(str(i) for i in range(1_000))

    @tool
    def read_all() -> str:
        return text

    executor = Executor([read_all], max_result_chars=1_000, has_result_reader=True)
    assert [t.name for t in executor.tools] == ["read_all", "read_result"]
    (page,) = await executor.execute([ToolCall("call_7", "read_all", {})], RunContext(deps=None))
    pages = []
    while match := re.search(
        r'\[characters .*; read_result\(call_id="call_7", start=(\d+)\) reads on\]$', page.content
    ):
        pages.append(page.content[: match.start() - 1])
        call = ToolCall("next", "read_result", {"call_id": "call_7", "start": int(match[1])})
        (page,) = await executor.execute([call], RunContext(deps=None))
    assert "".join([*pages, page.content]) == text
    assert len(pages) == 2


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"call_id": "call_9", "start": 0}, "No long result of 'call_9' is kept"),
        ({"call_id": "call_0", "start": 99_999}, "start must be from 0 to 29999, got 99999"),
        ({"call_id": "call_0", "start": -1}, "start must be from 0"),
    ],
)
async def test_reading_elsewhere_is_an_error(arguments, problem):
    """The model learns what it can read."""

    @tool
    def read_all() -> str:
        return "x" * 30_000

    executor = Executor([read_all], has_result_reader=True)
    await executor.execute([ToolCall("call_0", "read_all", {})], RunContext(deps=None))
    (result,) = await executor.execute([ToolCall("b", "read_result", arguments)], RunContext(deps=None))
    assert result.is_error
    assert problem in result.content


async def test_context_carries_dependencies():
    """A tool sees the caller's dependencies, its call and a key that names the call."""

    async def who(context: RunContext[str], greeting: str) -> str:
        return f"{greeting} {context.deps} {context.call.id} {context.idempotency_key}"

    result = await _execute_one(who, {"greeting": "hi"}, context=RunContext(deps="Ada", run_id="r"))
    assert result.content == "hi Ada call_0 r/call_0"


async def test_failed_calls_of_idempotent_tools_are_tried_again(monkeypatch):
    """Two failures are not told to the model when two retries are allowed; the key stays the same."""
    monkeypatch.setattr("agentflow.executor.executor.RETRY_DELAY_S", 0)
    attempts = []

    @tool(retries=2, is_idempotent=True)
    async def flaky(context: RunContext[None]) -> str:
        attempts.append((context.attempt, context.idempotency_key))
        if context.attempt < 3:
            raise OSError("connection reset")
        return "ok"

    assert (await _execute_one(flaky, context=RunContext(deps=None, run_id="r"))).content == "ok"
    assert attempts == [(1, "r/call_0"), (2, "r/call_0"), (3, "r/call_0")]


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_generators_report_progress(kind):
    """What is yielded as Progress becomes events; the last other value is the result."""

    def sync_steps():
        yield Progress("half", 0.5)
        yield "done"

    async def async_steps():
        yield Progress("half", 0.5)
        yield "done"

    events = []
    function = sync_steps if kind == "sync" else async_steps
    result = await _execute_one(function, context=RunContext(deps=None, emit=events.append))
    assert result.content == "done"
    assert [(e.message, e.fraction) for e in events if isinstance(e, CallProgressed)] == [("half", 0.5)]


async def test_events_tell_the_life_of_a_call():
    """Ready, running, finished; a call that never ran is not said to run."""
    events = []

    def ok() -> int:
        return 1

    await _execute([tool(ok)], ("ok", {}), ("nope", {}), context=RunContext(deps=None, emit=events.append))
    lives = {name: [type(e) for e in events if e.call.name == name] for name in ("ok", "nope")}
    assert lives == {"ok": [CallReady, CallRunning, CallFinished], "nope": [CallReady, CallFinished]}


@tool(is_destructive=True)
def delete(path: str) -> str:
    """Delete a file."""
    return f"deleted {path}"


async def _ask_later(call, _):
    await anyio.lowlevel.checkpoint()
    return call.arguments["path"] == "a"


@pytest.mark.parametrize(
    ("approve", "content", "is_error"),
    [
        (None, "delete did not run: it needs approval", True),
        (lambda _call, _tool: True, "deleted a", False),
        (lambda _call, _tool: False, "delete was not approved and did not run.", True),
        (lambda _call, _tool: Denial("keep it"), "did not run: keep it", True),
        (lambda _call, _tool: Approval({"path": "b"}), "deleted b", False),
        (lambda _call, _tool: Approval({"path": 3}), "path: Input should be a valid string", True),
        (_ask_later, "deleted a", False),
    ],
)
async def test_destructive_calls_need_approval(approve, content, is_error):
    """Nobody to ask means no; an approver may change arguments, which are checked like a model's."""
    result = await _execute_one(delete, {"path": "a"}, approve=approve)
    assert content in result.content
    assert result.is_error is is_error


async def test_an_approver_may_ask_for_all_calls():
    """With `wants_all_calls` a call that needs no approval waits for it, too."""

    class Doubter:
        wants_all_calls = True

        def __call__(self, call, _tool):
            return Denial(f"why {call.name}?")

    @tool
    def look() -> str:
        """Look."""
        raise AssertionError

    result = await _execute_one(look, {}, approve=Doubter())
    assert (result.content, result.is_error) == ("look was not approved and did not run: why look?", True)


@pytest.mark.parametrize("num_calls", [1, 3])
async def test_approver_that_raises_is_the_callers_mistake(num_calls):
    """It is not told to the model as a tool's failure, and comes out without an exception group around it."""

    def approve(_call, _tool):
        raise KeyError("bug")

    with pytest.raises(KeyError, match="bug"):
        await _execute([delete], *[("delete", {"path": "a"})] * num_calls, approve=approve)


async def test_cancellation_passes_through():
    """Cancelling the caller cancels the tools; no result hides it."""
    started, ended = anyio.Event(), []

    @tool
    async def wait() -> None:
        started.set()
        try:
            await anyio.sleep_forever()
        finally:
            ended.append(True)

    async with anyio.create_task_group() as group:
        group.start_soon(_execute, [wait], ("wait", {}), ("wait", {}))
        await started.wait()
        await anyio.lowlevel.checkpoint()
        group.cancel_scope.cancel()
    assert ended == [True, True]


@pytest.mark.parametrize("options", [{"max_concurrency": 0}, {"max_result_chars": 0}])
def test_bounds_are_checked(options):
    """A bound below 1 could run nothing."""
    with pytest.raises(ConfigurationError, match="must be at least 1"):
        Executor([], **options)
