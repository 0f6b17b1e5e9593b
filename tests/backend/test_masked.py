"""Masked denoisers under a schema: a network from a small `AutoModelForMaskedLM`, and one that knows the answer."""

import json

import jsonschema
import pytest
import torch
from transformers import AutoModelForMaskedLM, BertConfig

from agentflow.backend.diffusion.masked import MaskedConfig, decode_masked
from agentflow.constraint import Vocabulary, compile_schema
from agentflow.errors import ConfigurationError, SchemaBudgetError

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script_method:DeprecationWarning")  # torch's own imports

WORDS = (b'":"', b'","', b'{"', b'"}', b'":', b',"', b"city", b"Paris", b"days", b" to ", b"Rome", b"true", b"null")
PIECES = [bytes([b]) for b in range(32, 127)] + list(WORDS) + [None, None]
END, MASK = len(PIECES) - 2, len(PIECES) - 1
VOCABULARY = Vocabulary(PIECES, {END})
SCHEMAS = (
    {"enum": ["red", "green", {"a": [1, None]}]},
    {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}, "required": ["city"]},
    {"type": "array", "items": {"type": "boolean"}, "minItems": 2, "maxItems": 4},
)
TRIP = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


@pytest.fixture(scope="module")
def network():
    """A random bidirectional encoder with a head for masks."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = BertConfig(
            vocab_size=len(PIECES), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
            max_position_embeddings=128, initializer_range=0.5,
        )  # fmt: skip
        model = AutoModelForMaskedLM.from_config(config).eval()
    return lambda ids: model(input_ids=ids).logits


class Knower:
    """A network that is 90 % sure of every token of its answer, from the start."""

    def __init__(self, text, *, prompt_length):
        automaton = compile_schema(TRIP, VOCABULARY, is_strict=True)
        self.answer = [*automaton.constraint.find_tokens(text.encode()), END]
        self.prompt_length = prompt_length

    def __call__(self, ids):
        probs = torch.full((1, ids.shape[1], len(PIECES)), 0.1 / (len(PIECES) - 1))
        for i in range(self.prompt_length, ids.shape[1]):
            at = i - self.prompt_length
            probs[0, i, self.answer[at] if at < len(self.answer) else END] = 0.9
        return probs.log()


@pytest.mark.slow
@pytest.mark.parametrize("schema", SCHEMAS, ids=str)
@pytest.mark.parametrize("seed", range(3))
def test_noise_becomes_a_valid_value(network, schema, seed):
    """Whatever a random network says, the output is valid, and never holds the mask token."""
    automaton = compile_schema(schema, VOCABULARY, is_strict=True)
    config = MaskedConfig(mask_id=MASK, canvas_length=32, max_denoising_steps=12, entropy_bound=2.0)
    generator = torch.Generator().manual_seed(seed)
    found = decode_masked(network, automaton.constraint, [1, 2], config, max_new_tokens=32, generator=generator)
    jsonschema.validate(json.loads(automaton.text_of(found.token_ids)), schema)
    assert MASK not in found.token_ids
    assert found.num_revealed == sorted(found.num_revealed)
    assert len(found.log_partitions) == len(found.num_revealed)


@pytest.mark.slow
def test_a_value_goes_on_over_canvases_and_closes_in_time(network):
    """Six canvases of 8 hold one valid value of at most 48 tokens; the state is carried from each to the next."""
    schema = {"type": "array", "items": {"type": "string", "minLength": 12}, "minItems": 2}
    automaton = compile_schema(schema, VOCABULARY)
    config = MaskedConfig(mask_id=MASK, canvas_length=8, max_denoising_steps=4)
    for seed in range(3):
        generator = torch.Generator().manual_seed(seed)
        found = decode_masked(network, automaton.constraint, [3], config, max_new_tokens=48, generator=generator)
        assert automaton.constraint.accepts(found.token_ids)
        assert 1 < found.num_canvases <= 6
        assert len(found.token_ids) <= 48
        jsonschema.validate(json.loads(automaton.text_of(found.token_ids)), schema)


@pytest.mark.parametrize("canvas_length", [32, 6])
def test_filled_strings_stay_filled(canvas_length):
    """A network that knows the answer gets it back, not the shortest string, on one canvas and on several."""
    text = '{"city":"Paris to Rome"}'
    automaton = compile_schema(TRIP, VOCABULARY, is_strict=True)
    config = MaskedConfig(mask_id=MASK, canvas_length=canvas_length, temperature=0.7)
    found = decode_masked(
        Knower(text, prompt_length=2), automaton.constraint, [5, 6], config, max_new_tokens=32,
        generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    assert automaton.text_of(found.token_ids) == text


def test_what_the_schema_decides_is_revealed_in_the_first_step():
    """Literals whose place is known cost no step of their own: they are there after the first."""
    automaton = compile_schema({"const": {"city": "Paris"}}, VOCABULARY)
    config = MaskedConfig(mask_id=MASK, canvas_length=16)
    found = decode_masked(
        lambda ids: torch.zeros(1, ids.shape[1], len(PIECES)), automaton.constraint, [], config, max_new_tokens=16
    )
    assert len(found.num_revealed) == 1
    assert automaton.text_of(found.token_ids) == '{"city":"Paris"}'


def test_misuse_is_named():
    """A mask token that is text and a budget that is too small are errors before the first step."""
    automaton = compile_schema(TRIP, VOCABULARY, is_strict=True)
    with pytest.raises(ConfigurationError, match="mask_id=3"):
        decode_masked(torch.zeros_like, automaton.constraint, [], MaskedConfig(mask_id=3), max_new_tokens=9)
    with pytest.raises(SchemaBudgetError):
        decode_masked(torch.zeros_like, automaton.constraint, [], MaskedConfig(mask_id=MASK), max_new_tokens=3)
