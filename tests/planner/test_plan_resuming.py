"""Plans that go on after their process died: what was planned, filled in and done stays so."""

import pytest

from agentflow.agent import Agent
from agentflow.backend.scripted import ScriptedBackend, call
from agentflow.errors import BackendError, ConfigurationError, JournalError
from agentflow.events import CallFinished, CallRunning, PlanUpdated
from agentflow.journal import Journal
from agentflow.planner import Planner
from agentflow.tool import tool
from agentflow.types import GenerationSettings, Plan, PlanStep

pytestmark = pytest.mark.anyio

ITEMS = ("one", "two", "bad")


class World:
    """What tools change; it outlives the process of the planner."""

    def __init__(self):
        self.sent, self.asked = [], 0

    def tools(self):
        @tool
        async def send(text: str) -> str:
            """Send a message. Not idempotent."""
            if text == "bad":
                raise ValueError("bad text")
            self.sent.append(text)
            return f"sent {text}"

        def script(request):
            num_turns = sum(type(m).__name__ == "AssistantMessage" for m in request.messages)
            return call("send", text="by the worker") if not num_turns else "worked"

        return [send, Agent(ScriptedBackend(script), tools=[send], name="worker")]


def _step(tool_name, *needs, goal=""):
    return {"goal": goal, "tool": tool_name, "needs": list(needs)}


def _script(request):
    """Plans, steps and the answer, told from the request alone, so that it can go on anywhere."""
    if request.tool_choice != "none":
        goal = request.messages[-1 if len(request.messages) == 1 else 0].text.partition("This step: ")[2]
        return call(request.tool_choice, **({"task": goal} if request.tool_choice == "worker" else {"text": goal}))
    if "steps" not in (request.output_schema or {}).get("properties", {}):
        return "done"
    if "The plan so far" in str(request.messages[-1]):
        number = request.messages[-1].text.count("\n")  # no goal stands in two plans
        return {"steps": [_step("send", goal=f"again after {number}")]}
    return {
        "steps": [
            *(_step("send", goal=text) for text in ITEMS),
            _step("worker", 1, goal="work"),
            _step("send", 3, goal="never"),
        ]
    }


def _make_planner(world, **options):
    return Planner(ScriptedBackend(_script), tools=world.tools(), name="boss", **options)


class DyingJournal(Journal):
    """Dies before or after it has written its n-th record, as a process does that is killed there."""

    def __init__(self, path, *, num_records, dies_after_writing):
        super().__init__(path)
        self.num_records, self.dies_after_writing = num_records, dies_after_writing
        self.is_dead = False

    def append(self, event):
        self.num_records -= 1
        if self.num_records < 0 or (self.num_records == 0 and not self.dies_after_writing):
            self.is_dead = True
            raise Killed
        super().append(event)
        if self.num_records == 0:
            self.is_dead = True
            raise Killed

    def close(self):
        self._deferred.clear()  # the dead write nothing
        super().close()


class Killed(BaseException):
    """Nothing catches it but the test."""


async def _run_undisturbed(**options):
    world = World()
    with Journal(":memory:") as journal:
        planner = _make_planner(world, **options)
        result = await planner.run("go", journal=journal, run_id="r", settings=GenerationSettings(seed=1))
        num_records = sum(len(journal.events(record.run_id)) for record in journal.runs())
    return world, result, num_records


@pytest.mark.slow
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_kill_at_any_record_resumes_to_the_same_end(tmp_path):
    """For each record, before or after it: the run ends with the same output, and every message is sent once.

    A message whose sending was cut off is not sent again; its step says that its effect is unknown.
    """
    calm, expected, num_records = await _run_undisturbed()
    assert {"one", "two", "by the worker"} < set(calm.sent)
    assert num_records > 40
    for number in range(1, num_records + 1):
        await _check_kill(tmp_path / f"{number}.db", number, number % 2 == 0, calm, expected)


async def _check_kill(path, number, dies_after_writing, calm, expected):
    world = World()
    with DyingJournal(path, num_records=number, dies_after_writing=dies_after_writing) as journal:
        with pytest.raises((Killed, BaseExceptionGroup)):
            await _make_planner(world).run("go", journal=journal, run_id="r", settings=GenerationSettings(seed=1))
        assert journal.is_dead
    with Journal(path) as journal:
        result = await _make_planner(world).resume("r", journal)
        num_given_up = sum("unknown whether" in str(e) for r in journal.runs() for e in journal.events(r.run_id))
        assert journal.get("r").reason == "output"
    assert len(set(world.sent)) == len(world.sent)
    assert result.output == expected.output
    if not num_given_up:
        assert set(world.sent) == set(calm.sent)
        assert [(s.id, s.tool, s.arguments, s.state, s.result) for s in result.plan.steps] == [
            (s.id, s.tool, s.arguments, s.state, s.result) for s in expected.plan.steps
        ]
        assert result.usage.tool_calls == expected.usage.tool_calls
        assert result.usage.requests == expected.usage.requests


async def test_finished_run_gives_its_answer_again():
    """Neither the model nor a tool is touched, and nothing is recorded twice."""
    world = World()
    with Journal(":memory:") as journal:
        planner = _make_planner(world)
        first = await planner.run("go", journal=journal, run_id="r")
        events, sent = journal.events("r"), list(world.sent)
        silent = Planner(ScriptedBackend([]), tools=world.tools(), name="boss")
        again = await silent.resume("r", journal)
        assert (again.output, again.plan, again.usage) == (first.output, first.plan, first.usage)
        assert world.sent == sent
        assert journal.events("r") == events


