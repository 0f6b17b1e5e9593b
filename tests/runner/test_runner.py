"""Fleets: order, bounds, fairness, failures, deadlines, resuming."""

import anyio
import pytest
from trio.testing import MockClock

from agentflow.agent import Agent, Limits
from agentflow.backend.scripted import ScriptedBackend, call
from agentflow.errors import BackendError, ConfigurationError, LimitExceededError
from agentflow.events import RunFinished
from agentflow.journal import Journal
from agentflow.planner import Planner
from agentflow.runner import Assignment, Runner
from agentflow.tool import tool
from agentflow.types import GenerationSettings, UserMessage

pytestmark = pytest.mark.anyio


@tool
async def step(number: int) -> int:
    """Do one step."""
    return number


def _num_turns(request):
    return sum(type(m).__name__ == "AssistantMessage" for m in request.messages)


def _count_to(request):
    """Make as many calls as the task says, then answer."""
    done, wanted = _num_turns(request), int(request.messages[0].text)
    return call("step", number=done) if done < wanted else f"counted to {wanted}"


def _make_agent(**options):
    return Agent(ScriptedBackend(_count_to), tools=[step], **options)


async def test_outcomes_stand_in_the_order_of_the_assignments():
    """Short runs end first; their outcomes still stand where their assignments stood."""
    agent = _make_agent()
    outcomes = await Runner().run_all(Assignment(agent=agent, task=str(n)) for n in (5, 0, 3))
    assert [o.output for o in outcomes] == ["counted to 5", "counted to 0", "counted to 3"]


async def test_number_of_running_agents_is_bounded():
    """Assignments are taken one by one as places become free."""
    running, seen, taken = 0, [], []

    class Slow(ScriptedBackend):
        async def generate(self, request, *, on_draft=None):
            nonlocal running
            running += 1
            seen.append((running, len(taken)))
            await anyio.lowlevel.checkpoint()
            running -= 1
            return await super().generate(request, on_draft=on_draft)

    agent = Agent(Slow(lambda _: "ok"))

    def assignments():
        for i in range(9):
            taken.append(i)
            yield Assignment(agent=agent, task="go")

    assert len(await Runner(max_running=3).run_all(assignments())) == 9
    assert max(number for number, _ in seen) == 3
    assert seen[0][1] <= 3


async def test_failing_run_does_not_disturb_the_others():
    """Its error is its outcome."""
    bad = Agent(ScriptedBackend([BackendError("lost")]))
    outcomes = await Runner().run_all([Assignment(agent=bad, task="x"), Assignment(agent=_make_agent(), task="2")])
    assert [o.is_successful for o in outcomes] == [False, True]
    with pytest.raises(BackendError, match="lost"):
        _ = outcomes[0].output
    assert outcomes[0].result is None


async def test_runs_take_turns_at_the_model():
    """With one request at a time a short run ends while the long one is in its early turns."""
    ends = []
    agent = _make_agent()
    runner = Runner(max_requests=1, on_event=lambda e: ends.append(e.usage) if isinstance(e, RunFinished) else None)
    await runner.run_all([Assignment(agent=agent, task="40"), Assignment(agent=agent, task="3")])
    assert [usage.requests for usage in ends] == [4, 41]
    order = [request.messages[0].text for request in agent.model.requests]
    last_of_short = max(i for i, text in enumerate(order) if text == "3")
    assert last_of_short <= 9  # four turns of each, and one to spare


async def test_stream_gives_the_quickest_first():
    """Outcomes come as runs end; all come."""
    agent = _make_agent()
    async with Runner().stream([Assignment(agent=agent, task=str(n)) for n in (30, 0, 9)]) as outcomes:
        tasks = [outcome.assignment.task async for outcome in outcomes]
    assert tasks == ["0", "9", "30"]


