"""Whatever a network says, what is committed is valid: the loop over noise, with every kind of schema."""

import json
from types import SimpleNamespace

import jsonschema
import pytest
import torch

from agentflow import protocol
from agentflow.backend.codec import TurnCodec
from agentflow.backend.diffusion.canvas import Row
from agentflow.backend.diffusion.sampler import SamplerConfig
from agentflow.backend.diffusion.step import believe, denoise_step
from agentflow.backend.diffusion.untrained import END_TOKENS, build_tokenizer
from agentflow.constraint import Vocabulary
from agentflow.errors import BackendError
from agentflow.types import GenerationRequest, GenerationSettings, ToolSpec, UserMessage

SCHEMAS = {
    "enum": {"enum": ["red", "green", {"a": [1, None]}]},
    "const": {"const": {"x": "y"}},
    "integer": {"type": "integer"},
    "number": {"type": "number"},
    "boolean or null": {"type": ["boolean", "null"]},
    "string": {"type": "string"},
    "short string": {"type": "string", "minLength": 2, "maxLength": 4},
    "pattern": {"type": "string", "pattern": "^[a-c]{2}-[0-9]+$"},
    "array": {"type": "array", "items": {"type": "integer"}, "minItems": 1, "maxItems": 3},
    "optional": {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "boolean"}}},
    "nested": {
        "type": "object",
        "properties": {
            "who": {"$ref": "#/$defs/person"},
            "tags": {"type": "array", "items": {"enum": ["x", "y"]}, "maxItems": 2},
        },
        "required": ["who", "tags"],
        "$defs": {
            "person": {
                "type": "object",
                "properties": {"name": {"type": "string"}, "age": {"anyOf": [{"type": "integer"}, {"type": "null"}]}},
                "required": ["name", "age"],
            }
        },
    },
    "union": {
        "anyOf": [
            {
                "type": "object",
                "properties": {"kind": {"const": "a"}, "n": {"type": "integer"}},
                "required": ["kind", "n"],
            },
            {"type": "object", "properties": {"kind": {"const": "b"}}, "required": ["kind"]},
        ]
    },
}


class Noise:
    """A network that has nothing to say: new random logits in every step, from a seed.

    It does what a `Denoiser` does for the loop, so that thousands of decodes take seconds.
    """

    def __init__(self, vocab_size, *, canvas_length=24, seed=0, scale=4.0, favourite=None):
        self.vocab_size, self.canvas_length, self.hidden_size = vocab_size, canvas_length, 4
        self.device, self.dtype = torch.device("cpu"), torch.float32
        self.read = []
        self._generator = torch.Generator().manual_seed(seed)
        self._scale, self._favourite = scale, favourite

    def open_context(self):
        return SimpleNamespace(num_tokens=0)

    def read_inplace(self, context, token_ids):
        context.num_tokens += len(token_ids)
        self.read += token_ids

    def stack(self, contexts):
        return contexts

    def denoise(self, canvases, signals, batch):
        assert canvases.shape == (len(batch), self.canvas_length)
        assert signals.shape == (len(batch), self.canvas_length, self.hidden_size)
        logits = torch.randn(*canvases.shape, self.vocab_size, generator=self._generator) * self._scale
        if self._favourite is not None:
            logits[..., self._favourite] += 60.0
        return logits

    def soft_embed(self, probs):
        torch.testing.assert_close(probs.sum(-1), torch.ones(probs.shape[:-1]), rtol=1e-3, atol=1e-3)
        return torch.zeros(*probs.shape[:-1], self.hidden_size)


@pytest.fixture(scope="module")
def tokenizer():
    """Bytes, a few pieces and the control tokens."""
    return build_tokenizer()


@pytest.fixture(scope="module")
def codec(tokenizer):
    """The codec for that tokenizer."""
    end_ids = frozenset(tokenizer.convert_tokens_to_ids(token) for token in END_TOKENS)
    return TurnCodec(tokenizer, end_ids=end_ids, vocab_size=len(tokenizer), context_length=4096, max_new_tokens=48)


