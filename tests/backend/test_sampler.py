"""The mathematics of a step, against values worked out by hand."""

import pytest
import torch

from agentflow.backend.diffusion.sampler import (
    SamplerConfig,
    accept_by_entropy,
    draw_noise,
    draw_tokens,
    read_logits,
    temperatures,
)
from agentflow.errors import ConfigurationError
from agentflow.types import GenerationSettings

INF = float("inf")


@pytest.mark.parametrize(
    ("entropies", "bound", "expected"),
    [
        ([0.0, 0.0, 0.0], 0.0, [1, 1, 1]),  # certain positions cost nothing
        ([0.5, 0.0, 0.9], 0.0, [1, 1, 0]),  # the first uncertain one is free: only those before it count
        ([0.5, 0.25, 0.125], 0.125, [0, 1, 1]),  # before them: 0, 0.125, 0.375
        ([0.5, 0.25, 0.125], 0.375, [1, 1, 1]),
        ([9.0, 8.0, 7.0], 0.1, [0, 0, 1]),  # at least one position moves on in every step
        ([INF, 0.2, INF], 9.0, [0, 1, 0]),  # positions out of play are never accepted
        ([INF, INF, INF], 9.0, [0, 0, 0]),
    ],
)
def test_the_surest_positions_are_accepted_up_to_the_bound(entropies, bound, expected):
    """The entropy of the positions that come before one must stay within the bound."""
    accepted = accept_by_entropy(torch.tensor([entropies]), torch.tensor([bound]))

    assert accepted.tolist() == [[bool(flag) for flag in expected]]


def test_rows_are_accepted_by_their_own_bounds():
    """The same entropies under two bounds."""
    accepted = accept_by_entropy(torch.tensor([[0.5, 0.25]] * 2), torch.tensor([0.125, 0.25]))

    assert accepted.tolist() == [[False, True], [True, True]]


def test_the_temperature_falls_in_a_line():
    """It starts at `t_max` and its last value is one step above `t_min`."""
    config = SamplerConfig(max_denoising_steps=4, t_min=0.4, t_max=0.8)

    values = temperatures([config] * 4, [4, 3, 2, 1], device=torch.device("cpu"))

    torch.testing.assert_close(values, torch.tensor([0.8, 0.7, 0.6, 0.5]))


def test_a_row_draws_the_same_beside_any_neighbour():
    """Each row has its own generator, for noise and for tokens."""
    probs = torch.softmax(torch.randn(3, 5, 11, generator=torch.Generator().manual_seed(0)), dim=-1)

    def draw(rows):
        generators = [torch.Generator().manual_seed(seed) for seed in rows]
        noise = draw_noise(5, vocab_size=11, generators=generators, device=torch.device("cpu"))
        return noise, draw_tokens(probs[rows], generators)

    noise, tokens = draw([0, 1, 2])
    for row in range(3):
        alone = draw([row])
        assert torch.equal(noise[row], alone[0][0])
        assert torch.equal(tokens[row], alone[1][0])


def test_tokens_are_drawn_as_often_as_they_are_probable():
    """20,000 draws of a distribution lie within four standard deviations of it."""
    probs = torch.tensor([0.5, 0.3, 0.15, 0.05])
    generator = torch.Generator().manual_seed(1)

    counts = torch.bincount(draw_tokens(probs.expand(1, 20_000, 4), [generator])[0], minlength=4)

    deviation = (counts / 20_000 - probs).abs() / (probs * (1 - probs) / 20_000).sqrt()
    assert deviation.max() < 4


def test_settings_override_only_what_they_decide():
    """`None` leaves the checkpoint's own value."""
    config = SamplerConfig(max_denoising_steps=7, entropy_bound=0.2)

    assert config.override(GenerationSettings()) == config
    assert config.override(GenerationSettings(entropy_bound=0.0, t_max=1.0)) == SamplerConfig(
        max_denoising_steps=7, entropy_bound=0.0, t_max=1.0
    )


def test_a_schedule_that_does_not_cool_down_is_refused():
    """The error names both temperatures, also when only one of them came with the request."""
    with pytest.raises(ConfigurationError, match=r"t_min=0.9 and t_max=0.8"):
        SamplerConfig().override(GenerationSettings(t_min=0.9))
    with pytest.raises(ConfigurationError, match="0 < t_min"):
        SamplerConfig(t_min=0.0)


@pytest.mark.parametrize("scale", [0.1, 4.0, 60.0])
def test_one_reading_tells_what_many_passes_tell(scale):
    """Total, entropy and argmax equal those of the log-softmax to rounding, for flat and for sure positions."""
    logits = scale * torch.randn(2, 5, 700, generator=torch.Generator().manual_seed(0))
    reading = read_logits(logits)
    log_probs = logits.double().log_softmax(-1)
    assert torch.equal(reading.probs, logits.softmax(-1))
    assert torch.equal(reading.argmax, logits.argmax(-1))
    assert torch.allclose(reading.log_total.double(), logits.double().logsumexp(-1), atol=1e-5, rtol=1e-6)
    assert torch.allclose(reading.entropies.double(), -(log_probs.exp() * log_probs).sum(-1), atol=5e-5, rtol=1e-5)
    assert (reading.entropies >= 0).all()
