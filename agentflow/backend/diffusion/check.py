"""Checking drafts with the causal encoder: the answer of left to right, in fewer forward passes.

Encoder and decoder of a DiffusionGemma share their weights, so the network that drafts a whole canvas at once can
also read a draft from left to right and say, at every position in the same pass, which token it would have written:

    checked   <|tool_call> call : add
    draft                             _note { text : <|"|> Rent <|"|> } ...   the step's best string
    encoder                           _note { text : <|"|> 100                agrees, then says 100 instead
    checked   <|tool_call> call : add _note { text : <|"|> 100                the next draft goes on from here

Every check adds at least one token, so a canvas takes at most as many steps as left-to-right decoding takes passes, and
what is written equals greedy decoding under the same automaton. It pays for checkpoints whose encoder was trained to
predict the next token. Sources: speculative decoding, arXiv 2211.17192; one network as drafter and judge, arXiv
2511.08923.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from agentflow.backend.diffusion.denoiser import Context, Denoiser
from agentflow.constraint import Constraint


@dataclass(kw_only=True)
class DraftCheck:
    """What is certain of an open canvas.

    Attributes:
        context: What the encoder has read: everything before the canvas, and the checked tokens but for `unread`.
        next_logits: Its prediction after all it has read, ``(V,)`` float32; only used while nothing is unread.
        state: State of the automaton after the checked tokens.
        num_tokens_left: Tokens that the turn may still take.
        end_ids: Tokens that end a turn.
        tokens: Checked tokens of the canvas.
        unread: The last of them, which the encoder has not read yet.
    """

    context: Context
    next_logits: Tensor
    state: int
    num_tokens_left: int
    end_ids: frozenset[int]
    tokens: list[int] = field(default_factory=list)
    unread: list[int] = field(default_factory=list)

    @property
    def is_ended(self) -> bool:
        """Whether the turn ends in the checked tokens, by its end token or its budget."""
        return self.num_tokens_left == 0 or (bool(self.tokens) and self.tokens[-1] in self.end_ids)

    def check(self, draft: Sequence[int], constraint: Constraint | None, denoiser: Denoiser) -> None:
        """Take the tokens of a draft that the encoder would have written, and its own where it first disagrees.

        Args:
            draft: What the decoder proposes for the positions after the checked ones, at least one token; nothing
                behind an end token.
            constraint: Automaton of the turn, or ``None``.
            denoiser: The network.
        """
        before = self.context.fork()
        predictions = self._read([*self.unread, *draft], denoiser)  # (T + 1, V)
        for i, token in enumerate(draft):
            chosen = self._choose(predictions[len(self.unread) + i], constraint)
            self._take(chosen, constraint)
            if chosen != token:
                self._go_back(before, [*self.unread, *draft[:i]], chosen)
                return
            if self.is_ended:
                break
        self.unread = []
        self.next_logits = predictions[-1]  # (V,)

    def _go_back(self, before: Context, agreed: list[int], chosen: int) -> None:
        """Forget what was read of the draft after `agreed`; sliding layers that dropped keys can only begin again."""
        if self.context.can_crop:
            self.context.crop_inplace(before.num_tokens + len(agreed))
            self.unread = [chosen]
        else:
            self.context = before
            self.unread = [*agreed, chosen]

    def _read(self, token_ids: list[int], denoiser: Denoiser) -> Tensor:
        """Read tokens; give the prediction before each of them and after the last, ``(T + 1, V)``."""
        hidden = denoiser.read_inplace(self.context, token_ids)  # (1, T, H)
        return torch.cat([self.next_logits[None], denoiser.logits(hidden[0])])  # (T + 1, V)

    def _choose(self, logits: Tensor, constraint: Constraint | None) -> int:
        if constraint is None:
            return int(logits.argmax())
        is_allowed = torch.from_numpy(constraint.allowed(self.state, num_tokens_left=self.num_tokens_left))  # (V,)
        return int(logits.masked_fill(~is_allowed.to(logits.device), -torch.inf).argmax())

    def _take(self, token: int, constraint: Constraint | None) -> None:
        self.tokens.append(token)
        self.num_tokens_left -= 1
        if constraint is not None:
            self.state = constraint.advance(self.state, [token])
