"""The left-to-right twin and its two masks."""

import json
from dataclasses import replace

import jsonschema
import pytest
import torch

from agentflow import protocol
from agentflow.backend.autoregressive import AutoregressiveBackend
from agentflow.backend.diffusion.loader import load_checkpoint
from agentflow.backend.diffusion.untrained import save_untrained_checkpoint
from agentflow.backend.lark import turn_lark
from agentflow.backend.masks import LlguidanceMasks
from agentflow.errors import UnsupportedSchemaError
from agentflow.types import (
    AssistantMessage,
    GenerationRequest,
    GenerationSettings,
    ToolCall,
    ToolSpec,
    UserMessage,
)

TOOL = ToolSpec(
    "book",
    "Book a table.",
    {
        "type": "object",
        "properties": {
            "place": {"type": "string"},
            "Guests": {"type": "integer"},
            "at": {"enum": ["noon", "night"]},
            "notes": {"type": "array", "items": {"type": "string"}, "maxItems": 2},
        },
        "required": ["place", "Guests"],
    },
)
ANSWER = {
    "type": "object",
    "properties": {"title": {"type": "string"}, "price": {"anyOf": [{"type": "number"}, {"type": "null"}]}},
    "required": ["title", "price"],
}


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request):
    """Every async test below runs under both event loops."""
    return request.param


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """An untrained checkpoint."""
    return load_checkpoint(save_untrained_checkpoint(tmp_path_factory.mktemp("untrained")))


@pytest.fixture(scope="module", params=["agentflow", "llguidance"])
def twin(request, checkpoint):
    """The twin with either mask."""
    return AutoregressiveBackend(checkpoint, mask=request.param)


def ask(text="A table at Luigi for 4", **options):
    """A request; `settings` adds to the usual ones."""
    settings = GenerationSettings(max_new_tokens=200, seed=1, t_min=1.0, **options.pop("settings", {}))
    return GenerationRequest(messages=(UserMessage(text),), settings=settings, **options)


@pytest.mark.anyio
@pytest.mark.slow
async def test_finished_turns_are_valid_under_either_mask(twin):
    """Random weights under a mask give valid answers and calls whenever they end in time."""
    num_ended = 0
    for seed in range(6):
        request = ask(output_schema={"enum": ["yes", "no"]}, settings={"is_grounded": bool(seed % 2)})
        generation = await twin.generate(request)
        assert json.loads(generation.message.text) in ("yes", "no")
        request = ask(tools=(TOOL,), tool_choice="required", settings={"is_grounded": True, "is_parallel": False})
        generation = await twin.generate(request)
        if generation.finish_reason == "tool_calls":
            num_ended += 1
            (call,) = generation.message.tool_calls
            jsonschema.validate(dict(call.arguments), TOOL.parameters)
    assert num_ended > 0


@pytest.mark.anyio
@pytest.mark.slow
async def test_our_mask_ends_every_turn_within_its_budget(checkpoint):
    """A turn that would go on for ever closes its strings and brackets when tokens run out."""
    twin = AutoregressiveBackend(checkpoint)
    settings = {"is_grounded": False}
    for seed in range(4):
        request = ask(tools=(TOOL,), tool_choice="required", settings=settings)
        request = replace(request, settings=replace(request.settings, seed=seed, max_new_tokens=40))
        generation = await twin.generate(request)

        assert generation.finish_reason == "tool_calls"
        assert generation.usage.output_tokens <= 40
        for call in generation.message.tool_calls:
            jsonschema.validate(dict(call.arguments), TOOL.parameters)


@pytest.mark.anyio
async def test_without_a_mask_tokens_are_the_argmax_of_the_causal_network(checkpoint):
    """Greedy decoding with the cache equals running the whole sequence again for every token."""
    twin = AutoregressiveBackend(checkpoint)
    request = GenerationRequest(
        messages=(UserMessage("Hi"),), settings=GenerationSettings(is_constrained=False, max_new_tokens=5)
    )
    denoiser = checkpoint.denoiser
    ids = twin.codec.encode_prompt(request)
    expected = []
    for _ in range(5):
        context = denoiser.open_context()
        hidden = denoiser.read_inplace(context, ids + expected)
        expected.append(int(denoiser.logits(hidden[0, -1]).argmax()))

    generation = await twin.generate(request)

    assert generation.message == protocol.parse_turn(protocol.decode(expected, checkpoint.tokenizer))
    assert generation.usage.num_forwards == generation.usage.output_tokens == 5


CALLS_THAT_PASS = [
    {"Guests": 4, "place": "Luigi"},
    {"Guests": 4, "at": "noon", "notes": ["table", "at Luigi"], "place": "Luigi for"},
]
CALLS_THAT_FAIL = [
    {"place": "Luigi"},
    {"Guests": 4, "place": "Luigi", "notes": ["a", "b", "c"]},
    {"Guests": 4, "at": "now", "place": "Luigi"},
    {"Guests": 4, "place": "Mario"},
    {"Guests": 5, "place": "Luigi"},
]


