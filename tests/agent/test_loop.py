"""The loop: turns, calls, results, answers, limits."""

import dataclasses
from typing import Literal

import anyio
import pytest
from pydantic import BaseModel
from trio.testing import MockClock
from typing_extensions import TypedDict

from agentflow.agent import Agent, Limits, Prices, derive_seed
from agentflow.backend.scripted import ScriptedBackend, call
from agentflow.errors import (
    BackendError,
    ConfigurationError,
    LimitExceededError,
    MalformedOutputError,
    OutputValidationError,
    TruncatedOutputError,
)
from agentflow.journal import Journal
from agentflow.tool import File, RunContext, tool
from agentflow.types import (
    AssistantMessage,
    Generation,
    GenerationSettings,
    SystemMessage,
    ToolCall,
    ToolMessage,
    ToolResult,
    Usage,
    UserMessage,
)

pytestmark = pytest.mark.anyio


class Report(BaseModel):
    city: str
    celsius: int


@dataclasses.dataclass
class Point:
    x: int


class Place(TypedDict):
    name: str


@tool
async def get_weather(city: str) -> dict[str, int]:
    """Look up the weather."""
    if city == "Atlantis":
        raise LookupError("no such city")
    return {"celsius": len(city)}


async def test_conversation_of_a_run():
    """Instructions, task, call, result and answer follow each other; the answer becomes the output type."""
    backend = ScriptedBackend([call("get_weather", city="Oslo"), {"city": "Oslo", "celsius": 4}])
    agent = Agent(backend, instructions="Be brief.", tools=[get_weather], output_type=Report)
    result = await agent.run("Weather in Oslo?")
    assert result.output == Report(city="Oslo", celsius=4)
    assert result.messages == (
        SystemMessage("Be brief."),
        UserMessage("Weather in Oslo?"),
        AssistantMessage(tool_calls=(ToolCall("call_0", "get_weather", {"city": "Oslo"}),)),
        ToolMessage((ToolResult("call_0", "get_weather", {"celsius": 4}),)),
        AssistantMessage('{"city": "Oslo", "celsius": 4}'),
    )
    assert (result.num_turns, result.usage.requests, result.usage.tool_calls) == (2, 2, 1)
    assert [c.name for c in result.calls] == ["get_weather"]
    assert [r.content for r in result.results] == [{"celsius": 4}]


async def test_request_tells_tools_and_schema():
    """The backend learns the tools and the schema of the answer in every turn."""
    backend = ScriptedBackend([call("get_weather", city="Oslo"), {"city": "Oslo", "celsius": 4}])
    await Agent(backend, tools=[get_weather], output_type=Report).run("go")
    for request in backend.requests:
        assert request.tools == (get_weather.spec,)
        assert set(request.output_schema["properties"]) == {"city", "celsius"}


async def test_failures_go_back_to_the_model():
    """An exception, a wrong argument and an unknown name end up as results next to a good one; the run goes on."""
    calls = [
        call("get_weather", city="Atlantis"),
        call("get_weather", town="Oslo"),
        call("forecast"),
        call("get_weather", city="Rome"),
    ]
    backend = ScriptedBackend([calls, "sorry"])
    result = await Agent(backend, tools=[get_weather]).run("go")
    assert [r.is_error for r in result.results] == [True, True, True, False]
    assert result.messages[-2] == ToolMessage(result.results)
    assert result.output == "sorry"


