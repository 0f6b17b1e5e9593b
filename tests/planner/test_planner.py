"""Planning, drafting in one batch, running at once, planning again."""

import anyio
import pytest
from pydantic import BaseModel
from trio.testing import MockClock

from agentflow.agent import Agent, Limits
from agentflow.backend.scripted import ScriptedBackend, call
from agentflow.errors import BackendError, ConfigurationError, LimitExceededError, ModelOutputError, ToolDeniedError
from agentflow.events import CallFinished, OutputReady, PlanUpdated, RunFinished, RunStarted
from agentflow.planner import Planner
from agentflow.tool import RunContext, tool
from agentflow.types import GenerationSettings, Plan, PlanStep, ToolMessage

pytestmark = pytest.mark.anyio

TEMPERATURES = {"Oslo": 4, "Rome": 18, "Cairo": 30}


@tool
async def look(city: str) -> int:
    """Look up a temperature."""
    return TEMPERATURES[city]


@tool
async def mean(numbers: list[int]) -> float:
    """Compute a mean."""
    return sum(numbers) / len(numbers)


class Answer(BaseModel):
    celsius: float


def _step(tool_name, *needs, goal=""):
    return {"goal": goal, "tool": tool_name, "needs": list(needs)}


class Script:
    """Answers plans, calls and the final answer by what is asked for."""

    def __init__(self, *plans, calls=(), answer="done"):
        self.plans, self.calls, self.answer = list(plans), dict(calls), answer

    def __call__(self, request):
        if request.tool_choice != "none":
            goal = request.messages[-1 if len(request.messages) == 1 else 0].text.partition("This step: ")[2]
            return call(request.tool_choice, **self.calls[goal])
        schema = request.output_schema
        return {"steps": self.plans.pop(0)} if schema and "steps" in schema["properties"] else self.answer


TWO_CITIES = Script(
    [_step("look", goal="a"), _step("look", goal="b"), _step("mean", 1, 2, goal="c")],
    calls={"a": {"city": "Oslo"}, "b": {"city": "Rome"}, "c": {"numbers": [4, 18]}},
    answer={"celsius": 11},
)


def _make_planner(script, **options):
    backend = ScriptedBackend(script)
    return Planner(backend, **{"tools": [look, mean], **options}), backend


def _copy(script):
    return Script(*script.plans, calls=script.calls, answer=script.answer)


async def test_plan_is_made_run_and_answered():
    """Steps run with the arguments that the model filled in; their results make the answer."""
    planner, backend = _make_planner(_copy(TWO_CITIES), output_type=Answer)
    result = await planner.run("mean of Oslo and Rome")
    assert result.output == Answer(celsius=11)
    assert [(s.id, s.needs, s.state, s.result) for s in result.plan.steps] == [
        ("s1", (), "done", 4),
        ("s2", (), "done", 18),
        ("s3", ("s1", "s2"), "done", 11.0),
    ]
    assert result.usage.requests == len(backend.requests) == 5
    assert result.usage.tool_calls == 3
    assert [r.content for m in result.messages if isinstance(m, ToolMessage) for r in m.results] == [4, 18, 11.0]


async def test_dependent_step_is_drafted_with_the_results_it_needs():
    """The request for the last step shows the results of the two others, and offers only its own tool as choice."""
    planner, backend = _make_planner(_copy(TWO_CITIES), output_type=Answer)
    await planner.run("mean of Oslo and Rome")
    request = backend.requests[3]
    assert request.tool_choice == "mean"
    assert [r.content for r in request.messages[-1].results] == [4, 18]


class BatchingBackend(ScriptedBackend):
    """Holds step requests back until as many are there as it expects, as an engine that drafts them in one batch."""

    def __init__(self, script, num_rows):
        super().__init__(script)
        self.num_rows, self.waiting, self.is_full = num_rows, 0, anyio.Event()

    async def generate(self, request, *, on_draft=None):
        if request.tool_choice != "none":
            self.waiting += 1
            if self.waiting == self.num_rows:
                self.is_full.set()
            with anyio.fail_after(5):
                await self.is_full.wait()
        return await super().generate(request, on_draft=on_draft)


