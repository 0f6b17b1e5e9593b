"""Runs that go on after their process died: nothing finished is made again, nothing is lost."""

from dataclasses import replace

import anyio
import pytest

from agentflow.agent import Agent, Limits, Prices
from agentflow.backend.scripted import ScriptedBackend, call
from agentflow.errors import BackendError, ConfigurationError, JournalError, LimitExceededError, MalformedOutputError
from agentflow.events import CallFinished, CallRunning, RunStarted, TurnWritten
from agentflow.journal import Journal
from agentflow.tool import tool
from agentflow.types import GenerationSettings, ToolResult

pytestmark = pytest.mark.anyio


class World:
    """What tools change; it outlives the process of the agent."""

    def __init__(self):
        self.sent, self.read = [], []

    def tools(self):
        @tool
        async def send(text: str) -> str:
            """Send a message. Not idempotent."""
            self.sent.append(text)
            return f"sent {text}"

        @tool(is_idempotent=True)
        async def read(name: str) -> str:
            """Read something."""
            self.read.append(name)
            return f"text of {name}"

        return [send, read]


def _script(request):
    """Write the turns of one long run, told from the conversation alone, so that it can go on anywhere."""
    turns = [
        [call("read", name="a"), call("send", text="one")],
        call("send", text="two"),
        "not JSON",
        [call("send", text="three"), call("nope")],
        ["done"],
    ]
    return turns[sum(type(m).__name__ == "AssistantMessage" for m in request.messages)]


def _make_agent(world, **options):
    return Agent(ScriptedBackend(_script), tools=world.tools(), output_type=list[str], instructions="Go.", **options)


class DyingJournal(Journal):
    """Dies before or after it has written its n-th record, as a process does that is killed there."""

    def __init__(self, path, *, num_records, dies_after_writing):
        super().__init__(path)
        self.num_records, self.dies_after_writing = num_records, dies_after_writing

    def append(self, event):
        self.num_records -= 1
        if self.num_records < 0:
            raise Killed
        if self.num_records == 0 and not self.dies_after_writing:
            raise Killed
        super().append(event)
        if self.num_records == 0:
            raise Killed

    def close(self):
        self._deferred.clear()  # the dead write nothing
        super().close()


class Killed(BaseException):
    """Nothing catches it but the test."""


async def _run_undisturbed():
    world = World()
    with Journal(":memory:") as journal:
        result = await _make_agent(world).run("go", journal=journal, run_id="r", settings=GenerationSettings(seed=1))
        return world, result, len(journal.events("r"))


@pytest.mark.slow
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_kill_at_any_record_resumes_to_the_same_end(tmp_path):
    """For each record, before and after it: conversation, output and usage end as in an undisturbed run.

    Every message is sent at most once. It is sent exactly once, or the model is told that it is unknown.
    """
    calm, expected, num_records = await _run_undisturbed()
    assert calm.sent == ["one", "two", "three"]
    for number in range(1, num_records + 1):
        for dies_after_writing in (False, True):
            await _check_kill(tmp_path / f"{number}{dies_after_writing}.db", number, dies_after_writing, expected)


async def _check_kill(path, number, dies_after_writing, expected):
    world = World()
    with DyingJournal(path, num_records=number, dies_after_writing=dies_after_writing) as journal:
        with pytest.raises((Killed, BaseExceptionGroup)) as caught:
            await _make_agent(world).run("go", journal=journal, run_id="r", settings=GenerationSettings(seed=1))
        assert caught.type is Killed or caught.group_contains(Killed)
    with Journal(path) as journal:
        result = await _make_agent(world).resume("r", journal)
    unknown = [r for r in result.results if "unknown whether" in str(r.content)]
    told = {c.arguments["text"] for c in result.calls if c.id in {r.call_id for r in unknown}}
    assert len(set(world.sent)) == len(world.sent)
    assert set(world.sent) | told == {"one", "two", "three"}
    assert result.output == expected.output
    assert result.num_turns == expected.num_turns
    assert result.usage.requests == expected.usage.requests
    assert result.usage.tool_calls == expected.usage.tool_calls
    if not unknown:
        assert result.messages == expected.messages


