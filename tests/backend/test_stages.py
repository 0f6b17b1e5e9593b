"""Turns whose calls are compiled when they are made: the same turns, and errors that stay with their request."""

import functools

import anyio
import pytest

from agentflow import protocol
from agentflow.backend.codec import TurnCodec
from agentflow.backend.diffusion.backend import DiffusionBackend
from agentflow.backend.diffusion.loader import load_checkpoint
from agentflow.bench.suite import make_suite
from agentflow.bench.world import World
from agentflow.constraint import Constraint
from agentflow.constraint.staged import StagedConstraint
from agentflow.errors import InvalidSchemaError, UnsupportedSchemaError
from agentflow.types import GenerationRequest, GenerationSettings, SystemMessage, ToolSpec, UserMessage

CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
MUST_QUOTE = {"type": "object", "properties": {"city": {"type": "string", "x-grounded": {"fallback": "none"}}}}
BOOK, CANCEL = ToolSpec("book", "Book.", CITY), ToolSpec("cancel", "Cancel.", CITY)


@pytest.fixture(scope="module")
def checkpoint():
    """The embedded model."""
    return load_checkpoint("embedded")


@pytest.fixture
def codec(checkpoint):
    """A codec that has seen no tools yet."""
    return TurnCodec.of(checkpoint)


def ask(text="A table in Oslo.", tools=(BOOK, CANCEL), **settings):
    """A request with tools."""
    return GenerationRequest(messages=(UserMessage(text),), tools=tools, settings=GenerationSettings(**settings))


def test_tools_that_were_seen_before_are_compiled_in_stages(codec):
    """The first turn with some tools is compiled whole, and those that follow only as far as they go."""
    assert isinstance(codec.compile_staged(ask(), num_tokens=400), Constraint)
    assert isinstance(codec.compile_staged(ask("Not in Rome."), num_tokens=400), StagedConstraint)
    assert isinstance(codec.compile_staged(ask(tools=(BOOK,)), num_tokens=400), Constraint)
    assert isinstance(codec.compile_staged(ask("Rome", tools=(BOOK,)), num_tokens=400), StagedConstraint)
    assert isinstance(codec.compile_staged(ask(tools=(CANCEL, BOOK)), num_tokens=400), Constraint)
    assert codec.compile_staged(ask(is_constrained=False), num_tokens=400) is None


@pytest.mark.parametrize(
    ("request_", "num_tokens"),
    [
        (ask(), 40),
        (ask(is_grounded=False), 400),
        (ask(tools=(BOOK, ToolSpec("quote", "Quote.", MUST_QUOTE))), 400),
        (ask(tools=(BOOK, ToolSpec("book_two", "Book two.", CITY))), 400),
        (ask(tools=()), 400),
        (GenerationRequest(messages=(UserMessage("Oslo."),), tools=(BOOK,), output_schema=MUST_QUOTE), 400),
    ],
    ids=["little room", "nothing to copy", "needs a span", "names within names", "no tool", "an answer needs a span"],
)
def test_other_turns_are_compiled_whole(codec, request_, num_tokens):
    """Again and again, where stages could choose otherwise or there are no calls."""
    for _ in range(3):
        assert isinstance(codec.compile_staged(request_, num_tokens=num_tokens), Constraint)


def first_turns(num):
    """First turns of tasks of the suite."""
    for i, task in enumerate(make_suite(num, seed=77)):
        with World.opened(task.before) as world:
            tools = tuple(tool.spec for tool in world.tools(sorted(task.tools)))
        yield GenerationRequest(
            messages=(SystemMessage("Be brief."), UserMessage(task.prompt)),
            tools=tools,
            output_schema=task.output_schema,
            settings=GenerationSettings(seed=i),
        )


async def generate(backend, requests):
    """All turns, some at once; what fails is its error."""
    found = [None] * len(requests)
    limiter = anyio.CapacityLimiter(4)

    async def one(i):
        async with limiter:
            try:
                found[i] = (await backend.generate(requests[i])).message
            except UnsupportedSchemaError as error:
                found[i] = error

    async with anyio.create_task_group() as group:
        for i in range(len(requests)):
            group.start_soon(one, i)
    await backend.aclose()
    return found


def test_turns_are_the_same(checkpoint, monkeypatch):
    """The embedded model writes the same turns with stages and without, most of them in stages."""
    requests = list(first_turns(48))
    staged = []
    compile_staged = TurnCodec.compile_staged

    def watch(*args, **options):
        found = compile_staged(*args, **options)
        staged.append(isinstance(found, StagedConstraint))
        return found

    monkeypatch.setattr(TurnCodec, "compile_staged", watch)
    found = anyio.run(generate, DiffusionBackend(checkpoint), requests)
    assert sum(staged) >= 12

    monkeypatch.setattr(TurnCodec, "_find_names", lambda *_: None)
    assert anyio.run(generate, DiffusionBackend(checkpoint), requests) == found
    assert sum(staged) < len(requests)  # the second time none was


@pytest.mark.parametrize("num_rows", [1, 4])
def test_a_stage_that_cannot_be_compiled_fails_its_own_turn(checkpoint, monkeypatch, num_rows):
    """Turns beside it go on, and so do later ones."""
    requests = list(first_turns(48))
    expected = anyio.run(generate, DiffusionBackend(checkpoint), requests)
    name = next(message.tool_calls[0].name for message in expected[::-1] if message.tool_calls)
    compile_call = TurnCodec._compile_call

    def refuse(self, request, tool, grounding, family):
        if tool.name == name:
            raise UnsupportedSchemaError("pattern", pointer="/text", reason="it is too long")
        return compile_call(self, request, tool, grounding, family)

    monkeypatch.setattr(TurnCodec, "_compile_call", refuse)
    found = anyio.run(generate, DiffusionBackend(checkpoint, max_rows=num_rows), requests)

    errors = [isinstance(turn, UnsupportedSchemaError) for turn in found]
    assert any(errors)
    for turn, other, is_error in zip(found, expected, errors, strict=True):
        assert other.tool_calls[0].name == name if is_error else turn == other


def test_beginnings_of_prompts_are_encoded_once(checkpoint, codec, monkeypatch):
    """Tokens of instructions and tools are kept by what these say; the prompt is what it was."""
    requests = [ask("One."), ask("Two."), ask("Two.", tools=(CANCEL, BOOK)), ask("Two.", tools=())]
    for request in requests:
        whole = protocol.render_prompt(request.messages, request.tools)
        assert codec.encode_prompt(request) == protocol.encode(whole, checkpoint.tokenizer)

    monkeypatch.setattr(protocol, "render_head", None)
    for request in requests:
        codec.encode_prompt(request)


@pytest.mark.parametrize(
    ("schema", "error", "words"),
    [
        ({"type": "string", "default": {1}}, InvalidSchemaError, "not JSON"),
        (functools.reduce(lambda s, _: {"items": s}, range(5000), {}), UnsupportedSchemaError, "too deeply"),
    ],
    ids=["a set", "deep"],
)
def test_a_tool_that_cannot_be_told_is_refused(codec, schema, error, words):
    """The error says what is wrong with its schema."""
    tool = ToolSpec("f", "F.", {"type": "object", "properties": {"a": schema}})
    with pytest.raises(error, match=words):
        codec.encode_prompt(ask(tools=(tool,)))