async def test_leaving_a_stream_cancels_the_rest():
    """No run is left behind."""
    ended = []

    @tool
    async def hang() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            ended.append(True)

    hanging = Agent(ScriptedBackend([call("hang")]), tools=[hang])
    quick = Agent(ScriptedBackend(["ok"]))
    async with Runner().stream([Assignment(agent=a, task="go") for a in (hanging, quick)]) as outcomes:
        async for outcome in outcomes:
            assert outcome.output == "ok"
            await anyio.wait_all_tasks_blocked()
            break
    assert ended == [True]


@pytest.mark.parametrize("anyio_backend", [("trio", {"clock": MockClock(autojump_threshold=0)})], ids=["fake clock"])
async def test_deadline_of_the_runner_ends_what_runs_and_what_waits():
    """Both the running and the waiting assignment get an outcome that says so."""

    @tool
    async def hang() -> None:
        await anyio.sleep_forever()

    agent = Agent(ScriptedBackend(lambda _: call("hang")), tools=[hang])
    outcomes = await Runner(max_running=1, timeout_s=5).run_all([Assignment(agent=agent, task="go")] * 2)
    assert [o.error.limit for o in outcomes] == ["timeout_s", "timeout_s"]


async def test_deadline_of_one_run_is_its_own():
    """Limits of an assignment hold for it alone."""
    agent = _make_agent()
    outcomes = await Runner().run_all(
        [Assignment(agent=agent, task="9", limits=Limits(max_turns=2)), Assignment(agent=agent, task="9")]
    )
    assert isinstance(outcomes[0].error, LimitExceededError)
    assert outcomes[1].output == "counted to 9"


async def test_seeds_follow_the_place_in_the_list():
    """Equal fleets draw equally, different places differently; a seed of one's own stays."""
    seen = []
    for _ in range(2):
        backend = ScriptedBackend(lambda _: "ok")
        agent = Agent(backend)
        own = Assignment(agent=agent, task="own", settings=GenerationSettings(seed=1))
        await Runner(seed=5).run_all([Assignment(agent=agent, task="a"), Assignment(agent=agent, task="b"), own])
        seen.append({r.messages[0].text: r.settings.seed for r in backend.requests})
    assert seen[0] == seen[1]
    assert len(set(seen[0].values())) == 3


async def test_statistics_count():
    """Successes, failures and cost, also of failed runs."""
    runner = Runner()
    bad = _make_agent(limits=Limits(max_turns=2))
    await runner.run_all([Assignment(agent=_make_agent(), task="3"), Assignment(agent=bad, task="9")])
    statistics = runner.statistics()
    assert (statistics.num_running, statistics.num_succeeded, statistics.num_failed) == (0, 1, 1)
    assert statistics.usage.requests == 6
    assert statistics.turns_per_second == pytest.approx(6 / statistics.wall_time_s)
    assert statistics.tasks_per_minute == pytest.approx(60 / statistics.wall_time_s)
    assert Runner().statistics().output_tokens_per_second == 0


async def test_fleet_goes_on_after_a_stop():
    """Runs that ended give their result again, the others go on; a fresh runner finds them by the names of agents."""
    calls = []

    @tool(name="step")
    async def count(number: int) -> int:
        calls.append(number)
        return number

    agent = Agent(ScriptedBackend(_count_to), tools=[count], name="counter")
    with Journal(":memory:") as journal:
        short = Limits(max_turns=3)
        assignments = [Assignment(agent=agent, task=str(n), run_id=f"run {n}", limits=short) for n in (2, 5)]
        first = await Runner(journal=journal).run_all(assignments)
        assert [o.is_successful for o in first] == [True, False]
        num_calls = len(calls)
        (resumed,) = await Runner(journal=journal).resume_all([agent])
        assert resumed.output == "counted to 5"
        assert sorted(calls[num_calls:]) == [3, 4]
        again = await Runner(journal=journal).run_all(assignments)
        assert [o.output for o in again] == ["counted to 2", "counted to 5"]
        assert len(calls) == 7


