"""The diffusion backend: requests in, valid turns out, under asyncio and trio."""

import json
import threading
from dataclasses import replace
from queue import SimpleQueue

import anyio
import anyio.to_thread
import jsonschema
import pytest

from agentflow.backend.base import Backend, CallingBackend
from agentflow.backend.diffusion.backend import DiffusionBackend
from agentflow.backend.diffusion.loader import load_checkpoint
from agentflow.backend.diffusion.untrained import save_untrained_checkpoint
from agentflow.errors import BackendError, ContextLengthError, SchemaBudgetError, UnsupportedSchemaError
from agentflow.types import GenerationRequest, GenerationSettings, SystemMessage, ToolSpec, UserMessage

WEATHER = ToolSpec(
    "get_weather",
    "Look up the weather.",
    {
        "type": "object",
        "properties": {"city": {"type": "string"}, "unit": {"enum": ["celsius", "fahrenheit"]}},
        "required": ["city", "unit"],
    },
)
PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}, "is_open": {"type": "boolean"}},
    "required": ["name", "age", "is_open"],
    "additionalProperties": False,
}
FAST = {"max_denoising_steps": 4, "max_new_tokens": 64}


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request):
    """Every test below runs under both event loops."""
    return request.param


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """An untrained checkpoint with canvases of 32 positions."""
    return load_checkpoint(save_untrained_checkpoint(tmp_path_factory.mktemp("untrained")))


@pytest.fixture
def backend(checkpoint):
    """A backend that is closed after the test."""
    backend = DiffusionBackend(checkpoint, max_rows=3)
    yield backend
    backend.close()


def ask(text="Who?", *, tools=(), schema=None, tool_choice="auto", timeout_s=None, **settings):
    """A request; what is left over are settings."""
    return GenerationRequest(
        messages=(SystemMessage("Be brief."), UserMessage(text)),
        tools=tools,
        tool_choice=tool_choice,
        output_schema=schema,
        settings=GenerationSettings(**{**FAST, **settings}),
        timeout_s=timeout_s,
    )


@pytest.mark.anyio
@pytest.mark.slow
async def test_an_untrained_network_answers_with_valid_json(backend):
    """Whatever the network says, the answer fits the schema and the turn has ended."""
    assert isinstance(backend, Backend)
    for seed in range(4):
        generation = await backend.generate(ask(schema=PERSON, seed=seed))

        jsonschema.validate(json.loads(generation.message.text), PERSON)
        assert generation.finish_reason == "stop"
        assert 0 < generation.usage.output_tokens <= 64
        assert generation.usage.denoising_steps == generation.usage.num_forwards <= 8
        assert generation.usage.num_canvases in (1, 2)
        assert generation.usage.log_partition < 0


@pytest.mark.anyio
@pytest.mark.slow
async def test_a_turn_may_be_begun_and_called_back_for(checkpoint):
    """It is the turn that is awaited otherwise, once the tools are known; turns with a time limit are left alone."""
    backend = DiffusionBackend(replace(checkpoint, sampler_config=replace(checkpoint.sampler_config, is_checked=True)))
    assert isinstance(backend, CallingBackend)
    outcomes = SimpleQueue()
    request = ask("Save it: Oslo.", tools=[WEATHER], tool_choice="required", seed=3, is_grounded=True)

    assert backend.begin(request, outcomes.put) is None
    expected = await backend.generate(request)
    assert backend.begin(request, outcomes.put) is not None
    found = await anyio.to_thread.run_sync(outcomes.get)

    assert found.message == expected.message
    assert found.finish_reason == "tool_calls"
    assert found.usage.output_tokens == expected.usage.output_tokens
    assert backend.begin(replace(request, timeout_s=9.0), outcomes.put) is None
    with pytest.raises(ContextLengthError):
        backend.begin(replace(request, messages=(UserMessage("word " * 9_000),)), outcomes.put)

    dropped = SimpleQueue()
    backend.begin(request, dropped.put)()
    backend.begin(request, outcomes.put)
    await anyio.to_thread.run_sync(outcomes.get)
    await backend.aclose()
    assert dropped.empty()
    with pytest.raises(BackendError, match="the model is closed"):
        backend.begin(request, outcomes.put)


@pytest.mark.anyio
@pytest.mark.slow
async def test_an_untrained_network_calls_tools_with_valid_arguments(backend):
    """A required call names the tool and its arguments fit; several calls may stand in one turn."""
    for seed in range(4):
        generation = await backend.generate(ask(tools=[WEATHER], tool_choice="required", seed=seed))

        assert generation.finish_reason == "tool_calls"
        for call in generation.message.tool_calls:
            assert call.name == "get_weather"
            jsonschema.validate(dict(call.arguments), WEATHER.parameters)


@pytest.mark.anyio
@pytest.mark.slow
async def test_grounded_strings_are_spans_of_the_conversation(backend):
    """With grounding, a free string can only quote what was said."""
    for seed in range(4):
        generation = await backend.generate(
            ask("Weather in Oslo and Rome", tools=[WEATHER], tool_choice="get_weather", is_grounded=True, seed=seed)
        )

        for call in generation.message.tool_calls:
            assert call.arguments["city"] in "Be brief.\nWeather in Oslo and Rome"


