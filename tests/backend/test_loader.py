"""Checkpoints are read as they are, and what cannot be read says what to do."""

import json
import shutil
import time

import pytest
import torch

from agentflow.backend.diffusion import loader
from agentflow.backend.diffusion.denoiser import Denoiser
from agentflow.backend.diffusion.dense import DenseDenoiser
from agentflow.backend.diffusion.loader import Profile, find_checkpoint, load_checkpoint
from agentflow.backend.diffusion.untrained import save_untrained_checkpoint
from agentflow.errors import ConfigurationError, MissingDependencyError, ModelNotFoundError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A checkpoint of the released shape: experts, both kinds of layers, a vision tower; random weights."""
    return save_untrained_checkpoint(tmp_path_factory.mktemp("released-shape"))


@pytest.mark.slow
def test_a_saved_checkpoint_comes_back_with_its_weights_and_settings(folder):
    """Weights, end tokens, vocabulary, canvas and vision tower survive the way through the folder."""
    checkpoint = load_checkpoint(folder)
    again = load_checkpoint(str(folder))

    model = checkpoint.denoiser.model
    assert model.config.text_config.num_experts == 4
    assert set(model.config.text_config.layer_types) == {"sliding_attention", "full_attention"}
    assert model.model.encoder.vision_tower is not None
    assert checkpoint.denoiser.canvas_length == 32
    assert checkpoint.denoiser.dtype == torch.float32
    assert {checkpoint.tokenizer.convert_ids_to_tokens(i) for i in checkpoint.end_ids} == {
        "<eos>",
        "<turn|>",
        "<|tool_response>",
    }
    assert checkpoint.sampler_config.max_denoising_steps == 48
    for old, new in zip(model.parameters(), again.denoiser.model.parameters(), strict=True):
        assert torch.equal(old, new)


@pytest.mark.slow
def test_a_dense_checkpoint_runs_through_our_own_pass(tmp_path):
    """A network without experts, the embedded model's kind, loads without a warning and takes the fast pass."""
    checkpoint = load_checkpoint(save_untrained_checkpoint(tmp_path / "dense", num_experts=0))

    assert isinstance(checkpoint.denoiser, DenseDenoiser)


@pytest.mark.slow
def test_dtype_is_a_choice(folder):
    """A dtype that is asked for is the dtype of the weights."""
    assert load_checkpoint(folder, dtype="bfloat16").denoiser.dtype == torch.bfloat16


@pytest.mark.slow
def test_a_dense_checkpoint_in_bfloat16_keeps_our_own_pass(tmp_path):
    """Its products are rounded, its weights are not, and it is not handed to the slow pass."""
    denoiser = load_checkpoint(save_untrained_checkpoint(tmp_path / "dense", num_experts=0), dtype="bfloat16").denoiser

    assert isinstance(denoiser, DenseDenoiser)
    assert denoiser.dtype == torch.float32
    hidden = torch.randn(3, denoiser.hidden_size, generator=torch.Generator().manual_seed(0))
    assert not torch.equal(denoiser.logits(hidden), Denoiser.logits(denoiser, hidden))


def test_a_dense_checkpoint_that_our_own_pass_cannot_run_is_loaded_as_asked(tmp_path):
    """With biases, which our pass does not know, a checkpoint in bfloat16 is one throughout."""
    folder = save_untrained_checkpoint(tmp_path / "biased", num_experts=0, attention_bias=True)
    denoiser = load_checkpoint(folder, dtype="bfloat16").denoiser
    assert not isinstance(denoiser, DenseDenoiser)
    assert denoiser.dtype == torch.bfloat16


def test_generation_config_and_profile_set_the_defaults(folder, tmp_path):
    """What `generation_config.json` and `agentflow.json` say is what a request gets that says nothing."""
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    generation = json.loads((tmp_path / "generation_config.json").read_text())
    generation |= {"max_denoising_steps": 9, "t_max": 0.6, "sampler_config": _sampler(0.3), "max_new_tokens": 77}
    (tmp_path / "generation_config.json").write_text(json.dumps(generation))
    (tmp_path / "agentflow.json").write_text('{"grounded": true, "canvas_length": 24}')

    checkpoint = load_checkpoint(tmp_path)

    assert checkpoint.sampler_config.max_denoising_steps == 9
    assert checkpoint.sampler_config.t_max == 0.6
    assert checkpoint.sampler_config.t_min == 0.4
    assert checkpoint.sampler_config.entropy_bound == 0.3
    assert checkpoint.max_new_tokens == 77
    assert checkpoint.denoiser.canvas_length == 24
    assert checkpoint.profile == Profile(grounded=True, canvas_length=24)


