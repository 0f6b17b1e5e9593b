"""Agents as tools of agents."""

import pytest

from agentflow.agent import Agent, Limits
from agentflow.backend.scripted import ScriptedBackend, call
from agentflow.errors import BackendError, LimitExceededError, OutputValidationError
from agentflow.events import CallRunning, RunFinished, RunStarted
from agentflow.journal import Journal
from agentflow.tool import RunContext, tool
from agentflow.types import GenerationSettings

pytestmark = pytest.mark.anyio


@tool(is_destructive=True)
async def delete(context: RunContext[str], path: str) -> str:
    """Delete a file."""
    return f"{context.deps} deleted {path}"


def _make_pair(worker_replies, **options):
    worker = Agent(ScriptedBackend(worker_replies), name="worker", tools=[delete], output_type=list[str], **options)
    chief_backend = ScriptedBackend([call("worker", task="clean up"), "all clean"])
    return Agent(chief_backend, name="chief", tools=[worker.as_tool(description="Cleans.")]), worker


async def test_nested_run_answers_the_call():
    """The task reaches the worker, its output comes back as a JSON value, its cost counts for the chief."""
    chief, _ = _make_pair([["a", "b"]])
    assert chief.tools[0].spec.description == "Cleans."
    result = await chief.run("go")
    assert result.results[0].content == ["a", "b"]
    assert result.usage.requests == 3


async def test_nested_events_reach_the_observer():
    """Both runs tell the same observer, each under its own name and run."""
    chief, _ = _make_pair([["a"]])
    events = []
    await chief.run("go", on_event=events.append)
    starts = [(type(e), e.agent) for e in events if isinstance(e, (RunStarted, RunFinished))]
    assert starts == [
        (RunStarted, "chief"),
        (RunStarted, "worker"),
        (RunFinished, "worker"),
        (RunFinished, "chief"),
    ]
    assert len({e.run_id for e in events}) == 2


async def test_dependencies_and_approver_are_handed_down():
    """The worker's tools see the chief's dependencies and ask the chief's approver."""
    chief, _ = _make_pair([call("delete", path="x"), ["done"]])
    asked, ran = [], []
    await chief.run(
        "go",
        deps="Ada",
        approve=lambda c, _: asked.append(c.name) or True,
        on_event=lambda e: ran.append(e.call.name) if isinstance(e, CallRunning) else None,
    )
    assert asked == ["delete"]
    assert ran == ["worker", "delete"]


async def test_failing_worker_is_a_failing_call():
    """A worker that reaches its limit does not end the chief's run; what it cost is counted."""
    chief, _ = _make_pair([call("nope")] * 5, limits=Limits(max_turns=2))
    result = await chief.run("go")
    assert result.output == "all clean"
    assert result.results[0].is_error
    assert "max_turns=2" in result.results[0].content
    assert result.usage.requests == 4


async def test_circle_of_agents_ends():
    """An agent that only calls itself is told to stop."""
    agent = Agent(
        ScriptedBackend(
            lambda r: call("self", task="again") if len(r.messages) == 1 else r.messages[-1].results[0].content
        )
    )
    agent.tool(name="self")(agent.as_tool(name="self").function)
    assert "nested 8 runs deep" in (await agent.run("go")).output


async def test_nested_runs_are_repeatable():
    """The worker's seeds are derived from the chief's."""
    seeds = []
    for _ in range(2):
        chief, worker = _make_pair([["a"]])
        await chief.run("go", settings=GenerationSettings(seed=3))
        seeds.append(worker._model.requests[0].settings.seed)
    assert seeds[0] == seeds[1] is not None


def _make_desk(**options):
    """Make a front desk that hands over to billing, whose answers are numbers."""
    billing = Agent(
        ScriptedBackend([call("look_up", name="Ada"), [42]]),
        name="billing",
        instructions="You bill.",
        tools=[look_up],
        output_type=list[int],
    )
    desk = ScriptedBackend([[call("look_up", name="Bob"), call("transfer_to_billing")]])
    return Agent(desk, name="desk", tools=[look_up], handoffs=[billing], **options), billing


@tool
async def look_up(name: str) -> int:
    """Look up an account."""
    return len(name)


async def test_handed_over_conversation_is_gone_on_with():
    """The other agent sees the conversation under its own instructions; its answer is the output of the run."""
    desk, billing = _make_desk()
    assert [t.name for t in desk.tools] == ["look_up", "transfer_to_billing"]
    result = await desk.run("what do I owe?")
    assert result.output == [42]
    first = billing.model.requests[0]
    assert [getattr(m, "text", None) for m in first.messages[:2]] == ["You bill.", "what do I owe?"]
    assert [r.content for r in first.messages[-1].results] == [3, "billing goes on from here."]
    assert [c.name for c in result.calls] == ["look_up", "transfer_to_billing", "look_up"]
    assert len({c.id for c in result.calls}) == 3
    assert result.new_messages[0].text == "what do I owe?"
    assert result.usage.requests == 3


async def test_failure_after_a_handoff_is_not_blamed_on_the_first_agent():
    """The run fails with the error of the agent that went on; the first model is not asked again."""
    billing = Agent(ScriptedBackend(["no number"]), name="billing", output_type=int, output_retries=0)
    desk = Agent(ScriptedBackend([call("transfer_to_billing"), "never"]), handoffs=[billing])
    with pytest.raises(OutputValidationError, match="not JSON"):
        await desk.run("go")
    assert len(desk.model.requests) == 1


async def test_endless_handing_over_ends():
    """Eleven agents that each pass the conversation on reach a limit before the last one."""
    agent = Agent(ScriptedBackend(["never"]), name="agent_0")
    for i in range(10):
        script = ScriptedBackend([call(f"transfer_to_agent_{i}")])
        agent = Agent(script, name=f"agent_{i + 1}", handoffs=[agent])
    with pytest.raises(LimitExceededError, match="8 hand-offs deep") as caught:
        await agent.run("go")
    assert caught.value.limit == "depth"


async def test_handed_over_run_is_resumed():
    """Killed in the second agent's turn, it goes on there; the first agent is not asked again."""
    desk, billing = _make_desk()
    broken = ScriptedBackend([call("look_up", name="Ada"), BackendError("lost")])
    working = billing._model
    with Journal(":memory:") as journal:
        billing._model = broken
        with pytest.raises(BackendError):
            await desk.run("go", journal=journal, run_id="r")
        billing._model = ScriptedBackend([[42]])
        result = await desk.resume("r", journal)
        again = await desk.resume("r", journal)
    assert result.output == again.output == [42]
    assert [c.name for c in result.calls] == ["look_up", "transfer_to_billing", "look_up"]
    assert len(desk.model.requests) == 1
    assert working.requests == []
