"""What requests want of a pass, and what they get of it.

Shapes: ``T_new`` tokens that a request reads, ``L`` canvas length, ``H`` hidden size, ``V`` vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from agentflow.backend.diffusion.denoiser import Context


class Segment(NamedTuple):
    """What one request wants of a pass: tokens to read, then a canvas that looks at all that was read; either or both.

    Attributes:
        context: What the request has read; the pass appends `token_ids`.
        token_ids: Tokens to read; may be empty.
        canvas: Token ids of an open canvas, ``(L,)`` int64, or ``None``.
        signal: Its self-conditioning signal, ``(L, H)``; ``None``: zero.
        num_unwanted: Tokens at the beginning of `token_ids` whose predictions nobody needs.
        is_ranked: Whether only the order of a position's predictions counts, so that the cap may be left out.
    """

    context: Context
    token_ids: Sequence[int] = ()
    canvas: Tensor | None = None
    signal: Tensor | None = None
    num_unwanted: int = 0
    is_ranked: bool = False

    @property
    def num_tokens(self) -> int:
        """Tokens that go through the network."""
        return len(self.token_ids) + (0 if self.canvas is None else len(self.canvas))


class Prediction(NamedTuple):
    """What a pass tells one request, logits in float32, or what the cap makes logits of (`Segment.is_ranked`).

    Attributes:
        read: After each token that was read, but for those that nobody needs, ``(T_new - num_unwanted, V)``.
        canvas: At each position of the canvas, ``(L, V)``; ``None`` without one.
    """

    read: Tensor
    canvas: Tensor | None


class Outcome(NamedTuple):
    """What a pass gives one request: final hidden states, the input of `Denoiser.logits`.

    Attributes:
        read: Of the tokens that were read, but for those that nobody needs, ``(T_new - num_unwanted, H)``.
        canvas: Of the canvas, ``(L, H)``; ``None`` without one.
    """

    read: Tensor
    canvas: Tensor | None
