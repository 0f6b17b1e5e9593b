"""Checking drafts with the causal encoder: the answer of left to right, in fewer forward passes.

Encoder and decoder of a DiffusionGemma share their weights, so the network that drafts a whole canvas at once can
also read a draft from left to right and say, at every position in the same pass, which token it would have written:

    checked   <|tool_call> call : add
    draft                             _note { text : <|"|> Rent <|"|> } ...   read off one denoising step
    encoder                           _note { text : <|"|> 100                agrees, then says 100 instead
    checked   <|tool_call> call : add _note { text : <|"|> 100                the next draft goes on from here

A canvas is denoised once. After a disagreement, the next draft is read off what is known about the positions that
follow: the step's beliefs, and the encoder's own predictions behind the place where it disagreed, which are nearly
right if only that place was wrong. Every check adds at least one token, so a canvas takes at most one pass more than
left-to-right decoding does, and what is written equals greedy decoding under the same automaton. It pays for
checkpoints whose encoder was trained to predict the next token.

Sources: speculative decoding, arXiv 2211.17192; one network as drafter and judge, arXiv 2511.08923; predictions behind
a wrong guess as the next guess (Jacobi decoding), arXiv 2305.10427.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from agentflow.backend.diffusion.copying import find_copies
from agentflow.backend.diffusion.denoiser import Context
from agentflow.backend.diffusion.key_store import PackedContext
from agentflow.backend.diffusion.segment import Prediction, Segment
from agentflow.constraint import Constraint
from agentflow.constraint.greedy import Favourites, decode_greedily
from agentflow.constraint.staged import StagedConstraint

_TRUST = 0.7
"""Weight of the encoder's predictions against the step's beliefs in the next draft; 0 to 1 changes the number of passes
by 5 %, and nothing else."""


@dataclass(kw_only=True)
class DraftCheck:
    """A turn in the making whose drafts are checked. Alternates between passes: `wants` one, then `take` its outcome.

    Attributes:
        context: What the encoder has read: the prompt and the checked tokens, but for `unread`.
        unread: Tokens that it has not read yet: at first the prompt, later the last checked token.
        constraint: Automaton of the turn, or ``None``.
        state: Its state after the checked tokens.
        num_tokens_left: Tokens that the turn may still take.
        end_ids: Tokens that end a turn.
        first_draft: What is checked before any canvas is denoised; empty: nothing.
        conversation: What stands before the turn: values of drafts are often copied from there (`copying`).
        tokens: Checked tokens of the open canvas.
        canvas: The open canvas as it was before its step, ``(L,)``; ``None`` before the first.
        draft: What is being checked, or was last.
        num_steps: Denoising steps so far.
        num_checks: Checks so far.
        num_steps_of_canvas: Passes of the open canvas, its denoising step and its checks.
        constraint_time_s: Processor seconds of decoding under the constraint so far, compiling left out.
        is_prompt_read: Whether the turn has begun.
    """

    context: Context
    unread: list[int]
    constraint: Constraint | StagedConstraint | None
    state: int
    num_tokens_left: int
    end_ids: frozenset[int]
    first_draft: list[int] = field(default_factory=list)
    conversation: Sequence[int] = ()
    tokens: list[int] = field(default_factory=list)
    canvas: Tensor | None = None
    draft: list[int] = field(default_factory=list)
    num_steps: int = 0
    num_checks: int = 0
    num_steps_of_canvas: int = 0
    constraint_time_s: float = 0.0
    is_prompt_read: bool = False
    _next: Tensor | None = None  # (V,) prediction of the next token, while nothing is unread
    _guesses: Tensor | None = None  # (n, V) scores of the positions behind the checked tokens
    _before: Context | None = None  # the context before the check, where it may not be possible to cut it back
    _num_asked: int = 0  # tokens of `unread` in the pass that is under way
    _num_read_of_draft: int = 0  # tokens of `draft` in the last check

    @property
    def compile_time_s(self) -> float:
        """Processor seconds of compiling calls as they were drafted."""
        return self.constraint.compile_time_s if isinstance(self.constraint, StagedConstraint) else 0.0

    @property
    def is_ended(self) -> bool:
        """Whether the turn ends in the checked tokens, by its end token or its budget."""
        return self.num_tokens_left == 0 or (bool(self.tokens) and self.tokens[-1] in self.end_ids)

    @property
    def is_complete(self) -> bool:
        """Whether nothing of the open canvas is left to check."""
        return self.is_ended or (self._guesses is None and bool(self.tokens))

    def wants(self, *, max_tokens: int, make_noise: Callable[[], Tensor]) -> Segment:
        """What the next pass should do: read some of a long prompt, denoise a canvas, or check a draft.

        Args:
            max_tokens: Most tokens of a prompt to read in one pass.
            make_noise: Makes a canvas of noise, ``(L,)`` int64.
        """
        self._num_asked = min(len(self.unread), max(max_tokens, 1))
        if self._num_asked < len(self.unread):
            some = self.unread[: self._num_asked]
            return Segment(self.context, some, num_unwanted=self._num_asked, is_ranked=True)
        if self.first_draft:
            self.draft, self.first_draft = self.first_draft, []
            self.canvas = torch.tensor(self.draft)  # (l,)
            return self._ask_about_draft()
        if self._guesses is None:
            self.canvas = make_noise()  # (L,)
            self.draft = []
            num_unwanted = max(len(self.unread) - 1, 0)
            return Segment(self.context, self.unread, self.canvas, num_unwanted=num_unwanted, is_ranked=True)
        self.draft = self._choose(self._guesses)
        return self._ask_about_draft()

    def _ask_about_draft(self) -> Segment:
        self._before = None if isinstance(self.context, PackedContext) else self.context.fork()
        asked = [*self.unread, *self.draft]
        if self.draft[-1] in self.end_ids and len(asked) > 1:
            del asked[-1]  # what would come behind the end is not needed
        self._num_read_of_draft = len(asked) - len(self.unread)
        return Segment(self.context, asked, num_unwanted=max(len(self.unread) - 1, 0), is_ranked=True)

    def take(self, prediction: Prediction) -> None:
        """Take what the pass gave."""
        if self._num_asked < len(self.unread):
            self.unread = self.unread[self._num_asked :]
        elif not self.draft:
            self._take_beliefs(prediction)
        else:
            self._take_check(prediction.read)

    def _take_beliefs(self, prediction: Prediction) -> None:
        assert prediction.canvas is not None  # noqa: S101 - the caller's case
        self.is_prompt_read = True
        self.num_steps += 1
        self.num_steps_of_canvas = 1
        if self.unread:
            self._next, self.unread = prediction.read[-1], []  # (V,)
        assert self._next is not None  # noqa: S101 - nothing is unread
        self._guesses = prediction.canvas  # (L, V)
        self._guesses[0] = self._next  # the encoder knows this one

    def _take_check(self, predictions: Tensor) -> None:
        """Keep the tokens that the encoder would have written, and its own where it first disagrees.

        Args:
            predictions: Before each token of the draft (unless nothing was unread: then before each but the first) and
                after the last (unless that ends the turn), ``(T, V)``.
        """
        self.is_prompt_read = True
        if not self.unread:
            assert self._next is not None  # noqa: S101 - nothing is unread
            predictions = torch.cat([self._next[None], predictions])  # (T + 1, V)
        self.num_checks += 1
        self.num_steps_of_canvas += 1
        chosen = self._choose(predictions, self.draft)
        self.tokens += chosen
        self.num_tokens_left -= len(chosen)
        num_agreed = len(chosen) - (chosen[-1] != self.draft[len(chosen) - 1])
        guesses = None if self._guesses is None else self._guesses[len(chosen) :]  # (n, V)
        if num_agreed == len(self.draft):
            self.unread, self._next = [], predictions[-1]  # (V,)
        else:
            guesses = None if guesses is None else _mix(guesses, predictions[len(chosen) :])  # (n, V)
            self._go_back(self.draft[:num_agreed], chosen[num_agreed:])
        self._guesses = guesses if guesses is not None and len(guesses) else None

    def _go_back(self, agreed: list[int], chosen: list[int]) -> None:
        """Forget what was read of the draft after `agreed`; sliding layers that dropped keys can only begin again."""
        if self._before is None or self.context.can_crop:
            self.context.crop_inplace(self.context.num_tokens - self._num_read_of_draft + len(agreed))
            self.unread = chosen
        else:
            self.context = self._before
            self.unread = [*self.unread, *agreed, *chosen]

    def _choose(self, logits: Tensor, reference: Sequence[int] | None = None) -> list[int]:
        """The best string position by position; with a reference, up to where it differs, and then it counts."""
        if self.constraint is not None:
            started_s, compiled_s = time.thread_time(), self.compile_time_s
            tokens, state = self._decode(self.constraint, logits.cpu(), reference)
            self.constraint_time_s += time.thread_time() - started_s - (self.compile_time_s - compiled_s)
            if reference is not None:
                self.state = state
            return tokens
        best = logits.argmax(dim=-1).tolist()[: self.num_tokens_left if reference is None else len(reference)]
        for i, token in enumerate(best):
            if token in self.end_ids or (reference is not None and token != reference[i]):
                return best[: i + 1]
        return best

    def _decode(
        self, constraint: Constraint | StagedConstraint, scores: Tensor, reference: Sequence[int] | None
    ) -> tuple[list[int], int]:
        num_left = self.num_tokens_left
        if isinstance(constraint, StagedConstraint):
            favour = partial(self._favour, scores) if reference is None else None
            return constraint.decode(scores, self.state, num_tokens_left=num_left, reference=reference, favour=favour)
        return decode_greedily(scores, constraint, self.state, num_tokens_left=num_left, reference=reference)

    def _favour(self, scores: Tensor, at: int, before: Sequence[int]) -> Favourites:
        return find_copies(scores[at:], self.conversation, [*self.tokens, *before])


def _mix(guesses: Tensor, predictions: Tensor) -> Tensor:
    """Join scores of the step, ``(n, V)``, with the encoder's behind a disagreement."""
    length = min(len(guesses), len(predictions))
    step = torch.log_softmax(guesses[:length], dim=-1)  # (length, V)
    encoder = torch.log_softmax(predictions[:length], dim=-1)  # (length, V)
    return torch.cat([torch.lerp(step, encoder, _TRUST), guesses[length:]])  # (n, V)