async def test_killed_call_is_reported_as_unknown(tmp_path):
    """The tool ran, its result was not recorded: the model learns that, the call is not made again."""
    world = World()
    with Journal(tmp_path / "runs.db") as journal:

        @tool
        async def launch() -> None:
            world.sent.append("rocket")
            raise Killed

        with pytest.raises(Killed):
            await Agent(ScriptedBackend([call("launch")]), tools=[launch]).run("go", journal=journal, run_id="r")
        events = []
        agent = Agent(ScriptedBackend(["checking"]), tools=[launch])
        result = await agent.resume("r", journal, on_event=events.append)
    assert world.sent == ["rocket"]
    (launched,) = result.results
    assert launched.is_error
    assert "unknown whether this call of launch took effect" in launched.content
    assert [e.result for e in events if isinstance(e, CallFinished)] == [launched]


@pytest.mark.parametrize("retry", [True, lambda c: c.name == "launch"])
async def test_unknown_call_can_be_allowed_again(tmp_path, retry):
    """The caller knows better."""
    attempts = []

    @tool
    async def launch() -> str:
        attempts.append(1)
        if len(attempts) == 1:
            raise Killed
        return "up"

    agent = Agent(ScriptedBackend([call("launch"), "ok"]), tools=[launch])
    with Journal(tmp_path / "runs.db") as journal:
        with pytest.raises(Killed):
            await agent.run("go", journal=journal, run_id="r")
        result = await agent.resume("r", journal, retry_unknown=retry)
    assert result.results == (ToolResult("call_0", "launch", "up"),)


async def test_run_of_a_known_id_goes_on():
    """The same call of run starts a run or goes on with it."""
    backend = ScriptedBackend([call("nope"), BackendError("lost"), "done"])
    agent = Agent(backend)
    with Journal(":memory:") as journal:
        with pytest.raises(BackendError):
            await agent.run("go", journal=journal, run_id="r")
        assert journal.get("r").reason == "error"
        result = await agent.run("go", journal=journal, run_id="r")
    assert result.output == "done"
    assert len(result.calls) == 1


async def test_finished_run_gives_its_output_again():
    """Without the model; and the journal does not grow."""
    agent = Agent(ScriptedBackend([["a"]]), output_type=list[str])
    with Journal(":memory:") as journal:
        first = await agent.run("go", journal=journal, run_id="r")
        events = journal.events("r")
        again = await agent.resume("r", journal)
        assert again.output == first.output == ["a"]
        assert again.messages == first.messages
        assert journal.events("r") == events


async def test_cancelled_and_limited_runs_go_on():
    """A run that was stopped on purpose keeps its journal and can be resumed with another limit."""

    @tool
    async def hang() -> str:
        await anyio.sleep_forever()

    @tool(name="hang", is_idempotent=True)
    async def quick() -> str:
        return "quick"

    with Journal(":memory:") as journal:
        agent = Agent(ScriptedBackend([call("hang")]), tools=[hang])
        with anyio.CancelScope() as scope:
            await agent.run(
                "go",
                journal=journal,
                run_id="r",
                on_event=lambda e: scope.cancel() if isinstance(e, CallRunning) else None,
            )
        assert journal.get("r").reason == "cancelled"
        agent = Agent(ScriptedBackend(["x"]), tools=[quick], limits=Limits(max_turns=1))
        with pytest.raises(LimitExceededError):
            await agent.resume("r", journal)
        assert journal.get("r").reason == "limit"
        result = await agent.resume("r", journal, limits=Limits())
    assert result.results[0].content == "quick"
    assert result.output == "x"


