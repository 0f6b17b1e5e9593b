"""Schema-valid decoding for masked denoisers: LLaDA, Dream, any ``AutoModelForMaskedLM``.

    canvas   [M] [M] [M] [M] [M]     logits -> p, never the mask token
                                     known positions: all mass on what is known
             {   [M] [M] }   [M]     -> posterior q -> ONE joint draw; what q is sure of is revealed and stays
             {   "a" :1  }   end     until everything up to an end token is known

The posterior is the same as for uniform-state models (`agentflow.backend.diffusion.step`); what differs is the canvas:
it starts as mask tokens, and a revealed token is never taken back. Because it came from a joint draw given all that
was known before, what is known always is a piece of a valid string. Several canvases continue each other: the
automaton's state is carried over, and the last one closes in time. The network is a function from token ids to logits.

Shapes: ``L`` positions of a canvas, ``T`` tokens before it, ``V`` vocabulary. Sources: clamping by the constrained
marginals, Dang & Ermon, arXiv 2607.07026; revealing by entropy, arXiv 2505.24857.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from agentflow.backend.diffusion.sampler import accept_by_entropy
from agentflow.constraint import Constraint, Posterior, check_budget, condition
from agentflow.errors import ConfigurationError

Predict = Callable[[Tensor], Tensor]
"""From token ids ``(1, T + L)`` int64 to logits ``(1, T + L, V)``."""


@dataclass(frozen=True, kw_only=True)
class MaskedConfig:
    """How a canvas of masks is filled.

    Attributes:
        mask_id: The model's mask token.
        canvas_length: Positions of a canvas.
        max_denoising_steps: Most steps of a canvas; what is open in the last one becomes the best string.
        temperature: Divides the logits.
        entropy_bound: Entropy in nats up to which positions are revealed in one step; one at least is.
        confidence_threshold: Mean entropy of the open text in nats below which the best string is taken.
    """

    mask_id: int
    canvas_length: int = 64
    max_denoising_steps: int = 64
    temperature: float = 1.0
    entropy_bound: float = 0.1
    confidence_threshold: float = 0.005


@dataclass
class MaskedGeneration:
    """What was decoded.

    Attributes:
        token_ids: The output up to its end token.
        num_canvases: Canvases it took.
        log_partitions: Log-probability in nats that the model gave to the language given what was known, by step.
        num_revealed: Tokens known after each step, over its canvas.
    """

    token_ids: list[int] = field(default_factory=list)
    num_canvases: int = 0
    log_partitions: list[float] = field(default_factory=list)
    num_revealed: list[int] = field(default_factory=list)


@torch.inference_mode()
def decode_masked(
    predict: Predict,
    constraint: Constraint,
    prompt_ids: Sequence[int],
    config: MaskedConfig,
    *,
    max_new_tokens: int,
    generator: torch.Generator | None = None,
) -> MaskedGeneration:
    """Decode one valid output.

    Args:
        predict: The network.
        constraint: What the output must be.
        prompt_ids: Tokens before it.
        config: How canvases are filled.
        max_new_tokens: Most tokens of the output.
        generator: Source of randomness, on the CPU.

    Raises:
        SchemaBudgetError: No valid output is that short.
        ConfigurationError: The mask token is text, or every valid string has probability 0.
    """
    vocabulary = constraint.vocabulary
    if config.mask_id in vocabulary.end_ids or vocabulary.token_bytes[config.mask_id] is not None:
        raise ConfigurationError(
            f"mask_id={config.mask_id} is text or an end token of the vocabulary",
            hint="give the vocabulary None for the bytes of the mask token",
        )
    state = constraint.start_state
    check_budget(constraint, state, max_new_tokens)
    generation = MaskedGeneration()
    while not constraint.is_accepting(state):
        known = [*prompt_ids, *generation.token_ids]
        num_left = max_new_tokens - len(generation.token_ids)
        filling = _Filling(constraint, state, config, min(config.canvas_length, num_left), num_left, generator)
        ids = filling.run(predict, known, generation)
        state = constraint.advance(state, ids)
        generation.token_ids += ids
        generation.num_canvases += 1
    return generation


@dataclass
class _Filling:
    """One canvas on its way from masks to tokens."""

    constraint: Constraint
    state: int
    config: MaskedConfig
    length: int
    num_tokens_left: int
    generator: torch.Generator | None

    def run(self, predict: Predict, known: list[int], generation: MaskedGeneration) -> list[int]:
        """Fill the canvas and give its tokens, up to an end token."""
        canvas = torch.full((self.length,), self.config.mask_id)  # (L,)
        for step in range(self.config.max_denoising_steps, 0, -1):
            logits = predict(torch.tensor([known + canvas.tolist()]))[0, -self.length :]  # (L, V)
            posterior = condition(
                self._clamp(logits, canvas)[None],
                [self.constraint],
                [self.state],
                num_tokens_left=[self.num_tokens_left - self.length],
            ).single()
            generation.log_partitions.append(float(posterior.log_partition))
            canvas = self._reveal(posterior, canvas, is_last=step == 1)
            generation.num_revealed.append(int((canvas != self.config.mask_id).sum()))
            if (done := self._finished(canvas)) is not None:
                return done
        raise AssertionError("the last step reveals everything")

    def _clamp(self, logits: Tensor, canvas: Tensor) -> Tensor:
        """Forget the mask token, and make what is known certain, ``(L, V)`` float32 log-probabilities."""
        logits = logits.detach().float().cpu() / self.config.temperature  # (L, V)
        logits[:, self.config.mask_id] = -torch.inf
        is_known = canvas != self.config.mask_id  # (L,)
        logits[is_known] = -torch.inf
        logits[is_known, canvas[is_known]] = 0.0
        return logits.log_softmax(dim=-1)  # (L, V)

    def _reveal(self, posterior: Posterior, canvas: Tensor, *, is_last: bool) -> Tensor:
        """Take over the tokens of one joint draw where the posterior is sure, ``(L,)``."""
        is_open = canvas == self.config.mask_id  # (L,)
        drawn = posterior.sample(self.generator)  # (L,)
        is_tail = torch.arange(self.length) >= self._num_text(drawn)  # (L,)
        is_text = is_open & ~is_tail  # (L,)
        entropies = posterior.entropies.float()  # (L,)
        if is_last or not is_text.any() or entropies[is_text].mean() < self.config.confidence_threshold:
            return posterior.best()
        bound = torch.tensor([self.config.entropy_bound])  # (1,)
        is_revealed = accept_by_entropy(entropies.masked_fill(~is_text, torch.inf)[None], bound)[0]  # (L,)
        return torch.where(is_revealed, drawn, canvas)  # (L,)

    def _num_text(self, tokens: Tensor) -> int:
        """Tokens up to the first end token, itself included."""
        is_end = torch.isin(tokens, torch.tensor(sorted(self.constraint.vocabulary.end_ids)))  # (L,)
        return int(is_end.nonzero()[0]) + 1 if is_end.any() else len(tokens)

    def _finished(self, canvas: Tensor) -> list[int] | None:
        """Give the tokens once all up to an end token, or all, are known."""
        text = canvas[: self._num_text(canvas)]  # (l,)
        return None if (text == self.config.mask_id).any() else text.tolist()
