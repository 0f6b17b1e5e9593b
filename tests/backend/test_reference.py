"""Without a constraint, a row is transformers' `generate`, token for token."""

import pytest
import torch
from transformers.models.diffusion_gemma.generation_diffusion_gemma import EntropyBoundSamplerConfig

from agentflow.backend.diffusion.denoiser import Denoiser
from agentflow.backend.diffusion.untrained import build_config, build_model

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script_method:DeprecationWarning")  # torch's own imports

SETTINGS = {
    "all steps": {},
    "cool and greedy": {"t_min": 0.05, "t_max": 0.3, "entropy_bound": 4.0},
    "stops when stable": {"t_min": 0.05, "t_max": 0.2, "entropy_bound": 8.0, "confidence_threshold": 9.0},
    "stops at once": {"stability_threshold": 0, "confidence_threshold": 9.0},
    "stable for two steps": {"t_min": 0.01, "t_max": 0.02, "stability_threshold": 2, "confidence_threshold": 9.0},
}


def generate_reference(model, row):
    """The new tokens of transformers' own loop up to the end token, and its decoder passes."""
    torch.manual_seed(row.generator.initial_seed())
    config = row.config
    output = model.generate(
        torch.tensor([row.prompt_ids]),
        max_new_tokens=row.max_new_tokens,
        max_denoising_steps=config.max_denoising_steps,
        t_min=config.t_min,
        t_max=config.t_max,
        sampler_config=EntropyBoundSamplerConfig(entropy_bound=config.entropy_bound),
        stability_threshold=config.stability_threshold,
        confidence_threshold=config.confidence_threshold,
        eos_token_id=sorted(row.end_ids),
    )
    tokens = output.sequences[0, len(row.prompt_ids) :].tolist()
    num_steps = round(len(tokens) / output.tokens_per_forward.item())
    ends = [i for i, token in enumerate(tokens) if token in row.end_ids]
    return tokens[: ends[0] + 1] if ends else tokens, num_steps


@pytest.mark.slow
@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS.keys())
@pytest.mark.parametrize("seed", range(4))
def test_equal_seeds_give_the_tokens_and_steps_of_transformers_generate(denoiser, make_row, run_rows, settings, seed):
    """Over several canvases and past the sliding window, tokens and the number of steps agree."""
    row = make_row(seed, num_prompt_tokens=6 + 15 * seed, **settings)
    expected, num_steps = generate_reference(denoiser.model, row)

    (tokens,) = run_rows(denoiser, [row])

    assert tokens == expected
    assert row.counts.denoising_steps == num_steps


@pytest.mark.slow
def test_a_dense_network_agrees_too(make_row, run_rows):
    """Without experts, as the embedded model has it, tokens agree as well."""
    dense = Denoiser(build_model(build_config(vocab_size=96, canvas_length=16, num_experts=0), scale=4.0))
    row = make_row(11, t_min=0.05, t_max=0.3, entropy_bound=4.0)
    expected, _ = generate_reference(dense.model, row)

    assert run_rows(dense, [row]) == [expected]


@pytest.mark.slow
def test_the_cases_above_reach_every_way_to_stop(denoiser, make_row):
    """The settings are no idle variation: they end early, late and at an end token."""
    steps, lengths = set(), set()
    for settings in SETTINGS.values():
        for seed in range(4):
            tokens, num_steps = generate_reference(
                denoiser.model, make_row(seed, num_prompt_tokens=6 + 15 * seed, **settings)
            )
            steps.add(num_steps)
            lengths.add(len(tokens))

    assert min(steps) <= 3
    assert max(steps) == 30
    assert len(steps) > 5
    assert max(lengths) == 48
    assert min(lengths) < 48