@pytest.mark.parametrize("anyio_backend", [("trio", {"clock": MockClock(autojump_threshold=0)})], ids=["fake clock"])
async def test_eight_independent_steps_are_drafted_in_one_batch_and_take_the_time_of_the_slowest():
    """All eight drafts wait for each other, so they only pass if all are asked for at once; the clock is fake."""
    longest_s = 8.0

    @tool
    async def wait(number: int) -> int:
        await anyio.sleep(longest_s * (number + 1) / 8)
        return number

    script = Script([_step("wait", goal=str(i)) for i in range(8)], calls={str(i): {"number": i} for i in range(8)})
    planner = Planner(BatchingBackend(script, 8), tools=[wait])
    started_s = anyio.current_time()
    result = await planner.run("go")
    took_s = anyio.current_time() - started_s
    assert [step.result for step in result.plan.steps] == list(range(8))
    assert took_s == pytest.approx(longest_s)  # one after the other it would be 4.5 times the slowest


async def test_steps_start_as_soon_as_their_own_needs_are_done():
    """A step waits for what it needs, not for everything that was started with it."""
    order, is_fast_chain_done = [], anyio.Event()

    @tool
    async def work(name: str) -> str:
        if name == "slow":
            with anyio.fail_after(5):
                await is_fast_chain_done.wait()
        order.append(name)
        if name == "after fast":
            is_fast_chain_done.set()
        return name

    names = ["slow", "fast", "after fast"]
    script = Script(
        [_step("work", goal="slow"), _step("work", goal="fast"), _step("work", 2, goal="after fast")],
        calls={name: {"name": name} for name in names},
    )
    await Planner(ScriptedBackend(script), tools=[work]).run("go")
    assert order == ["fast", "after fast", "slow"]


async def test_concurrency_of_steps_is_bounded():
    """Never more steps run at once than allowed."""
    running, seen = 0, []

    @tool
    async def work(name: str) -> None:  # noqa: ARG001 # the argument makes the calls differ
        nonlocal running
        running += 1
        seen.append(running)
        await anyio.lowlevel.checkpoint()
        running -= 1

    script = Script([_step("work", goal=str(i)) for i in range(6)], calls={str(i): {"name": str(i)} for i in range(6)})
    await Planner(ScriptedBackend(script), tools=[work], max_concurrency=2).run("go")
    assert max(seen) == 2


async def test_failed_step_leads_to_another_plan_that_keeps_what_is_done():
    """What needed the failed step is dropped; the new plan may need what was done; nothing done runs again."""
    ran = []

    @tool
    async def find(city: str) -> int:
        ran.append(city)
        return TEMPERATURES[city]

    script = Script(
        [_step("find", goal="a"), _step("find", goal="bad"), _step("mean", 1, 2, goal="c")],
        [_step("find", goal="b"), _step("mean", 1, 3, goal="c")],
        calls={
            "a": {"city": "Oslo"},
            "bad": {"city": "Atlantis"},
            "b": {"city": "Rome"},
            "c": {"numbers": [4, 18]},
        },
    )
    backend = ScriptedBackend(script)
    result = await Planner(backend, tools=[find, mean]).run("go")
    assert result.num_replans == 1
    assert sorted(ran[:2]) == ["Atlantis", "Oslo"]
    assert ran[2:] == ["Rome"]
    assert [(s.id, s.state) for s in result.plan.steps] == [
        ("s1", "done"),
        ("s2", "failed"),
        ("s3", "done"),
        ("s4", "done"),
    ]
    assert result.plan.steps[-1].needs == ("s1", "s3")
    replan = next(r for r in backend.requests if "The plan so far" in str(r.messages[-1]))
    assert "2. find (bad): failed" in replan.messages[-1].text
    assert "Step s2 failed: find failed: KeyError" in replan.messages[-1].text


