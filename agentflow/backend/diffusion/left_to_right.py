"""Writing a turn token by token, one pass a token: what diffusion is measured against, in the same engine.

A `TokenWriter` stands where a checked row has its `DraftCheck`, so left-to-right turns have the engine's batching,
prefix reuse, order and cancellation, and the same pass.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Generator, Tensor

from agentflow.backend.diffusion.denoiser import Context
from agentflow.backend.diffusion.segment import Prediction, Segment
from agentflow.backend.masks import TokenMask


@dataclass(kw_only=True)
class TokenWriter:
    """A turn that is written from left to right; see `agentflow.backend.diffusion.check.DraftCheck` for the fields.

    Attributes:
        context: What the encoder has read.
        unread: What it has not: at first the prompt, then the last token.
        mask: Which tokens may come, or ``None``.
        num_tokens_left: Tokens that the turn may still take.
        end_ids: Tokens that end a turn.
        temperature: 0 takes the best token.
        generator: Source of draws.
    """

    context: Context
    unread: list[int]
    mask: TokenMask | None
    num_tokens_left: int
    end_ids: frozenset[int]
    temperature: float
    generator: Generator
    tokens: list[int] = field(default_factory=list)
    canvas: Tensor | None = None
    num_steps: int = 0
    num_checks: int = 0
    num_steps_of_canvas: int = 0
    constraint_time_s: float = 0.0
    is_prompt_read: bool = False
    _num_asked: int = 0

    @property
    def is_ended(self) -> bool:
        """Whether the turn has ended, by its end token or its budget."""
        return self.num_tokens_left == 0 or (bool(self.tokens) and self.tokens[-1] in self.end_ids)

    @property
    def is_complete(self) -> bool:
        """Whether the tokens can be committed: when the turn has ended."""
        return self.is_ended

    def wants(self, *, max_tokens: int, make_noise: Callable[[], Tensor]) -> Segment:
        """Read the last token, or some of the prompt; there is no canvas."""
        del make_noise
        self._num_asked = min(len(self.unread), max(max_tokens, 1))
        is_last = self._num_asked == len(self.unread)
        return Segment(self.context, self.unread[: self._num_asked], num_unwanted=self._num_asked - is_last)

    def take(self, prediction: Prediction) -> None:
        """Choose the next token when everything before it is read."""
        self.unread = self.unread[self._num_asked :]
        if self.unread:
            return
        self.is_prompt_read = True
        token = self._choose(prediction.read[-1])
        self.tokens.append(token)
        self.unread = [token]
        self.num_tokens_left -= 1
        self.num_checks += 1

    def _choose(self, logits: Tensor) -> int:
        if self.mask is None:
            return self._draw(logits)
        started_s = time.thread_time()
        is_allowed = self.mask.allowed().to(logits.device)  # (V,)
        self.constraint_time_s += time.thread_time() - started_s
        token = self._draw(logits.masked_fill(~is_allowed, -torch.inf))
        started_s = time.thread_time()
        self.mask.advance(token)
        self.constraint_time_s += time.thread_time() - started_s
        return token

    def _draw(self, logits: Tensor) -> int:
        if self.temperature > 0:
            probs = torch.softmax(logits / self.temperature, dim=-1)  # (V,)
            return int(torch.multinomial(probs, 1, generator=self.generator))
        return int(logits.argmax())