async def test_resuming_needs_a_journal():
    """The message shows how to give one."""
    with pytest.raises(ConfigurationError, match="needs a journal"):
        await Runner().resume_all([])


@pytest.mark.parametrize("options", [{"max_running": 0}, {"max_requests": 0}])
def test_bounds_are_checked(options):
    """A runner that can run nothing is a mistake."""
    with pytest.raises(ConfigurationError, match="must be at least 1"):
        Runner(**options)


def test_from_sync_code():
    """A fleet runs without async code around it."""
    (outcome,) = Runner().run_all_sync([Assignment(agent=_make_agent(), task="1")])
    assert outcome.output == "counted to 1"


async def test_planners_run_beside_agents():
    """A planner is assigned like an agent; its outcome holds its plan, and its cost counts."""
    script = {"steps": [{"goal": "g", "tool": "step", "needs": []}]}

    def reply(request):
        if request.tool_choice == "step":
            return call("step", number=4)
        return script if request.output_schema is not None else "planned"

    planner = Planner(ScriptedBackend(reply), tools=[step], name="planner")
    runner = Runner(seed=3)
    outcomes = await runner.run_all([Assignment(agent=planner, task="go"), Assignment(agent=_make_agent(), task="1")])
    assert [o.output for o in outcomes] == ["planned", "counted to 1"]
    assert outcomes[0].result.plan.steps[0].result == 4
    assert runner.statistics().usage.requests == 3 + 2
    with pytest.raises(ConfigurationError, match="takes no history"):
        Assignment(agent=planner, task="go", history=[UserMessage("x")])


async def test_fleet_of_agents_and_planners_goes_on_after_a_stop():
    """A fresh runner finds plans that did not end by the name of their planner; nested questions are none of these."""
    is_broken = True

    def reply(request):
        if request.tool_choice == "step":
            return call("step", number=4)
        if request.output_schema is not None:
            return {"steps": [{"goal": "g", "tool": "step", "needs": []}]}
        return BackendError("lost") if is_broken else "planned"

    planner = Planner(ScriptedBackend(reply), tools=[step], name="planner")
    with Journal(":memory:") as journal:
        (first,) = await Runner(journal=journal).run_all([Assignment(agent=planner, task="go", run_id="p")])
        assert not first.is_successful
        is_broken = False
        (resumed,) = await Runner(journal=journal).resume_all([planner])
        assert resumed.output == "planned"
        assert await Runner(journal=journal).resume_all([planner]) == ()


async def test_cancelled_fleet_leaves_no_task_behind():
    """Agents in tools, nested agents and plans, cancelled in the middle: all of their tasks are gone."""
    running, ended = [], []

    @tool
    async def hang(number: int) -> None:
        running.append(number)
        try:
            await anyio.sleep_forever()
        finally:
            ended.append(number)

    many = [call("hang", number=i) for i in range(3)]
    worker = Agent(ScriptedBackend(lambda _: many), tools=[hang], name="worker")
    chief = Agent(ScriptedBackend(lambda _: [call("worker", task="a"), *many]), tools=[worker.as_tool(), hang])

    def plan(request):
        if request.tool_choice != "none":
            return call(request.tool_choice, **({"task": "a"} if request.tool_choice == "worker" else {"number": 1}))
        return {"steps": [{"goal": "g", "tool": name, "needs": []} for name in ("worker", "hang", "hang")]}

    planner = Planner(ScriptedBackend(plan), tools=[worker, hang])
    before = anyio.get_running_tasks()
    async with anyio.create_task_group() as group:
        group.start_soon(Runner().run_all, [Assignment(agent=a, task="go") for a in (chief, worker, planner)])
        while len(running) < 6 + 3 + 5:
            await anyio.lowlevel.checkpoint()
        group.cancel_scope.cancel()
    assert sorted(ended) == sorted(running)
    assert {task.id for task in anyio.get_running_tasks()} == {task.id for task in before}
