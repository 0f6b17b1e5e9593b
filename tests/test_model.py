"""Loading a model and decoding values with it."""

import dataclasses
import functools
import subprocess
import sys
import types
from typing import Literal

import anyio
import pydantic
import pytest
import torch
from typing_extensions import TypedDict

from agentflow.backend.diffusion.untrained import save_untrained_checkpoint
from agentflow.backend.scripted import ScriptedBackend
from agentflow.errors import (
    ConfigurationError,
    MalformedOutputError,
    ModelNotFoundError,
    OutputValidationError,
    TruncatedOutputError,
    UnsupportedSchemaError,
)
from agentflow.model import Model, _make_backend, load_model, run_to_end
from agentflow.types import (
    AssistantMessage,
    Generation,
    GenerationRequest,
    GenerationSettings,
    SystemMessage,
    ToolSpec,
    Usage,
    UserMessage,
)

FAST = GenerationSettings(max_denoising_steps=4, max_new_tokens=64, seed=1)


@dataclasses.dataclass
class Point:
    x: int
    y: int


class Person(pydantic.BaseModel):
    name: str
    mood: Literal["good", "bad"]


class Item(TypedDict):
    label: str
    is_new: bool


class Even(pydantic.BaseModel):
    number: int

    @pydantic.field_validator("number")
    @classmethod
    def _is_even(cls, number):
        if number % 2:
            raise ValueError("must be even")
        return number


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A checkpoint with random weights."""
    return save_untrained_checkpoint(tmp_path_factory.mktemp("untrained"))


@pytest.fixture(scope="module")
def model(folder):
    """The checkpoint as a model."""
    with load_model(folder) as model:
        yield model


class Says:
    """A backend that always says the same and remembers what it was asked."""

    name = "says"

    def __init__(self, text, finish_reason="stop"):
        self.text, self.finish_reason, self.requests, self.num_closed = text, finish_reason, [], 0

    async def generate(self, request, *, on_draft=None):  # noqa: ARG002 - the protocol's signature
        self.requests.append(request)
        return Generation(AssistantMessage(self.text), self.finish_reason, Usage())

    async def aclose(self):
        self.num_closed += 1


@pytest.mark.slow
@pytest.mark.parametrize("output_type", [Point, Person, Item, Point | Person, list[int]], ids=str)
def test_every_kind_of_type_comes_back_as_a_value(model, output_type):
    """Random weights decode to a valid value of a dataclass, a pydantic class, a TypedDict, a union, a list."""
    value = model.decode_sync(output_type, "Say something.", settings=FAST)

    assert pydantic.TypeAdapter(output_type).validate_python(value) == value


def test_a_schema_comes_back_as_plain_json(model):
    """A JSON Schema needs no class."""
    value = model.decode_sync({"enum": ["a", "b"]}, "Choose.", settings=FAST)

    assert value in ("a", "b")


@pytest.mark.slow
def test_the_same_seed_gives_the_same_value(model):
    """Decoding is a function of request and seed."""
    assert model.decode_sync(Person, "Who?", settings=FAST) == model.decode_sync(Person, "Who?", settings=FAST)


def test_decoding_asks_for_a_turn_without_tools():
    """The prompt may be text or a conversation; text output has no schema."""
    backend = Says("hello")

    assert Model(backend).decode_sync(str, "Hi") == "hello"
    assert Model(backend).decode_sync(str, [SystemMessage("Be brief."), UserMessage("Hi")]) == "hello"

    first, second = backend.requests
    assert first.messages == (UserMessage("Hi"),)
    assert len(second.messages) == 2
    assert first.output_schema is None
    assert first.tool_choice == "none"


def test_a_rule_beyond_the_schema_is_an_error():
    """What only the class can check is reported with the answer."""
    with pytest.raises(OutputValidationError, match="even") as caught:
        Model(Says('{"number":3}')).decode_sync(Even, "A number")
    assert caught.value.text == '{"number":3}'


def test_an_answer_that_was_cut_off_is_an_error_of_its_own():
    """A budget that ended too early is told apart from a wrong answer."""
    with pytest.raises(TruncatedOutputError, match="cut off"):
        Model(Says('{"number":', "length")).decode_sync(Even, "A number")


@pytest.mark.parametrize("loop", ["asyncio", "trio"])
def test_decode_sync_works_inside_a_running_loop(loop):
    """A notebook, which runs an event loop, can call the sync twin."""

    async def cell():
        return Model(Says("hello")).decode_sync(str, "Hi")

    assert anyio.run(cell, backend=loop) == "hello"


def test_a_model_closes_its_backend_both_ways():
    """Both kinds of `with` close, and so does `close`."""
    backend = Says("")

    async def use():
        async with Model(backend):
            pass

    with Model(backend):
        pass
    anyio.run(use)
    Model(backend).close()

    assert backend.num_closed == 3


@pytest.mark.parametrize("options", [{"mode": "sideways"}, {"mask": "paper"}, {"max_rows": 0}], ids=str)
def test_unknown_options_are_refused(folder, options):
    """The message names option and value."""
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        load_model(folder, **options)


@pytest.mark.slow
def test_importing_needs_no_torch():
    """The edge imports a backend only when a model is loaded."""
    code = "import sys, agentflow.model; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0  # noqa: S603 - our own code


DISTINCT = {"type": "array", "items": {"type": "string", "maxLength": 2}, "uniqueItems": True, "minItems": 2}


def test_a_schema_beyond_the_grammar_is_refused_by_default(model):
    """The error names the keyword before anything is decoded."""
    with pytest.raises(UnsupportedSchemaError, match="uniqueItems"):
        model.decode_sync(DISTINCT, "Write.", settings=FAST)


@pytest.mark.slow
def test_what_the_grammar_leaves_out_is_checked_after_decoding(model):
    """Random weights under the rest of the schema: an answer that comes back has distinct items."""
    settings = dataclasses.replace(FAST, max_new_tokens=24)
    value = model.decode_sync(DISTINCT, "Write.", settings=settings, on_unsupported="check", num_retries=20)
    assert len(value) == len(set(value)) >= 2
    assert all(len(text) <= 2 for text in value)


def test_an_answer_that_fails_the_check_is_asked_for_again():
    """The model is shown its answer and what is wrong with it; the second one counts."""
    backend = ScriptedBackend([["a", "a"], ["a", "b"]])
    assert Model(backend).decode_sync(DISTINCT, "Write.", on_unsupported="check") == ["a", "b"]
    assert [request.settings.on_unsupported for request in backend.requests] == ["check", "check"]
    *_, answer, complaint = backend.requests[1].messages
    assert answer.text == '["a", "a"]'
    assert "non-unique" in complaint.text


def test_retries_are_bounded_and_only_for_the_check():
    """After the last try the error stays; without the check the first bad answer is an error."""
    backend = ScriptedBackend([["a", "a"]] * 3)
    with pytest.raises(OutputValidationError, match="non-unique"):
        Model(backend).decode_sync(DISTINCT, "Write.", on_unsupported="check", num_retries=1)
    assert len(backend.requests) == 2
    backend = ScriptedBackend([["a", "a"]] * 3)
    with pytest.raises(OutputValidationError, match="non-unique"):
        Model(backend).decode_sync(DISTINCT, "Write.")
    assert len(backend.requests) == 1


def test_a_python_type_is_checked_against_its_whole_schema():
    """Extra keywords of a field that pydantic itself does not check are checked too."""

    class Team(pydantic.BaseModel):
        names: list[str] = pydantic.Field(json_schema_extra={"uniqueItems": True})

    backend = ScriptedBackend([{"names": ["a", "a"]}, {"names": ["a"]}])
    assert Model(backend).decode_sync(Team, "Write.", on_unsupported="check") == Team(names=["a"])


@pytest.mark.slow
def test_calls_are_checked_for_what_the_grammar_leaves_out(model):
    """Arguments of a tool that break such a keyword are a malformed turn, which an agent has written again."""
    spec = ToolSpec("tag", "", {"type": "object", "properties": {"tags": DISTINCT}, "required": ["tags"]})
    problems = []
    for seed in range(12):
        settings = GenerationSettings(
            seed=seed, max_new_tokens=32, max_denoising_steps=2, is_grounded=False, on_unsupported="check"
        )
        request = GenerationRequest(
            messages=(UserMessage("Tag."),), tools=(spec,), tool_choice="tag", settings=settings
        )
        try:
            generation = run_to_end(functools.partial(model.generate, request))
        except MalformedOutputError as error:
            problems.append((error.message, error.text))
        else:
            for call in generation.message.tool_calls:
                assert len(call.arguments["tags"]) == len(set(call.arguments["tags"]))
    assert all("non-unique" in problem for problem, _ in problems)
    assert all(text.startswith("<|tool_call>call:tag{") for _, text in problems)


class TestReplicas:
    """One model in several processes."""

    def test_every_replica_writes_what_one_model_writes(self, folder, model):
        """For the same seeds, whichever process writes it, and beside whatever other turns."""
        schema = {"type": "object", "properties": {"n": {"type": "integer"}, "s": {"type": "string"}}}

        async def decode_all(model):
            found = {}

            async def decode(seed):
                settings = dataclasses.replace(FAST, seed=seed)
                found[seed] = await model.decode(schema, f"Number {seed % 5}", settings=settings)

            async with anyio.create_task_group() as group:
                for seed in range(12):
                    group.start_soon(decode, seed)
            return found

        with load_model(folder, num_replicas=2) as replicated:
            assert replicated.name == model.name
            assert anyio.run(decode_all, replicated) == anyio.run(decode_all, model)
            assert replicated.backend.statistics().num_rows_finished == 12
            with pytest.raises(UnsupportedSchemaError, match="uniqueItems"):
                replicated.decode_sync(DISTINCT, "x")

    def test_options_are_checked(self, tmp_path):
        """Here or over there, the error is the same."""
        with pytest.raises(ConfigurationError, match="num_replicas must be at least 1, got 0"):
            load_model("embedded", num_replicas=0)
        with pytest.raises(ModelNotFoundError, match="nowhere"):
            load_model(tmp_path / "nowhere", num_replicas=2)

    def test_a_gpu_has_one_engine(self, monkeypatch):
        """More processes would hold the weights again and again on one device."""
        denoiser = types.SimpleNamespace(device=torch.device("cuda", 0))
        checkpoint = types.SimpleNamespace(name="large", denoiser=denoiser)
        monkeypatch.setattr("agentflow.backend.diffusion.loader.load_checkpoint", lambda *_, **__: checkpoint)
        options = {"device": None, "dtype": None, "mode": "diffusion", "mask": "agentflow", "max_rows": 4}
        with pytest.raises(ConfigurationError, match="replicas are for CPUs") as caught:
            _make_backend("large", **options, is_compiled=False, is_replica=True)
        assert "device='cpu'" in caught.value.hint