async def test_surprising_step_leads_to_another_plan():
    """A check of the caller can send the planner back before dependents run."""
    script = Script(
        [_step("look", goal="a"), _step("mean", 1, goal="never")],
        [],
        calls={"a": {"city": "Cairo"}},
    )
    planner, _ = _make_planner(script, is_surprising=lambda step: step.result == 30)
    result = await planner.run("go")
    assert [(s.id, s.state) for s in result.plan.steps] == [("s1", "done")]
    assert result.num_replans == 1


async def test_replanning_is_bounded():
    """When the replans are used up the error carries what was done."""
    bad = [_step("look", goal="bad")]
    planner, _ = _make_planner(Script(bad, bad, bad, calls={"bad": {"city": "Atlantis"}}), max_replans=1)
    with pytest.raises(LimitExceededError, match="max_replans=1 is used up") as caught:
        await planner.run("go")
    assert caught.value.limit == "max_replans"
    assert len(caught.value.messages[-1].results) == 2


async def test_unusable_plan_is_asked_for_again():
    """The schema lets a step need only steps before it, and a model without the constraint is told so."""
    planner, backend = _make_planner(Script([_step("look", 2, goal="a")], [_step("look", goal="a")]))
    plan = await planner.plan("go")
    assert [step.id for step in plan.steps] == ["s1"]
    assert "does not fit the schema" in backend.requests[1].messages[-1].text


async def test_too_long_plan_is_asked_for_again():
    """The model is told how many steps are allowed."""
    planner, backend = _make_planner(Script([_step("look", goal="a")] * 3, [_step("look", goal="a")]), max_steps=2)
    assert len((await planner.plan("go")).steps) == 1
    assert "does not fit the schema" in backend.requests[1].messages[-1].text


async def test_hopeless_plans_end():
    """A model that cannot plan fails the run, not the program."""
    planner, _ = _make_planner(lambda _: "I would rather not")
    with pytest.raises(ModelOutputError, match="not JSON"):
        await planner.run("go")


GIVEN = Plan(
    task="mean",
    steps=(
        PlanStep(id="a", tool="look", arguments={"city": "Oslo"}),
        PlanStep(id="b", tool="look", arguments={"city": "Rome"}),
        PlanStep(id="c", tool="mean", arguments={"numbers": ["${a}", "${b}"]}),
    ),
)


async def test_given_plan_with_references_needs_no_model_until_the_answer():
    """References are filled in with results; only the answer is asked for."""
    planner, backend = _make_planner(Script(answer="eleven"))
    result = await planner.run("mean", plan=GIVEN)
    assert result.plan.steps[-1].result == 11.0
    assert result.plan.steps[-1].arguments == {"numbers": [4, 18]}
    assert len(backend.requests) == 1


async def test_done_steps_of_a_given_plan_stay_done():
    """A plan that stopped half-way goes on: what has a result does not run again."""
    done = PlanStep(id="a", tool="look", arguments={"city": "Oslo"}, state="done", result=100)
    planner, _ = _make_planner(Script())
    result = await planner.run("mean", plan=Plan(task="mean", steps=(done, *GIVEN.steps[1:])))
    assert result.plan.steps[-1].result == 59.0


async def test_plan_with_unknown_tool_is_refused():
    """Before anything runs."""
    planner, backend = _make_planner(Script())
    with pytest.raises(ConfigurationError, match="uses 'fly'"):
        await planner.run("go", plan=Plan(task="go", steps=(PlanStep(id="a", tool="fly"),)))
    assert backend.requests == []


async def test_plan_can_be_approved_edited_or_denied():
    """The approver sees the plan; a plan that it gives back runs in its place."""
    planner, _ = _make_planner(_copy(TWO_CITIES), approve_plan=lambda _: False)
    with pytest.raises(ToolDeniedError, match="plan was not approved"):
        await planner.run("go")

    async def edit(_):
        return GIVEN

    planner, _ = _make_planner(_copy(TWO_CITIES), approve_plan=edit)
    assert [s.id for s in (await planner.run("go")).plan.steps] == ["a", "b", "c"]