async def test_unknown_call_is_retried_only_if_allowed():
    """A step that was cut off fails with the news, or is made again where the caller says so; its plan is kept."""
    for retry_unknown in (False, True, lambda c: c.arguments["text"] == "one"):
        world = World()
        with Journal(":memory:") as journal:
            await _cut_off(world, journal)
            result = await _make_planner(world).resume("r", journal, retry_unknown=retry_unknown)
            first = result.plan.steps[0]
            assert first.state == ("done" if retry_unknown else "failed")
            assert ("unknown whether" in str(first.result)) is (not retry_unknown)


async def _cut_off(world, journal):
    """Leave a journal whose last record is that the first step's call is running."""
    plan = Plan(task="go", steps=(PlanStep(id="s1", tool="send", arguments={"text": "one"}),))
    planner = _make_planner(world)
    with pytest.raises((Killed, BaseExceptionGroup)):
        await planner.run("go", plan=plan, journal=_Lost(journal, dies_at=CallFinished), run_id="r")
    assert isinstance(journal.events("r")[-1], CallRunning)


async def test_retry_unknown_reaches_nested_runs():
    """A call inside an agent that works for the plan is made again, too, if the caller of the plan allows it."""
    sent = []

    @tool
    async def send(text: str) -> str:
        sent.append(text)
        if len(sent) == 1:
            raise Killed
        return "sent"

    def script(request):
        return call("send", text="x") if len(request.messages) == 1 else str(request.messages[-1].results[0].content)

    worker = Agent(ScriptedBackend(script), tools=[send], name="worker")
    plan = Plan(task="go", steps=(PlanStep(id="s1", tool="worker", arguments={"task": "t"}),))
    for retry_unknown, expected in ((True, "sent"), (False, "It is unknown")):
        sent.clear()
        with Journal(":memory:") as journal:
            planner = Planner(ScriptedBackend(lambda _: "ok"), tools=[worker])
            with pytest.raises((Killed, BaseExceptionGroup)):
                await planner.run("go", plan=plan, journal=_Lost(journal), run_id="r")
            result = await planner.resume("r", journal, retry_unknown=retry_unknown)
            assert str(result.plan.steps[0].result).startswith(expected)


class _Lost:
    """A journal that no longer hears how runs end, as that of a killed process."""

    def __init__(self, journal, *, dies_at=()):
        self._journal, self._dies_at = journal, dies_at

    def __getattr__(self, name):
        return getattr(self._journal, name)

    def append(self, event):
        if isinstance(event, self._dies_at):
            raise Killed
        if type(event).__name__ != "RunFinished":
            self._journal.append(event)


async def test_approved_plan_is_not_asked_about_again():
    """The approver is asked once, also when the process dies after its answer; an edited plan stays edited."""
    asked, is_broken = [], True

    def approve(plan):
        asked.append(plan)
        return Plan(task="", steps=(PlanStep(id="a", tool="flaky", arguments={}),))

    @tool
    async def flaky() -> str:
        return "fine"

    def script(request):
        if request.output_schema is not None:
            return {"steps": [_step("flaky", goal="g")]}
        if is_broken:
            raise BackendError("lost")
        return "done"

    planner = Planner(ScriptedBackend(script), tools=[flaky], approve_plan=approve)
    with Journal(":memory:") as journal:
        with pytest.raises(BackendError):
            await planner.run("go", journal=journal, run_id="r")
        is_broken = False
        result = await planner.resume("r", journal)
    assert len(asked) == 1
    assert [(s.id, s.result) for s in result.plan.steps] == [("a", "fine")]


async def test_questions_are_nested_runs():
    """The journal shows what the model was asked as runs of their own, under the run of the plan."""
    with Journal(":memory:") as journal:
        await _make_planner(World()).run("go", journal=journal, run_id="r")
        parents = {record.run_id: record.parent_id for record in journal.runs()}
        assert parents == {"r": None, "r.plan0": "r", "r.plan1": "r", "r.answer": "r", "r.s4": "r"}
        plans = [e for e in journal.events("r") if isinstance(e, PlanUpdated)]
        assert [e.num_replans for e in plans if e.is_revised] == [0, 1]


async def test_run_of_another_planner_is_refused():
    """By name and task; a run that is not there is said to be missing."""
    with Journal(":memory:") as journal:
        await _make_planner(World()).run("go", journal=journal, run_id="r")
        with pytest.raises(ConfigurationError, match="is agent 'boss'"):
            await Planner(ScriptedBackend([]), tools=World().tools(), name="other").resume("r", journal)
        with pytest.raises(JournalError, match="holds no run"):
            await _make_planner(World()).resume("nope", journal)


async def test_text_that_looks_like_a_reference_stays_text():
    """What a model fills in may hold ``${...}``; it is passed on as it is, also after a resume and in a saved plan."""
    got = []

    @tool
    async def note(text: str) -> str:
        got.append(text)
        return "noted"

    hostile = "${s9.password} $${x} ${s1}"
    script = ScriptedBackend(
        lambda r: (
            call("note", text=hostile)
            if r.tool_choice == "note"
            else {"steps": [_step("note", goal="g")]}
            if r.output_schema is not None
            else "ok"
        )
    )
    planner = Planner(script, tools=[note])
    result = await planner.run("go")
    await planner.run("go", plan=Plan(task="go", steps=(*_restarted(result.plan),)))
    assert got == [hostile, hostile]


def _restarted(plan):
    return (PlanStep(id=s.id, tool=s.tool, goal=s.goal, needs=s.needs, arguments=s.arguments) for s in plan.steps)