def _sampler(entropy_bound):
    return {"entropy_bound": entropy_bound, "_cls_name": "EntropyBoundSamplerConfig"}


@pytest.mark.parametrize("name", ["nonsense", "a/b/c", "/no/such/folder"])
def test_an_unknown_name_names_what_would_do(name):
    """The error says which kinds of names there are."""
    with pytest.raises(ModelNotFoundError, match="no model") as caught:
        load_checkpoint(name)
    assert "embedded" in caught.value.hint


def test_a_hub_name_without_network_fails_at_once(monkeypatch, tmp_path):
    """Offline and with an empty cache the error comes within a second and tells how to fetch the weights."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    started = time.perf_counter()

    with pytest.raises(ModelNotFoundError, match="not in the local cache") as caught:
        find_checkpoint("google/diffusiongemma-26B-A4B-it")

    assert time.perf_counter() - started < 1
    assert "hf download google/diffusiongemma-26B-A4B-it" in caught.value.hint


@pytest.mark.slow
def test_a_hub_that_cannot_be_reached_is_asked_once(monkeypatch, tmp_path):
    """A host that refuses connections gives the same advice, without minutes of retries."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    started = time.perf_counter()

    with pytest.raises(ModelNotFoundError, match="cannot be reached"):
        find_checkpoint("some-owner/some-model")

    assert time.perf_counter() - started < 10


def test_a_folder_of_another_model_is_refused(folder, tmp_path):
    """The error names the type that was found and the one that is needed."""
    (tmp_path / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')

    with pytest.raises(ConfigurationError, match="'llama', needed is 'diffusion_gemma'"):
        load_checkpoint(tmp_path)


def test_a_folder_without_all_its_weights_is_refused(tmp_path):
    """A sharded checkpoint of which a shard is missing is not loaded in part."""
    (tmp_path / "config.json").write_text('{"model_type": "diffusion_gemma"}')
    (tmp_path / "one.safetensors").write_bytes(b"")
    index = {"weight_map": {"a": "one.safetensors", "b": "two.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))

    with pytest.raises(ModelNotFoundError, match="holds no"):
        load_checkpoint(tmp_path)


def test_an_unknown_profile_field_is_refused(tmp_path):
    """A misspelt field of `agentflow.json` is an error, not ignored."""
    (tmp_path / "agentflow.json").write_text('{"groundet": true}')

    with pytest.raises(ConfigurationError, match="groundet"):
        Profile.read(tmp_path)


@pytest.mark.parametrize(
    "options", [{"device": "nowhere"}, {"dtype": "int3"}, {"device": "cuda:99"}], ids=["device", "dtype", "cuda"]
)
def test_impossible_devices_and_dtypes_are_refused(folder, options):
    """The error names the value."""
    with pytest.raises(ConfigurationError, match=str(next(iter(options.values())))):
        load_checkpoint(folder, **options)


def test_a_quantisation_that_is_not_installed_is_named(folder, tmp_path):
    """The message names the method and the package, before any weight is read."""
    quantised = tmp_path / "quantised"
    shutil.copytree(folder, quantised)
    config = json.loads((quantised / "config.json").read_text(encoding="utf-8"))
    config["quantization_config"] = {"quant_method": "gptq", "bits": 4}
    (quantised / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(MissingDependencyError, match="gptq"):
        load_checkpoint(quantised)


def test_spreading_over_devices_needs_accelerate(folder, monkeypatch):
    """Without accelerate, device "auto" says what to install; nothing falls back in silence."""
    monkeypatch.setattr(loader, "find_spec", lambda name: None if name == "accelerate" else object())
    with pytest.raises(MissingDependencyError, match="accelerate"):
        load_checkpoint(folder, device="auto")


@pytest.mark.parametrize(
    ("device", "num_experts", "reason"), [("auto", 4, "spread over devices"), (None, 0, "without experts")], ids=str
)
def test_what_cannot_be_compiled_is_refused(tmp_path, device, num_experts, reason):
    """The error says why, and what to leave out."""
    folder = save_untrained_checkpoint(tmp_path, num_experts=num_experts)
    with pytest.raises(ConfigurationError, match=reason) as refusal:
        load_checkpoint(folder, device=device, is_compiled=True)
    assert "is_compiled" in str(refusal.value.hint)