async def test_seeds_after_resuming_are_those_of_an_undisturbed_run():
    """The settings come from the journal, and the turn that was not written gets the seed it would have had."""
    calm = ScriptedBackend([call("nope"), "done"])
    await Agent(calm).run("go", settings=GenerationSettings(seed=9))
    with Journal(":memory:") as journal:
        killed = ScriptedBackend([call("nope"), BackendError("lost")])
        with pytest.raises(BackendError):
            await Agent(killed).run("go", journal=journal, run_id="r", settings=GenerationSettings(seed=9))
        resumed = ScriptedBackend(["done"])
        await Agent(resumed).resume("r", journal)
    assert resumed.requests[0].settings.seed == calm.requests[1].settings.seed
    assert resumed.requests[0].messages == calm.requests[1].messages


async def test_journal_that_fails_stops_the_run_before_the_tool():
    """No effect without a record: when the start of a call cannot be written, the tool does not run."""
    world = World()

    class FullJournal(Journal):
        def append(self, event):
            if type(event).__name__ == "CallRunning":
                raise JournalError("disk full")
            super().append(event)

    with FullJournal(":memory:") as journal, pytest.raises(JournalError, match="disk full"):
        await _make_agent(world).run("go", journal=journal)
    assert world.sent == world.read == []


async def test_forked_run_goes_another_way():
    """The copy shares the first turn and is continued by another model; the original stays."""
    world = World()
    with Journal(":memory:") as journal:
        first = await _make_agent(world).run("go", journal=journal, run_id="r")
        copy = journal.fork("r", after_turn=1)
        other = Agent(ScriptedBackend([["other way"]]), tools=world.tools(), output_type=list[str])
        result = await other.resume(copy, journal)
        assert result.output == ["other way"]
        assert result.messages[:4] == first.messages[:4]
        assert journal.get("r").reason == "output"
    assert world.sent == ["one", "two", "three"]


async def test_replay_shows_the_same_events():
    """The journal tells again what observers were told, without drafts."""
    told = []
    with Journal(":memory:") as journal:
        await _make_agent(World()).run("go", journal=journal, run_id="r", on_event=told.append)
        assert [replace(e) for e in journal.events("r")] == told
    assert isinstance(told[0], RunStarted)
    assert sum(isinstance(e, TurnWritten) for e in told) == 5


async def test_journal_of_another_agent_is_refused():
    """A run goes on only with the agent and task that began it."""
    with Journal(":memory:") as journal:
        await Agent(ScriptedBackend(["a"]), name="one").run("go", journal=journal, run_id="r")
        with pytest.raises(ConfigurationError, match="is agent 'one'"):
            await Agent(ScriptedBackend(["a"]), name="two").resume("r", journal)
        with pytest.raises(ConfigurationError, match="not agent 'one' on 'stop'"):
            await Agent(ScriptedBackend(["a"]), name="one").run("stop", journal=journal, run_id="r")


async def test_nested_run_goes_on_inside_its_caller(tmp_path):
    """The worker dies in its second call; resuming the chief resumes the worker, which sends nothing twice."""
    sent = []

    @tool
    async def send(text: str) -> str:
        sent.append(text)
        return text

    @tool(is_idempotent=True)
    async def look() -> str:
        if len(sent) == 1 and not is_calm:
            raise Killed
        return "seen"

    def worker_script(request):
        turns = [call("send", text="one"), call("look"), "worked"]
        return turns[sum(type(m).__name__ == "AssistantMessage" for m in request.messages)]

    worker = Agent(ScriptedBackend(worker_script), name="worker", tools=[send, look])
    chief = Agent(ScriptedBackend([call("worker", task="work"), "done"]), tools=[worker.as_tool()])
    is_calm = False
    with Journal(tmp_path / "runs.db") as journal:
        with pytest.raises(Killed):
            await chief.run("go", journal=journal, run_id="r")
        is_calm = True
        result = await chief.resume("r", journal)
        assert {r.run_id for r in journal.runs()} == {"r", "r.call_0"}
    assert sent == ["one"]
    assert result.results[0].content == "worked"
    assert result.output == "done"