@pytest.fixture
def decode(codec):
    """Decode one request over a network; gives the row and the text or calls."""

    def decode(network, request, *, seed=0, max_new_tokens=96, **config):
        constraint = codec.compile(request, num_tokens=max_new_tokens)
        row = Row(
            prompt_ids=[2],
            max_new_tokens=max_new_tokens,
            end_ids=codec.end_ids,
            config=SamplerConfig(**{"max_denoising_steps": 3, **config}),
            generator=torch.Generator().manual_seed(seed),
            constraint=constraint,
            state=constraint.start_state,
        )
        row.open(network)
        while not row.is_finished:
            denoise_step(network, [row], network.stack([row.context]))
            if row.is_reading:
                row.read_some(network, len(row.unread))
        if row.failure is not None:
            raise row.failure
        return row, protocol.parse_turn(protocol.decode(row.committed, codec.tokenizer))

    return decode


def ask(**options):
    """A request for a value or a call."""
    return GenerationRequest(messages=(UserMessage("Paris in 3 days, or 14 weeks"),), **options)


@pytest.mark.slow
@pytest.mark.parametrize("schema", SCHEMAS.values(), ids=SCHEMAS.keys())
def test_random_logits_decode_to_valid_json(codec, decode, schema):
    """Twelve decodes per schema, over one or several canvases, are all valid and end within their budget."""
    for seed in range(12):
        network = Noise(len(codec.vocabulary), seed=seed, canvas_length=(8, 24, 64)[seed % 3])
        row, message = decode(network, ask(output_schema=schema), seed=seed, max_new_tokens=(70, 96)[seed % 2])

        jsonschema.validate(json.loads(message.text), schema)
        assert row.is_ended
        assert len(row.committed) <= row.max_new_tokens
        assert row.counts.log_partition < 0


@pytest.mark.slow
@pytest.mark.parametrize("is_grounded", [False, True])
def test_random_logits_decode_to_valid_calls(codec, decode, is_grounded):
    """Calls in the protocol's own syntax fit their tool, one or several in a turn."""
    tool = ToolSpec(
        "plan-trip",
        "Plan.",
        SCHEMAS["nested"]
        | {"properties": {"city": {"type": "string"}, "days": {"type": "integer"}}, "required": ["city", "days"]},
    )
    settings = GenerationSettings(is_grounded=is_grounded)
    num_calls = set()
    for seed in range(12):
        network = Noise(len(codec.vocabulary), seed=seed)
        request = ask(tools=(tool,), tool_choice="required", settings=settings)
        _, message = decode(network, request, seed=seed, max_new_tokens=120)

        num_calls.add(len(message.tool_calls))
        for call in message.tool_calls:
            jsonschema.validate(dict(call.arguments), tool.parameters)
            if is_grounded:
                assert call.arguments["city"] in "Paris in 3 days, or 14 weeks"
                assert call.arguments["days"] in (3, 14)
    assert min(num_calls) >= 1


def test_a_network_that_insists_on_nonsense_is_overruled(codec, decode):
    """A network that is sure of one token everywhere still ends with a valid value."""
    favourite = codec.tokenizer.convert_tokens_to_ids("<|image|>")
    network = Noise(len(codec.vocabulary), favourite=favourite)

    row, message = decode(network, ask(output_schema=SCHEMAS["nested"]))

    jsonschema.validate(json.loads(message.text), SCHEMAS["nested"])
    assert row.counts.log_partition < -100


def test_the_automaton_goes_on_where_the_canvas_before_it_ended(codec, decode):
    """A value longer than a canvas is written over several, and each finished canvas is read."""
    schema = {"type": "array", "items": {"const": "abcdefgh"}, "minItems": 4, "maxItems": 4}
    network = Noise(len(codec.vocabulary), canvas_length=8)

    row, message = decode(network, ask(output_schema=schema))

    assert json.loads(message.text) == ["abcdefgh"] * 4
    assert row.counts.num_canvases > 2
    assert network.read == [2, *row.committed[: 8 * (row.counts.num_canvases - 1)]]


