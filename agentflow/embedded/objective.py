"""What training minimises: the published block-diffusion loss and a next-token loss on the encoder.

Each canvas is spoilt by replacing tokens with uniform random ones; the decoder says the clean canvas.
Half of the steps see their own first guess through self-conditioning. Beside the published noise, some
canvases get the noise that a constrained decoder meets: clean structure around noisy slots, or a clean
left part.

    uniform     <|tool_call> 17 : weekday 903 date : 1288 2 0 51 6 ...     every token with probability t
    structured  <|tool_call> call : weekday { date : <|"|> 77 1501 ...     only slots, names and the tail
    prefix      <|tool_call> call : weekday { date : 310 88 1900 4 ...     everything from a place on
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from agentflow.embedded.batches import NAME, SLOT, STRUCTURE, TAIL, Batch
from agentflow.embedded.network import Network


@dataclass(frozen=True, kw_only=True)
class Objective:
    """Shares and weights of the losses.

    Attributes:
        structured_share: Share of canvases with clean structure.
        clean_name_share: Share of those in which the tools' names are clean too.
        prefix_share: Share of canvases with a clean left part.
        blank_share: Share of canvases that are all noise, as in the first denoising step.
        structure_weight: Weight of forced tokens.
        tail_weight: Weight of tokens behind the end token.
        next_token_weight: Weight of the next-token loss beside the diffusion loss.
        conditioning_share: Share of steps with a first guess.
    """

    structured_share: float = 0.25
    clean_name_share: float = 0.7
    prefix_share: float = 0.4
    blank_share: float = 0.1
    structure_weight: float = 0.3
    tail_weight: float = 0.05
    next_token_weight: float = 0.5
    conditioning_share: float = 0.5


class Losses(NamedTuple):
    """Losses of a batch, and the share of right guesses.

    Attributes:
        total: What is minimised.
        diffusion: Mean loss of the canvases.
        next_token: Mean next-token loss.
        slot_accuracy: Share of noisy slot tokens that the decoder guesses.
        next_slot_accuracy: Share of the model's turn tokens of full weight or more that the encoder guesses.
    """

    total: Tensor
    diffusion: Tensor
    next_token: Tensor
    slot_accuracy: Tensor
    next_slot_accuracy: Tensor


def spoil(batch: Batch, objective: Objective, vocab_size: int, generator: torch.Generator) -> Tensor:
    """Draw noisy canvases `(B, C, L)`."""
    canvases, roles = batch.canvases, batch.roles
    num_rows, num_canvases, length = canvases.shape
    device = canvases.device

    def uniform(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator, device=device)

    level = 0.001 + 0.999 * uniform(num_rows, num_canvases, 1)  # (B, C, 1)
    draw = uniform(num_rows, num_canvases, length)  # (B, C, L)
    mode = uniform(num_rows, num_canvases, 1)
    is_structured = mode < objective.structured_share
    is_prefix = ~is_structured & (mode < objective.structured_share + objective.prefix_share)
    is_blank = mode > 1 - objective.blank_share
    is_noisy = (draw < level) | is_blank  # (B, C, L)
    is_name_clean = uniform(num_rows, num_canvases, 1) < objective.clean_name_share
    is_structure = (roles == STRUCTURE) | ((roles == NAME) & is_name_clean)
    level = level.sqrt()  # slots are the last to settle
    structured = ~is_structure & ((draw < level) | (roles == TAIL))
    is_noisy = torch.where(is_structured, structured, is_noisy)
    cut = (uniform(num_rows, num_canvases, 1) * (roles != TAIL).sum(-1, keepdim=True)).long()
    is_behind = torch.arange(length, device=device) >= cut
    is_noisy = torch.where(is_prefix, is_behind, is_noisy)
    noise = torch.randint(vocab_size, canvases.shape, generator=generator, device=device)
    return torch.where(is_noisy, noise, canvases)


def compute_losses(network: Network, batch: Batch, objective: Objective, generator: torch.Generator) -> Losses:
    """Compute the losses of a batch; gradients flow to the gathered weights."""
    vocab_size = network.weights.embedding.shape[0]
    noisy = spoil(batch, objective, vocab_size, generator)  # (B, C, L)
    hidden, cache = network.encode(batch.ids)
    signal = None
    if torch.rand((), generator=generator, device=batch.ids.device) < objective.conditioning_share:
        with torch.no_grad():
            frozen = [(key.detach(), value.detach()) for key, value in cache]
            signal = network.signal(network.logits(network.denoise(noisy, batch.starts, frozen, None)))
    guessed = network.logits(network.denoise(noisy, batch.starts, cache, signal))  # (B, C * L, V)
    clean, roles = batch.canvases.flatten(1), batch.roles.flatten(1)  # (B, C * L)
    weights = torch.ones_like(roles, dtype=torch.float32)
    weights[roles == STRUCTURE] = objective.structure_weight
    weights[roles == TAIL] = objective.tail_weight
    each = functional.cross_entropy(guessed.flatten(0, 1), clean.flatten(), reduction="none").view_as(weights)
    diffusion = (each * weights).sum() / weights.sum()
    is_noisy_slot = (roles == SLOT) & (noisy.flatten(1) != clean)
    is_right = guessed.argmax(-1) == clean
    next_token, next_slot_accuracy = _next_token_loss(network, hidden, batch)
    return Losses(
        diffusion + objective.next_token_weight * next_token,
        diffusion.detach(),
        next_token.detach(),
        is_right[is_noisy_slot].float().mean(),
        next_slot_accuracy,
    )


def _next_token_loss(network: Network, hidden: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """Give the loss of saying each weighted token from those before it, and the accuracy on chosen ones."""
    is_target = batch.weights[:, 1:] > 0  # (B, T - 1)
    logits = network.logits(hidden[:, :-1][is_target])  # (N, V)
    targets, weights = batch.ids[:, 1:][is_target], batch.weights[:, 1:][is_target]  # (N,)
    each = functional.cross_entropy(logits, targets, reduction="none")
    is_chosen = weights >= 1
    accuracy = (logits.argmax(-1) == targets)[is_chosen].float().mean()
    return (each * weights).sum() / weights.sum(), accuracy
