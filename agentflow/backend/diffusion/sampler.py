"""The mathematics of one denoising step: temperature, entropies, acceptance, renoising.

Pure functions over rows; those that draw take one generator per row, so what a row draws never depends on its
neighbours. Shapes: ``B`` rows, ``L`` canvas length, ``V`` vocabulary.

Sources: entropy-bounded acceptance, arXiv 2505.24857; the schedule and the order of draws, transformers'
`generation_diffusion_gemma.py`, which a row without a constraint reproduces token for token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor

from agentflow.errors import ConfigurationError
from agentflow.types import GenerationSettings


@dataclass(frozen=True, kw_only=True)
class SamplerConfig:
    """How a canvas is denoised. The defaults are the reference's.

    Attributes:
        max_denoising_steps: Most steps of a canvas.
        t_min: Temperature that the schedule falls to.
        t_max: Temperature that it starts from.
        entropy_bound: Entropy in nats up to which positions are accepted in one step.
        stability_threshold: Steps for which the best canvas must stay the same before it may stop.
        confidence_threshold: Mean entropy in nats below which a stable canvas stops.
        is_checked: Whether the causal encoder checks every draft; see `agentflow.backend.diffusion.check`.
    """

    max_denoising_steps: int = 48
    t_min: float = 0.4
    t_max: float = 0.8
    entropy_bound: float = 0.1
    stability_threshold: int = 1
    confidence_threshold: float = 0.005
    is_checked: bool = False

    def __post_init__(self) -> None:
        """Check the schedule.

        Raises:
            ConfigurationError: If it does not cool down to a positive temperature.
        """
        if not 0 < self.t_min <= self.t_max:
            raise ConfigurationError(
                f"t_min={self.t_min} and t_max={self.t_max} are no schedule: it needs 0 < t_min <= t_max"
            )

    @classmethod
    def from_generation_config(cls, config: Any) -> SamplerConfig:
        """Read the fields that a checkpoint's `DiffusionGemmaGenerationConfig` sets; the rest keep their defaults."""
        values = {field.name: getattr(config, field.name, None) for field in fields(cls)}
        sampler_config = getattr(config, "sampler_config", None)
        values["entropy_bound"] = getattr(sampler_config, "entropy_bound", None)
        return cls(**{name: value for name, value in values.items() if value is not None})

    def override(self, settings: GenerationSettings) -> SamplerConfig:
        """The same configuration with everything that `settings` decides.

        Raises:
            ConfigurationError: If the schedule that results does not cool down to a positive temperature.
        """
        values = {
            field.name: getattr(self, field.name)
            if getattr(settings, field.name) is None
            else getattr(settings, field.name)
            for field in fields(self)
        }
        return SamplerConfig(**values)


def temperatures(configs: Sequence[SamplerConfig], steps_left: Sequence[int], *, device: torch.device) -> Tensor:
    """The temperature of each row: linear from `t_max` at the first step down towards `t_min`.

    Args:
        configs: One per row.
        steps_left: Steps left in each row, the one to come included.
        device: Where the result is needed.

    Returns:
        Temperatures, ``(B,)`` float32; computed in float32 because the reference does.
    """
    t_min = torch.tensor([config.t_min for config in configs])  # (B,)
    span = torch.tensor([config.t_max - config.t_min for config in configs])  # (B,)
    num_steps = torch.tensor([config.max_denoising_steps for config in configs])  # (B,)
    return (t_min + span * (torch.tensor(list(steps_left)) / num_steps)).to(device)  # (B,)


class Reading(NamedTuple):
    """What one step's logits say of each position by itself.

    Attributes:
        probs: ``(B, L, V)`` float32, the one tensor of that size that is made.
        log_total: Log of the sum of the exponentials, ``(B, L)`` float32: ``logits - log_total`` are log-probabilities.
        entropies: In nats, ``(B, L)`` float32.
        argmax: ``(B, L)`` int64.
    """

    probs: Tensor
    log_total: Tensor
    entropies: Tensor
    argmax: Tensor


def read_logits(logits: Tensor) -> Reading:
    """Read tempered logits with one tensor of their size beside them.

    The softmax knows the logarithm of its own sum: at the most probable token, it is the logit less the log of the
    probability. The entropy is that logarithm less the expected logit. On a CUDA device
    `agentflow.constraint.device_trellis.read_logits` does the same, and a draw, in one pass without the tensor.

    Args:
        logits: ``(B, L, V)`` float32, finite.
    """
    probs = torch.softmax(logits, dim=-1)  # (B, L, V)
    argmax = logits.argmax(dim=-1)  # (B, L)
    at = argmax[..., None]  # (B, L, 1)
    log_total = (logits.gather(-1, at) - probs.gather(-1, at).log())[..., 0]  # (B, L)
    expected = torch.linalg.vecdot(probs, logits)  # (B, L)
    return Reading(probs, log_total, (log_total - expected).clamp_min(0.0), argmax)


def accept_by_entropy(entropies: Tensor, bounds: Tensor) -> Tensor:
    """Choose the positions to keep: the surest ones, while the entropy of those before stays within the bound.

    The sum over the accepted positions, less the largest, bounds their mutual information, so they may be drawn
    as if they were independent (arXiv 2505.24857). Positions of infinite entropy are never chosen.

    Args:
        entropies: In nats, ``(B, L)`` float32.
        bounds: In nats, ``(B,)`` float32.

    Returns:
        Which positions are accepted, ``(B, L)`` bool.
    """
    ordered, order = torch.sort(entropies, dim=-1)  # (B, L)
    is_within = torch.cumsum(ordered, dim=-1) - ordered <= bounds[:, None]  # (B, L); inf - inf is nan, never within
    return torch.zeros_like(is_within).scatter(-1, order, is_within)  # (B, L)


def make_generator(seed: int | None, *, device: torch.device) -> Generator:
    """Make a source of randomness; ``None`` seeds it from the system."""
    generator = torch.Generator(device=device)
    if seed is None:
        generator.seed()
    else:
        generator.manual_seed(seed)
    return generator


def draw_noise(num_tokens: int, *, vocab_size: int, generators: Sequence[Generator], device: torch.device) -> Tensor:
    """Uniform tokens for every row, ``(B, num_tokens)`` int64."""
    rows = [torch.randint(vocab_size, (1, num_tokens), generator=g, device=device) for g in generators]
    return torch.cat(rows)  # (B, num_tokens)


def draw_tokens(probs: Tensor, generators: Sequence[Generator]) -> Tensor:
    """One token per position, each position by itself.

    Args:
        probs: ``(B, L, V)`` float32.
        generators: One per row.

    Returns:
        Token ids, ``(B, L)`` int64.
    """
    rows = [torch.multinomial(row, 1, generator=g).T for row, g in zip(probs, generators, strict=True)]
    return torch.cat(rows)  # (B, L)