def test_forced_positions_are_accepted_at_once(codec):
    """A schema that leaves no choice is done in one step, although the network is all noise."""
    seen = []
    network = Noise(len(codec.vocabulary), canvas_length=32)
    request = ask(output_schema={"const": "hi"})
    constraint = codec.compile(request, num_tokens=32)
    row = Row(
        prompt_ids=[2],
        max_new_tokens=32,
        end_ids=codec.end_ids,
        config=SamplerConfig(),
        generator=torch.Generator().manual_seed(0),
        constraint=constraint,
        state=constraint.start_state,
        observe=seen.append,
    )
    row.open(network)

    denoise_step(network, [row], network.stack([row.context]))

    assert row.is_finished
    assert protocol.decode(row.committed, codec.tokenizer)[0] == '"hi"'
    num_text = len(row.committed)
    assert seen[0].is_forced[:num_text].all()
    assert seen[0].is_accepted[:num_text].all()
    assert [view.is_committed for view in seen] == [False, True]


def test_beliefs_are_the_conditioned_ones(codec):
    """Self-conditioning and acceptance see the distribution inside the language; rows without one see the network's."""
    network = Noise(len(codec.vocabulary), canvas_length=8)
    constraint = codec.compile(ask(output_schema={"enum": ["a", "b"]}), num_tokens=8)
    rows = [
        Row(
            prompt_ids=[2],
            max_new_tokens=8,
            end_ids=codec.end_ids,
            config=SamplerConfig(),
            generator=torch.Generator().manual_seed(seed),
            constraint=chosen,
            state=0 if chosen is None else chosen.start_state,
        )
        for seed, chosen in enumerate([constraint, None])
    ]
    logits = network.denoise(torch.zeros(2, 8, dtype=torch.long), torch.zeros(2, 8, 4), [0, 1])
    expected = torch.softmax(logits, dim=-1)

    beliefs = believe(logits, rows)

    text = codec.tokenizer.decode(beliefs.draw[0, :5].tolist()).split("<turn|>")[0]
    assert text in ('"a"', '"b"')
    inside = [i for i, b in enumerate(codec.vocabulary.token_bytes) if b is not None and b.startswith(b'"')]
    assert beliefs.probs[0, 0, inside].sum() == pytest.approx(1, abs=1e-4)
    assert beliefs.entropies[0, 0] < beliefs.entropies[1, 0]
    torch.testing.assert_close(beliefs.probs[1], expected[1])
    assert not beliefs.is_tail[1].any()


def test_a_network_that_breaks_down_fails_its_row_only(codec, decode):
    """Logits that are no numbers are reported as a failure of the model, not as a value."""
    network = Noise(len(codec.vocabulary), scale=float("nan"))

    with pytest.raises(BackendError, match="no valid turn any probability"):
        decode(network, ask(output_schema=SCHEMAS["integer"]))


def test_a_large_vocabulary_is_prepared_when_the_model_is_loaded(tokenizer, monkeypatch):
    """What the first schemas would wait for is read from the user's cache; a small vocabulary needs none."""
    prepared = []

    def prepare(vocabulary):
        prepared.append(vocabulary)

    monkeypatch.setattr(Vocabulary, "prepare", prepare)
    options = {"end_ids": frozenset({tokenizer.convert_tokens_to_ids(END_TOKENS[0])}), "context_length": 64}
    small = TurnCodec(tokenizer, vocab_size=len(tokenizer), max_new_tokens=8, **options)
    large = TurnCodec(tokenizer, vocab_size=10_000, max_new_tokens=8, **options)
    assert prepared == [large.vocabulary]
    assert not small.vocabulary.is_large
