"""transformers' own `generate`, held to a schema by a logits processor."""

import json

import jsonschema
import pytest
import torch
from transformers import LogitsProcessorList

from agentflow.backend.diffusion.untrained import END_TOKENS, build_config, build_model, build_tokenizer
from agentflow.constraint import SchemaLogitsProcessor, Vocabulary, compile_schema
from agentflow.errors import ConfigurationError, SchemaBudgetError

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script_method:DeprecationWarning")  # torch's own imports

SCHEMAS = (
    {"enum": ["red", "green", {"a": [1, None]}]},
    {"type": "object", "properties": {"n": {"type": "integer"}, "is": {"type": "boolean"}}, "required": ["n"]},
    {"type": "array", "items": {"type": "string", "maxLength": 3}, "minItems": 1, "maxItems": 3},
)


@pytest.fixture(scope="module")
def tokenizer():
    """A byte-level tokenizer with the control tokens."""
    return build_tokenizer()


@pytest.fixture(scope="module")
def vocabulary(tokenizer):
    """The tokens of the model, which ends on any of its end tokens."""
    return Vocabulary.from_tokenizer(tokenizer, end_ids=tokenizer.convert_tokens_to_ids(list(END_TOKENS)))


@pytest.fixture(scope="module")
def model(vocabulary):
    """A small random network of the released shape."""
    return build_model(build_config(vocab_size=len(vocabulary), canvas_length=24), scale=4.0)


def run(model, vocabulary, processor, *, num_rows=1, max_new_tokens=48, **options):
    """Generate with the processor; seeds are fixed."""
    torch.manual_seed(0)
    prompt = torch.randint(30, 200, (num_rows, 9), generator=torch.Generator().manual_seed(1))
    output = model.generate(
        prompt,
        max_new_tokens=max_new_tokens,
        logits_processor=LogitsProcessorList([processor]),
        eos_token_id=sorted(vocabulary.end_ids),
        pad_token_id=0,
        **options,
    )
    return output.sequences[:, prompt.shape[1] :]


@pytest.mark.slow
@pytest.mark.parametrize("schema", SCHEMAS, ids=str)
@pytest.mark.parametrize("num_steps", [1, 6])
def test_what_generate_returns_is_valid_and_known_to_the_processor(model, vocabulary, schema, num_steps):
    """Over noise, generate's own tokens are a valid value, and the processor's text is the same value."""
    automaton = compile_schema(schema, vocabulary, is_strict=True)
    processor = SchemaLogitsProcessor(automaton, max_new_tokens=48, max_denoising_steps=num_steps)
    sequences = run(model, vocabulary, processor, max_denoising_steps=num_steps)
    ids = automaton.trim(sequences[0].tolist())
    assert automaton.constraint.accepts(ids)
    assert processor.token_ids == [ids]
    jsonschema.validate(json.loads(processor.texts[0]), schema)
    assert len(processor.log_partitions) >= num_steps


@pytest.mark.slow
def test_rows_with_their_own_schemas_share_a_call(model, vocabulary):
    """A batch gives every row a value of its own schema, over several canvases."""
    automata = [compile_schema(schema, vocabulary, is_strict=True) for schema in SCHEMAS]
    processor = SchemaLogitsProcessor.from_generation_config(
        automata, model.generation_config, max_new_tokens=72, max_denoising_steps=3
    )
    sequences = run(model, vocabulary, processor, num_rows=3, max_new_tokens=72, max_denoising_steps=3)
    for automaton, row, ids, text, schema in zip(
        automata, sequences.tolist(), processor.token_ids, processor.texts, SCHEMAS, strict=True
    ):
        assert automaton.trim(row) == ids
        assert automaton.constraint.accepts(ids)
        jsonschema.validate(json.loads(text), schema)


def test_accepted_positions_are_certain_and_the_argmax_is_always_a_string(vocabulary):
    """What generate accepts comes from one string, and so does its argmax canvas in every step."""
    automaton = compile_schema(SCHEMAS[1], vocabulary, is_strict=True)
    processor = SchemaLogitsProcessor(automaton, max_new_tokens=24, max_denoising_steps=8)
    generator = torch.Generator().manual_seed(3)
    for step in range(8, 0, -1):
        logits = 3.0 * torch.randn(1, 24, len(vocabulary), generator=generator)
        temperature = 0.4 + 0.4 * step / 8
        shaped = processor(torch.zeros(1, 5, dtype=torch.long), logits, cur_step=torch.tensor(step)) / temperature
        canvas = shaped.argmax(-1)[0].tolist()
        assert automaton.constraint.accepts(automaton.trim(canvas))
        entropies = torch.distributions.Categorical(logits=shaped).entropy()[0]
        ordered, order = entropies.sort()
        accepted = order[ordered.cumsum(0) - ordered <= 0.1]
        probs = shaped.softmax(-1)[0]
        assert (entropies[accepted[:-1]] < 1e-4).all()
        assert probs[accepted, torch.tensor(canvas)[accepted]].min() > 0.9
        if step == 1:
            assert (entropies < 1e-4).all()


def test_a_model_that_is_sure_stops_early_with_its_own_answer(vocabulary):
    """Once confident, all positions are certain for as many steps as the stopping rule asks for."""
    automaton = compile_schema(SCHEMAS[1], vocabulary, is_strict=True)
    answer = automaton.constraint.find_tokens(b'{"n":42,"is":true}')
    answer = [*answer, min(vocabulary.end_ids)]
    logits = torch.zeros(1, 24, len(vocabulary))
    for i in range(24):
        logits[0, i, answer[i] if i < len(answer) else 0] = 30.0
    processor = SchemaLogitsProcessor(automaton, max_new_tokens=24)
    for step in (48, 47):
        shaped = processor(torch.zeros(1, 5, dtype=torch.long), logits, cur_step=step)
        assert torch.distributions.Categorical(logits=shaped).entropy().mean() < 0.005
        assert shaped.argmax(-1)[0, : len(answer)].tolist() == answer
    assert processor.texts == ['{"n":42,"is":true}']


def test_misuse_is_named(vocabulary):
    """A second generate, a wrong number of rows and too small a budget are errors with a cure."""
    automaton = compile_schema(SCHEMAS[0], vocabulary)
    processor = SchemaLogitsProcessor(automaton, max_new_tokens=24, max_denoising_steps=2)
    logits = torch.zeros(1, 24, len(vocabulary))
    processor(torch.zeros(1, 5, dtype=torch.long), logits, cur_step=2)
    with pytest.raises(ConfigurationError, match="followed 5 tokens") as caught:
        processor(torch.zeros(1, 9, dtype=torch.long), logits, cur_step=2)
    assert "new processor" in caught.value.hint
    with pytest.raises(ConfigurationError, match="1 rows need as many automata"):
        SchemaLogitsProcessor([automaton] * 2)(torch.zeros(1, 5, dtype=torch.long), logits, cur_step=2)
    with pytest.raises(SchemaBudgetError):
        SchemaLogitsProcessor(automaton, max_new_tokens=3)(torch.zeros(1, 5, dtype=torch.long), logits[:, :3], 2)
