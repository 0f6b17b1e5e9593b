"""Compiled denoising steps compute what transformers' modules compute."""

import pytest
import torch
from torch._dynamo.utils import counters

from agentflow import GenerationSettings, load_model
from agentflow.backend.diffusion import compiled
from agentflow.backend.diffusion.compiled import CompiledDenoiser
from agentflow.backend.diffusion.denoiser import Denoiser
from agentflow.backend.diffusion.untrained import build_config, build_model, save_untrained_checkpoint
from agentflow.errors import ConfigurationError

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own, of its compiler

BATCHES = [(11,), (60,), (9, 9), (60, 60, 60), (5, 60, 17), (23, 24)]


@torch.inference_mode()
def predict_all(denoiser):
    """Logits for `BATCHES` of contexts with one canvas each, with self-conditioning."""
    generator = torch.Generator().manual_seed(0)
    found = []
    for lengths in BATCHES:
        contexts = [denoiser.open_context() for _ in lengths]
        for context, length in zip(contexts, lengths, strict=True):
            denoiser.read_inplace(context, [6 + i % 90 for i in range(length)])
        canvases = torch.randint(96, (len(lengths), 16), generator=generator)
        signals = torch.randn(len(lengths), 16, 32, generator=generator)
        found.append(denoiser.denoise(canvases, signals, denoiser.stack(contexts)))
    return found


@pytest.mark.slow
def test_a_compiled_step_equals_that_of_transformers_and_is_compiled_once():
    """One row, rows of one length and padded rows, within and past the sliding window; nothing is compiled later."""
    model = build_model(build_config(vocab_size=96, canvas_length=16), scale=3.0)
    for i, layer in enumerate(model.model.decoder.layers):
        layer.layer_scalar.fill_(0.7 + 0.1 * i)
    expected = predict_all(Denoiser(model))
    own = CompiledDenoiser(model)

    with torch.compiler.set_stance("fail_on_recompile"):
        found = predict_all(own)

    for one, other in zip(found, expected, strict=True):
        assert other.std() > 0.1
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_a_compiled_model_decodes(tmp_path):
    """What a user gets is a model like any other, and nothing is compiled after it is loaded."""
    schema = {"type": "object", "properties": {"days": {"type": "integer"}}, "required": ["days"]}
    folder = save_untrained_checkpoint(tmp_path, canvas_length=16)
    with load_model(folder, is_compiled=True) as model:
        num_compiled = counters["stats"]["unique_graphs"]
        value = model.decode_sync(schema, "How many days?", settings=GenerationSettings(max_new_tokens=16))
        assert counters["stats"]["unique_graphs"] == num_compiled > 0
    assert isinstance(value["days"], int)


def test_what_the_compiler_says_is_passed_on(monkeypatch):
    """An error of the compiler is one of the options, and says how to do without."""

    def fail(*_arguments):
        raise RuntimeError("\nInvalidCxxCompiler: No working C++ compiler found\nand much more")

    monkeypatch.setattr(compiled.torch, "compile", lambda **_options: lambda _function: fail)
    with pytest.raises(ConfigurationError, match="No working C") as refusal:
        CompiledDenoiser(build_model(build_config(vocab_size=96, canvas_length=16)))
    assert "without is_compiled" in str(refusal.value.hint)


def test_left_to_right_takes_no_steps_to_compile():
    """The options do not go together, and that is said before anything is loaded."""
    with pytest.raises(ConfigurationError, match="is_compiled"):
        load_model("embedded", mode="autoregressive", is_compiled=True)