@pytest.mark.anyio
@pytest.mark.slow
async def test_requests_at_once_get_what_they_get_alone(backend):
    """Seven tasks with different prompts, schemas and seeds share three rows; nobody gets another's answer."""
    requests = [
        ask(
            "Who is " + "very " * i + "old?",
            schema=PERSON if i % 2 else None,
            tools=() if i % 3 else (WEATHER,),
            seed=i,
        )
        for i in range(7)
    ]
    alone = [(await backend.generate(request)).message for request in requests]
    together = {}

    async def generate(i):
        together[i] = (await backend.generate(requests[i])).message

    async with anyio.create_task_group() as group:
        for i in range(len(requests)):
            group.start_soon(generate, i)

    assert [together[i] for i in range(len(requests))] == alone
    assert backend.statistics().canvases_per_step > 1


@pytest.mark.anyio
async def test_drafts_arrive_in_the_event_loop_in_order(backend):
    """Each step gives one draft with as many states as pieces; the last draft of a canvas is the text as committed."""
    drafts, threads = [], set()

    def on_draft(draft):
        drafts.append(draft)
        threads.add(threading.get_ident())

    numbers = {"type": "array", "items": {"type": "integer"}, "minItems": 12, "maxItems": 12}
    generation = await backend.generate(ask(schema=numbers, seed=1), on_draft=on_draft)

    assert generation.usage.num_canvases == 2
    assert threads == {threading.get_ident()}
    assert [(draft.canvas_index, draft.step) for draft in drafts] == sorted(
        (draft.canvas_index, draft.step) for draft in drafts
    )
    assert all(len(draft.pieces) == len(draft.states) for draft in drafts)
    committed = "".join(draft.text for draft in drafts if draft.is_committed)
    assert committed.removesuffix("<turn|>") == generation.message.text
    assert sum(not draft.is_committed for draft in drafts) == generation.usage.denoising_steps
    assert {"clamped", "accepted", "open"} >= {state for draft in drafts for state in draft.states}
    assert "clamped" in drafts[0].states


@pytest.mark.anyio
async def test_an_observer_that_raises_hurts_only_its_own_request(backend):
    """The error comes out of `generate`; the event loop and the engine go on."""

    def on_draft(draft):
        raise KeyError(draft.step)

    with pytest.raises(KeyError, match="1"):
        await backend.generate(ask(schema={"enum": ["a", "b"]}, seed=1), on_draft=on_draft)

    generation = await backend.generate(ask(schema={"enum": ["a", "b"]}, seed=1))
    assert generation.message.text in ('"a"', '"b"')


@pytest.mark.anyio
async def test_cancelling_frees_the_row(backend):
    """A task that is cancelled while its canvas is open leaves no row behind, and the next request is served."""
    is_running = anyio.Event()
    endless = ask(is_constrained=False, max_denoising_steps=100_000, max_new_tokens=2000)

    async with anyio.create_task_group() as group:
        group.start_soon(lambda: backend.generate(endless, on_draft=lambda _: is_running.set()))
        await is_running.wait()
        group.cancel_scope.cancel()
    await backend.generate(ask(schema=PERSON))

    statistics = backend.statistics()
    assert statistics.num_open == statistics.num_waiting == 0
    assert (statistics.num_rows_finished, statistics.num_rows_dropped) == (1, 1)


@pytest.mark.anyio
async def test_a_request_can_run_out_of_time(backend):
    """The backend gives up after `timeout_s` and says so."""
    with pytest.raises(BackendError, match=r"wrote no turn within 0\.05 s"):
        await backend.generate(
            ask(is_constrained=False, max_denoising_steps=100_000, max_new_tokens=2000, timeout_s=0.05)
        )


@pytest.mark.anyio
async def test_what_cannot_work_fails_before_the_first_step(backend):
    """Budgets, prompts and schemas that cannot work are named, and the network never runs."""
    with pytest.raises(SchemaBudgetError) as caught:
        await backend.generate(ask(schema=PERSON, max_new_tokens=5))
    assert caught.value.num_tokens_given == 5
    with pytest.raises(ContextLengthError, match="4096"):
        await backend.generate(ask("word " * 4096))
    with pytest.raises(ContextLengthError, match="together more than the context"):
        await backend.generate(ask(max_new_tokens=4090))
    many = {"type": "array", "items": {"type": "string"}, "uniqueItems": True}
    with pytest.raises(UnsupportedSchemaError) as unsupported:
        await backend.generate(ask(schema={"type": "object", "properties": {"a": many}}))
    assert unsupported.value.keyword == "uniqueItems"
    assert unsupported.value.pointer == "/properties/a"

    assert backend.statistics().num_prefills == 0


@pytest.mark.anyio
async def test_the_end_of_the_budget_is_a_reason_to_finish(backend):
    """Without the constraint nothing makes the network end its turn; what it wrote comes back as text."""
    generation = await backend.generate(ask(is_constrained=False, max_new_tokens=40, seed=3))

    assert generation.finish_reason in ("length", "stop")
    assert generation.usage.output_tokens <= 40
    assert generation.usage.log_partition == 0


@pytest.mark.anyio
async def test_a_closed_backend_refuses(backend):
    """After closing, a request fails at once."""
    await backend.aclose()
    await backend.aclose()

    with pytest.raises(BackendError, match="closed"):
        await backend.generate(ask())