@pytest.mark.parametrize(
    ("output_type", "reply", "output"),
    [
        (str, "plain words", "plain words"),
        (Report, {"city": "Oslo", "celsius": 4}, Report(city="Oslo", celsius=4)),
        (Point, {"x": 1}, Point(1)),
        (Place, {"name": "Oslo"}, {"name": "Oslo"}),
        (Report | Point, {"x": 2}, Point(2)),
        (list[int], [1, 2], [1, 2]),
        (Literal["yes", "no"], '"yes"', "yes"),
        ({"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}, {"a": 1}, {"a": 1}),
    ],
    ids=str,
)
async def test_output_types(output_type, reply, output):
    """Every kind of output type gives a value of that type."""
    assert (await Agent(ScriptedBackend([reply]), output_type=output_type).run("go")).output == output


@pytest.mark.parametrize("bad", ["no JSON", {"city": "Oslo"}, {"city": "Oslo", "celsius": "warm"}, ""])
async def test_bad_answer_is_asked_for_again(bad):
    """The model is told what is wrong and answers again."""
    backend = ScriptedBackend([bad, {"city": "Oslo", "celsius": 4}])
    result = await Agent(backend, output_type=Report).run("go")
    assert result.output.celsius == 4
    assert isinstance(result.messages[-2], UserMessage)
    assert "cannot be used" in result.messages[-2].text


async def test_a_rejected_answer_is_the_draft_of_the_next():
    """The try after a bad answer may begin from it; turns after a good one have no draft."""
    backend = ScriptedBackend([{"city": "Oslo", "celsius": "warm"}, {"city": "Oslo", "celsius": 4}])
    await Agent(backend, output_type=Report).run("go")
    first, second = backend.requests
    assert first.draft is None
    assert second.draft == second.messages[-2]
    assert isinstance(second.draft, AssistantMessage)


async def test_bad_answers_are_bounded():
    """After the retries the error carries the answer and the conversation."""
    backend = ScriptedBackend(["one", "two", "three"])
    with pytest.raises(OutputValidationError, match="not JSON") as caught:
        await Agent(backend, output_type=Report, output_retries=1).run("go")
    assert caught.value.text == "two"
    assert caught.value.messages[-1] == AssistantMessage("two")
    assert len(backend.requests) == 2


async def test_unreadable_turn_is_asked_for_again():
    """A backend without the constraint may write what is no turn; the model sees it and why."""
    backend = ScriptedBackend([MalformedOutputError("no brace", text="call:f("), "better"])
    result = await Agent(backend).run("go")
    assert result.output == "better"
    assert result.messages[1:3] == (
        AssistantMessage("call:f("),
        UserMessage("Your last turn cannot be used: no brace. Correct it."),
    )


async def test_cut_off_answer_is_no_output():
    """An answer that ran out of tokens is not passed off as whole."""
    cut = Generation(AssistantMessage("and then"), "length", Usage(requests=1))
    with pytest.raises(TruncatedOutputError, match="cut off"):
        await Agent(ScriptedBackend([cut]), output_retries=0).run("go")


async def test_validator_can_ask_for_another_try_and_change_the_output():
    """Validators run in order, with or without context, sync or async."""
    agent = Agent(
        ScriptedBackend([{"city": "Oslo", "celsius": 99}, {"city": "Oslo", "celsius": 4}]), output_type=Report
    )

    @agent.output_validator
    def is_plausible(report):
        if report.celsius > 60:
            raise OutputValidationError(f"{report.celsius} degrees is too hot")
        return report

    @agent.output_validator
    async def shout(context: RunContext[str], report):
        return report.model_copy(update={"city": report.city.upper() + context.deps})

    result = await agent.run("go", deps="!")
    assert result.output == Report(city="OSLO!", celsius=4)
    assert "99 degrees is too hot" in result.messages[-2].text


@pytest.mark.parametrize("is_async", [False, True])
async def test_instructions_may_be_a_function_of_the_context(is_async):
    """Instructions can use dependencies and task."""

    def instruct(context):
        return f"Help {context.deps} with {context.task}."

    async def instruct_later(context):
        return instruct(context)

    backend = ScriptedBackend(["ok"])
    await Agent(backend, instructions=instruct_later if is_async else instruct).run("this", deps="Ada")
    assert backend.requests[0].messages[0] == SystemMessage("Help Ada with this.")


async def test_history_goes_in_and_out():
    """A run goes on from another's messages; the instructions stand once, at the top."""
    agent = Agent(ScriptedBackend(["one", "two"]), instructions="Hi.")
    first = await agent.run("a")
    second = await agent.run("b", history=first.messages)
    assert [getattr(m, "text", None) for m in second.messages] == ["Hi.", "a", "one", "b", "two"]
    assert [m.text for m in second.new_messages] == ["b", "two"]


async def test_ids_of_calls_stay_unique():
    """A backend that numbers calls from zero in each turn does not confuse the results."""
    same = AssistantMessage(tool_calls=(ToolCall("0", "get_weather", {"city": "A"}),))
    other = AssistantMessage(tool_calls=(ToolCall("0", "get_weather", {"city": "Oslo"}),))
    result = await Agent(ScriptedBackend([same, other, "ok"]), tools=[get_weather]).run("go")
    assert len({c.id for c in result.calls}) == 2
    assert [r.call_id for r in result.results] == [c.id for c in result.calls]


def _loop_forever():
    return ScriptedBackend(lambda request: call("get_weather", city="x" * len(request.messages)))


@pytest.mark.parametrize(
    ("limits", "limit", "num_requests"),
    [
        (Limits(max_turns=3), "max_turns", 3),
        (Limits(max_calls=4), "max_calls", 5),
        (Limits(max_tokens=5), "max_tokens", 3),
    ],
)
async def test_limits_end_a_run(limits, limit, num_requests):
    """The error names the limit, and its messages are a conversation in which every call has a result."""
    backend = _loop_forever()
    with pytest.raises(LimitExceededError) as caught:
        await Agent(backend, tools=[get_weather], limits=limits).run("go")
    assert caught.value.limit == limit
    assert len(backend.requests) == num_requests
    assert isinstance(caught.value.messages[-1], ToolMessage)
    again = await Agent(ScriptedBackend(["done"]), tools=[get_weather]).run("go on", history=caught.value.messages)
    assert again.output == "done"


async def test_same_call_with_the_same_result_is_a_loop():
    """Three equal turns in a row end the run; equal calls whose results differ do not."""
    backend = ScriptedBackend(lambda _: call("get_weather", city="Oslo"))
    with pytest.raises(LimitExceededError, match="same calls with the same results 3 turns in a row") as caught:
        await Agent(backend, tools=[get_weather]).run("go")
    assert caught.value.limit == "max_repeats"
    assert len(backend.requests) == 3

    counts = iter(range(10))

    @tool
    async def poll() -> int:
        return next(counts)

    result = await Agent(ScriptedBackend([call("poll")] * 5 + ["ready"]), tools=[poll]).run("go")
    assert result.output == "ready"


@pytest.mark.parametrize("anyio_backend", [("trio", {"clock": MockClock(autojump_threshold=0)})], ids=["fake clock"])
async def test_time_limit_keeps_finished_results():
    """A run that hangs in one tool is cancelled; what the other tool found stays in the transcript."""
    is_cancelled = False

    @tool
    async def hang() -> None:
        nonlocal is_cancelled
        try:
            await anyio.sleep_forever()
        finally:
            is_cancelled = True

    backend = ScriptedBackend([[call("get_weather", city="Oslo"), call("hang")]])
    with pytest.raises(LimitExceededError) as caught:
        await Agent(backend, tools=[get_weather, hang], limits=Limits(timeout_s=5)).run("go")
    assert caught.value.limit == "timeout_s"
    assert is_cancelled
    weather, hung = caught.value.messages[-1].results
    assert weather == ToolResult("call_0", "get_weather", {"celsius": 4})
    assert hung.is_error


@pytest.mark.parametrize("options", [{"max_turns": 0}, {"timeout_s": -1}, {"max_repeats": 1}])
def test_impossible_limits_are_refused(options):
    """A limit that no run could keep is a mistake."""
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        Limits(**options)


async def test_backend_failure_carries_the_conversation():
    """What was done before a failure is not lost."""
    backend = ScriptedBackend([call("get_weather", city="Oslo"), BackendError("device lost")])
    with pytest.raises(BackendError, match="device lost") as caught:
        await Agent(backend, tools=[get_weather]).run("go")
    assert isinstance(caught.value.messages[-1], ToolMessage)


async def test_turns_have_seeds_of_their_own():
    """Seeds of turns are derived from the run's seed: equal for equal runs, different between turns."""
    seeds = []
    for _ in range(2):
        backend = ScriptedBackend([call("get_weather", city="Oslo"), "ok"])
        await Agent(backend, tools=[get_weather], settings=GenerationSettings(seed=7)).run("go")
        seeds.append([request.settings.seed for request in backend.requests])
    assert seeds[0] == seeds[1] == [derive_seed(7, 1), derive_seed(7, 2)]
    assert len(set(seeds[0])) == 2


async def test_no_seed_stays_no_seed():
    """Without a seed the backend draws as it likes."""
    backend = ScriptedBackend(["ok"])
    await Agent(backend).run("go")
    assert backend.requests[0].settings.seed is None


async def test_one_agent_may_run_many_times_at_once():
    """Runs share nothing: each gets its own answer."""
    agent = Agent(ScriptedBackend(lambda request: f"re: {request.messages[0].text}"))
    outputs = {}

    async def ask(task):
        outputs[task] = (await agent.run(task)).output

    async with anyio.create_task_group() as group:
        for i in range(20):
            group.start_soon(ask, str(i))
    assert outputs == {str(i): f"re: {i}" for i in range(20)}


async def test_tools_can_be_added_by_decorator():
    """@agent.tool leaves the function a function."""
    agent = Agent(ScriptedBackend([call("double", number=2), "ok"]))

    @agent.tool
    def double(number: int) -> int:
        return 2 * number

    @agent.tool(timeout_s=3, name="triple")
    def times_three(number: int) -> int:
        return 3 * number

    assert [t.name for t in agent.tools] == ["double", "triple"]
    assert double(3) == 6
    assert (await agent.run("go")).results[0].content == 4


async def test_model_can_be_chosen_per_run():
    """The same definition runs on another backend, and on a model that wraps one."""

    class Model:
        backend = ScriptedBackend(["wrapped"])

    agent = Agent(ScriptedBackend([]))
    assert (await agent.run("go", model=ScriptedBackend(["other"]))).output == "other"
    assert (await agent.run("go", model=Model())).output == "wrapped"


@pytest.mark.parametrize("model", [None, 3, object()])
async def test_what_is_no_model_is_refused(model):
    """The error shows what can be passed."""
    with pytest.raises(ConfigurationError, match="is no model"):
        await Agent(model).run("go")


@pytest.mark.parametrize("options", [{"max_concurrency": 0}, {"max_result_chars": 0}, {"output_retries": -1}])
def test_wrong_options_are_refused_at_definition(options):
    """Not only when the agent runs."""
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        Agent(ScriptedBackend([]), **options)


@pytest.mark.parametrize(("option", "hint"), [("dep", "did you mean 'deps'"), ("zzz", "options are deps, history")])
async def test_misspelt_option_of_a_run_is_refused(option, hint):
    """It would silently have no effect."""
    with pytest.raises(ConfigurationError, match=f"no option '{option}'") as caught:
        await Agent(ScriptedBackend(["ok"])).run("go", **{option: 1})
    assert hint in caught.value.hint


async def test_approval_reaches_the_tools():
    """The agent's approver is asked; a run may bring its own."""

    @tool(requires_approval=True)
    async def send(text: str) -> str:
        return f"sent {text}"

    agent = Agent(ScriptedBackend([call("send", text="a"), "ok"] * 2), tools=[send], approve=lambda _c, _t: False)
    assert (await agent.run("go")).results[0].is_error
    assert (await agent.run("go", approve=lambda _c, _t: True)).results[0].content == "sent a"


PRICES = Prices(input=1_000_000, output=2_000_000, cached_input=500_000, request=10)


def test_prices_count_tokens_and_requests():
    """Per million tokens, cached ones apart; a request has a price of its own."""
    usage = Usage(requests=2, input_tokens=10, cached_input_tokens=4, output_tokens=3)
    assert PRICES.cost(usage) == 6 * 1 + 4 * 0.5 + 3 * 2 + 2 * 10
    with pytest.raises(ConfigurationError, match="must not be negative"):
        Prices(input=-1, output=0)


async def test_cost_is_counted_and_bounded():
    """A run that has cost as much as it may writes no further turn."""
    prices, replies = Prices(input=0, output=0, request=1), [call("get_weather", city="x" * i) for i in range(9)]
    agent = Agent(ScriptedBackend(replies), tools=[get_weather], prices=prices, limits=Limits(max_cost=3))
    with pytest.raises(LimitExceededError, match="no output for 3; max_cost=3") as caught:
        await agent.run("go")
    assert caught.value.limit == "max_cost"
    result = await Agent(ScriptedBackend(["done"]), prices=prices).run("go")
    assert result.usage.cost == 1


def test_cost_without_prices_cannot_be_bounded():
    """A bound that could never be reached is a mistake."""
    with pytest.raises(ConfigurationError, match="needs prices"):
        Agent(ScriptedBackend([]), limits=Limits(max_cost=1))
    with pytest.raises(ConfigurationError, match="needs prices"):
        Agent(ScriptedBackend([])).run_sync("go", limits=Limits(max_cost=1))


@pytest.mark.parametrize("kind", [MalformedOutputError, TruncatedOutputError])
async def test_turn_that_cannot_be_read_is_paid_for(kind):
    """Its tokens count, it stands in the conversation, and the model is told what is wrong."""
    error = kind("no call and no answer", text="call:look{")
    error.usage = Usage(requests=1, output_tokens=7)
    result = await Agent(ScriptedBackend([error, "done"])).run("go")
    assert result.usage.requests == 2
    assert result.usage.output_tokens == 7 + 1
    assert result.messages[1] == AssistantMessage("call:look{")
    assert "no call and no answer" in result.messages[2].text


async def test_files_are_results(tmp_path):
    """The model is told name, kind, size and text; the caller gets the path, also from the journal."""

    @tool
    async def export(name: str) -> File:
        (tmp_path / name).write_bytes(b"a;b\n1;\xff\n" if name.endswith("csv") else b"\x89PNG\x00")
        return File(tmp_path / name)

    @tool
    async def lose() -> File:
        return File(tmp_path / "nowhere.txt")

    turn = [call("export", name="table.csv"), call("export", name="plot.png"), call("lose")]
    with Journal(":memory:") as journal:
        agent = Agent(ScriptedBackend([turn, "done"]), tools=[export, lose])
        result = await agent.run("go", journal=journal, run_id="r")
        again = await agent.resume("r", journal)
    table, plot, lost = result.results
    assert table.content["file"] == "table.csv"
    assert (table.content["media_type"], table.content["size_bytes"]) == ("text/csv", 8)
    assert table.content["text"] == "a;b\n1;\ufffd\n"
    assert plot.content == {"file": "plot.png", "media_type": "image/png", "size_bytes": 5}
    assert lost.is_error
    assert "cannot be read" in lost.content
    assert result.files == again.files == (tmp_path / "table.csv", tmp_path / "plot.png")