async def test_retry_unknown_reaches_nested_runs(tmp_path):
    """What the caller allows for the run it allows for the runs inside it."""
    for retry_unknown, expected in ((True, "up"), (False, "It is unknown")):
        attempts = []

        @tool
        async def launch() -> str:
            attempts.append(1)  # noqa: B023 # used up within its round
            if len(attempts) == 1:  # noqa: B023 # the same
                raise Killed
            return "up"

        def say_result(request):
            return call("launch") if len(request.messages) == 1 else request.messages[-1].results[0].content

        worker = Agent(ScriptedBackend(say_result), name="worker", tools=[launch])
        chief = Agent(ScriptedBackend([call("worker", task="go"), "done"]), tools=[worker.as_tool()])
        with Journal(tmp_path / f"{retry_unknown}.db") as journal:
            with pytest.raises(Killed):
                await chief.run("go", journal=journal, run_id="r")
            result = await chief.resume("r", journal, retry_unknown=retry_unknown)
        assert result.results[0].content.startswith(expected)


async def test_cost_of_nested_runs_survives():
    """The usage of a resumed run is that of an undisturbed one, what nested runs cost included."""
    worker = Agent(ScriptedBackend(lambda _: "worked"), name="worker", prices=Prices(input=1, output=1, request=2))

    def make_chief(*replies):
        return Agent(ScriptedBackend(replies), tools=[worker.as_tool()], prices=Prices(input=0, output=0, request=1))

    calm = await make_chief(call("worker", task="go"), "done").run("go")
    with Journal(":memory:") as journal:
        with pytest.raises(BackendError):
            await make_chief(call("worker", task="go"), BackendError("lost")).run("go", journal=journal, run_id="r")
        result = await make_chief("done").resume("r", journal)
    assert result.usage.requests == calm.usage.requests == 3
    assert result.usage.cost == calm.usage.cost == pytest.approx(4, abs=1e-3)


async def test_replay_tells_nested_runs_where_they_happened():
    """The journal gives the very events that observers saw, those of nested runs between those of their caller."""
    told = []
    worker = Agent(ScriptedBackend(lambda _: "worked"), name="worker")
    chief = Agent(
        ScriptedBackend([[call("worker", task="a"), call("worker", task="b")], "done"]), tools=[worker.as_tool()]
    )
    with Journal(":memory:") as journal:
        await chief.run("go", journal=journal, run_id="r", on_event=told.append)
        await chief.run("other", journal=journal, run_id="r2", model=ScriptedBackend(["x"]))
        assert list(journal.replay("r")) == told
        with pytest.raises(JournalError, match="holds no run"):
            journal.replay("nope")
    assert {e.run_id for e in told} == {"r", "r.call_0", "r.call_1"}


async def test_long_results_can_be_read_on_after_a_stop():
    """The handle that the model was given is good in the next process, too."""

    @tool
    async def fetch() -> str:
        return "".join(f"{i:04d} " for i in range(100))

    replies = [call("fetch"), BackendError("lost")]
    with Journal(":memory:") as journal:
        agent = Agent(ScriptedBackend(replies), tools=[fetch], has_result_reader=True, max_result_chars=100)
        with pytest.raises(BackendError):
            await agent.run("go", journal=journal, run_id="r")
        script = ScriptedBackend([call("read_result", call_id="call_0", start=100), "done"])
        agent = Agent(script, tools=[fetch], has_result_reader=True, max_result_chars=100)
        result = await agent.resume("r", journal)
    first, rest = result.results
    assert 'read_result(call_id="call_0", start=100)' in first.content
    assert rest.content.startswith("0020 0021")
    assert not rest.is_error


async def test_turn_that_could_not_be_read_is_no_answer_after_a_stop(tmp_path):
    """Killed before it was rejected, the turn must not be taken for the answer of a run of free text."""
    error = MalformedOutputError("no call and no answer", text="call:look{")
    with DyingJournal(tmp_path / "runs.db", num_records=3, dies_after_writing=True) as journal:
        with pytest.raises(Killed):
            await Agent(ScriptedBackend([error])).run("go", journal=journal, run_id="r")
        assert isinstance(journal.events("r")[-1], TurnWritten)
    with Journal(tmp_path / "runs.db") as journal:
        result = await Agent(ScriptedBackend(["done"])).resume("r", journal)
    assert result.output == "done"
    assert "no call and no answer" in result.messages[2].text