async def test_agents_are_workers():
    """An agent is handed to the planner like a tool and does a sub-task."""
    worker = Agent(ScriptedBackend(["42"]), name="oracle")
    planner, _ = _make_planner(Script([_step("oracle", goal="q")], calls={"q": {"task": "why?"}}), tools=[worker])
    result = await planner.run("go")
    assert result.plan.steps[0].result == "42"
    assert result.usage.requests == 4


async def test_tools_get_dependencies():
    """Tools of steps see what the caller handed in."""

    @tool
    async def who(context: RunContext[str], greeting: str) -> str:
        return f"{greeting} {context.deps}"

    planner, _ = _make_planner(Script([_step("who", goal="g")], calls={"g": {"greeting": "hi"}}), tools=[who])
    assert (await planner.run("go", deps="Ada")).plan.steps[0].result == "hi Ada"


async def test_events_tell_the_plan_as_it_grows():
    """One run from start to finish, every event under one name and run."""
    events = []
    planner, _ = _make_planner(_copy(TWO_CITIES), output_type=Answer)
    await planner.run("go", on_event=events.append)
    assert isinstance(events[0], RunStarted)
    assert [type(e) for e in events[-2:]] == [OutputReady, RunFinished]
    assert {(e.agent, e.run_id) for e in events} == {("planner", events[0].run_id)}
    states = [[s.state for s in e.plan.steps] for e in events if isinstance(e, PlanUpdated)]
    assert states[0] == ["pending"] * 3
    assert states[-1] == ["done"] * 3
    assert sum(isinstance(e, CallFinished) for e in events) == 3
    assert events[-1].usage.requests == 5


@pytest.mark.parametrize(
    ("limits", "limit"),
    [(Limits(max_calls=1), "max_calls"), (Limits(max_tokens=3), "max_tokens"), (Limits(max_turns=2), "max_turns")],
)
async def test_limits_end_a_run(limits, limit):
    """The error names the limit and comes out without an exception group around it."""
    events = []
    planner, _ = _make_planner(_copy(TWO_CITIES), limits=limits)
    with pytest.raises(LimitExceededError) as caught:
        await planner.run("go", on_event=events.append)
    assert caught.value.limit == limit
    assert events[-1].reason == "limit"


@pytest.mark.parametrize("anyio_backend", [("trio", {"clock": MockClock(autojump_threshold=0)})], ids=["fake clock"])
async def test_time_limit_cancels_the_steps():
    """A step that hangs is cancelled with the run."""
    ended = []

    @tool
    async def hang() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            ended.append(True)

    script = Script([_step("hang", goal="h")], calls={"h": {}})
    with pytest.raises(LimitExceededError, match="timeout_s=5"):
        await Planner(ScriptedBackend(script), tools=[hang], limits=Limits(timeout_s=5)).run("go")
    assert ended == [True]


async def test_backend_failure_in_one_step_ends_the_run():
    """It is not taken for a failed step, and carries the conversation."""

    def fail(request):
        if request.tool_choice != "none":
            raise BackendError("device lost")
        return {"steps": [_step("look", goal="a"), _step("look", goal="b")]}

    planner, _ = _make_planner(fail)
    with pytest.raises(BackendError, match="device lost") as caught:
        await planner.run("go")
    assert caught.value.messages


async def test_runs_are_repeatable():
    """Every request of a run has a seed of its own, the same in every run."""
    seeds = []
    for _ in range(2):
        planner, backend = _make_planner(_copy(TWO_CITIES), output_type=Answer, settings=GenerationSettings(seed=5))
        await planner.run("go")
        seeds.append(sorted(r.settings.seed for r in backend.requests))  # steps of a batch start in any order
    assert seeds[0] == seeds[1]
    assert len(set(seeds[0])) == 5


def test_run_sync_and_options():
    """A planner runs from sync code; one without tools is refused."""
    planner, _ = _make_planner(_copy(TWO_CITIES), output_type=Answer)
    assert planner.run_sync("go").output == Answer(celsius=11)
    with pytest.raises(ConfigurationError, match="nothing to plan"):
        Planner(ScriptedBackend([]), tools=[])
    with pytest.raises(ConfigurationError, match="max_steps=0"):
        Planner(ScriptedBackend([]), tools=[look], max_steps=0)