@pytest.mark.parametrize("arguments", CALLS_THAT_PASS + CALLS_THAT_FAIL, ids=str)
def test_the_llguidance_grammar_takes_what_the_protocol_writes(checkpoint, arguments):
    """Grounded calls as `render_turn` writes them pass token by token; what breaks schema or grounding does not."""
    masks = LlguidanceMasks(AutoregressiveBackend(checkpoint).codec)
    mask = masks.make(ask(tools=(TOOL,)), is_grounded=True)
    turn = AssistantMessage(tool_calls=(ToolCall("1", "book", arguments),))

    is_accepted = True
    for token in protocol.encode(protocol.render_turn(turn), checkpoint.tokenizer):
        is_accepted = is_accepted and bool(mask.allowed()[token])
        mask.advance(token)

    assert is_accepted == (arguments in CALLS_THAT_PASS)


@pytest.mark.parametrize(
    ("text", "is_valid"),
    [
        ('{"title":"A table","price":4}', True),
        ('{"title":"","price":null}', True),
        ('{"price":4,"title":"A table"}', False),
        ('{"title":"A table"}', False),
        ('{"title": "A table","price":4}', False),
        ('{"title":"Mario","price":4}', False),
    ],
)
def test_the_llguidance_grammar_takes_compact_grounded_json(checkpoint, text, is_valid):
    """Answers are compact JSON with keys in the schema's order and strings from the conversation."""
    masks = LlguidanceMasks(AutoregressiveBackend(checkpoint).codec)
    mask = masks.make(ask(output_schema=ANSWER), is_grounded=True)

    is_accepted = True
    for token in protocol.encode(protocol.render_turn(AssistantMessage(text)), checkpoint.tokenizer):
        is_accepted = is_accepted and bool(mask.allowed()[token])
        mask.advance(token)

    assert is_accepted == is_valid


BOUNDED = {
    "type": "object",
    "properties": {"day": {"type": "string", "format": "date"}, "n": {"type": "integer", "minimum": 3, "maximum": 14}},
    "required": ["day", "n"],
}


@pytest.mark.parametrize(
    ("text", "is_grounded", "is_valid"),
    [
        ('{"day":"2031-02-28","n":7}', False, True),
        ('{"day":"2031-02-30","n":7}', False, False),
        ('{"day":"2031-02-28","n":15}', False, False),
        ('{"day":"2031-02-28","n":4}', True, True),
        ('{"day":"2031-02-28","n":7}', True, False),  # no 7 in the conversation
        ('{"day":"2031-02-28","n":99}', True, False),  # there is a 99, but it is out of bounds
    ],
)
def test_the_llguidance_grammar_keeps_formats_and_bounds(checkpoint, text, is_grounded, is_valid):
    """Formats are patterns; bounds hold for free numbers and choose among grounded ones."""
    masks = LlguidanceMasks(AutoregressiveBackend(checkpoint).codec)
    mask = masks.make(ask("A table for 4, or 99", output_schema=BOUNDED), is_grounded=is_grounded)

    is_accepted = True
    for token in protocol.encode(protocol.render_turn(AssistantMessage(text)), checkpoint.tokenizer):
        is_accepted = is_accepted and bool(mask.allowed()[token])
        mask.advance(token)

    assert is_accepted == is_valid


def test_a_keyword_that_the_grammar_does_not_know_is_named():
    """Nothing is dropped in silence."""
    schema = {"type": "object", "properties": {"a": {"type": "string", "contentEncoding": "base64"}}}

    with pytest.raises(UnsupportedSchemaError) as caught:
        turn_lark(ask(output_schema=schema), control_ids={'<|"|>': 1, "<turn|>": 2}, texts=None)

    assert caught.value.keyword == "contentEncoding"
    assert caught.value.pointer == "/properties/a"


def test_a_schema_may_refer_to_itself(checkpoint):
    """A recursive schema becomes a recursive rule."""
    schema = {
        "$ref": "#/$defs/node",
        "$defs": {
            "node": {
                "type": "object",
                "properties": {"children": {"type": "array", "items": {"$ref": "#/$defs/node"}}},
                "required": ["children"],
            }
        },
    }
    mask = LlguidanceMasks(AutoregressiveBackend(checkpoint).codec).make(ask(output_schema=schema), is_grounded=False)

    for token in protocol.encode(['{"children":[{"children":[]}]}'], checkpoint.tokenizer):
        assert mask.allowed()[token]
        mask.advance(token)

    assert torch.is_tensor(mask.allowed())
