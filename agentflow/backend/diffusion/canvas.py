"""The state of one turn in the making: a row of the batch, its open canvas and what it has committed.

A row knows its request as numbers only: budget, constraint, seed. It decides when its canvas has settled and what is
committed; the forward passes and the mathematics of a step are made for all rows together, in `step`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import torch
from torch import Generator, Tensor

from agentflow.backend.diffusion.check import DraftCheck
from agentflow.backend.diffusion.denoiser import Context, Denoiser
from agentflow.backend.diffusion.packed import PackedDenoiser
from agentflow.backend.diffusion.prefix import PrefixCache
from agentflow.backend.diffusion.sampler import SamplerConfig, draw_noise
from agentflow.backend.diffusion.segment import Prediction, Segment
from agentflow.constraint import Constraint
from agentflow.constraint.staged import StagedConstraint
from agentflow.errors import AgentflowError, BackendError


class Writer(Protocol):
    """A turn that the causal encoder writes; `DraftCheck` and `TokenWriter` are the two there are."""

    context: Context
    unread: list[int]
    tokens: list[int]
    canvas: Tensor | None
    num_steps: int
    num_checks: int
    num_steps_of_canvas: int
    constraint_time_s: float
    is_prompt_read: bool

    @property
    def is_ended(self) -> bool:
        """Whether the turn has ended."""
        ...

    @property
    def is_complete(self) -> bool:
        """Whether the tokens of the open canvas can be committed."""
        ...

    def wants(self, *, max_tokens: int, make_noise: Callable[[], Tensor]) -> Segment:
        """What the next pass should do for this turn; a canvas, where it wants one, is made of noise."""
        ...

    def take(self, prediction: Prediction) -> None:
        """Take what the pass gave."""
        ...


class CanvasView(NamedTuple):
    """A canvas after a denoising step, for those who watch; tensors of shape ``(L,)``.

    Attributes:
        tokens: Token ids, int64; open positions hold noise.
        is_accepted: Positions that the sampler keeps, bool.
        is_forced: Kept positions at which the schema leaves no choice after what stands before them, bool.
        step: Steps done, from 1.
        canvas_index: Which canvas of the turn, from 0.
        is_committed: Whether the tokens are final.
    """

    tokens: Tensor
    is_accepted: Tensor
    is_forced: Tensor
    step: int
    canvas_index: int
    is_committed: bool = False


@dataclass(kw_only=True)
class RowCounts:
    """What a row has cost so far; see `agentflow.types.Usage` for the meaning of the fields."""

    cached_input_tokens: int = 0
    num_canvases: int = 0
    denoising_steps: int = 0
    num_checks: int = 0
    constraint_time_s: float = 0.0
    compile_time_s: float = 0.0
    log_partition: float = 0.0


@dataclass(kw_only=True, eq=False)
class Row:
    """One turn in the making.

    Attributes:
        prompt_ids: What stands before the turn.
        max_new_tokens: Budget of the turn, the end token included.
        end_ids: Tokens that end a turn.
        config: How to denoise.
        generator: Source of noise and of free draws, on the device of the network.
        host_generator: Source of joint draws, on the CPU; the same where the network is there.
        constraint: Automaton that the turn must follow, or ``None``; a staged one only where drafts are checked.
        state: State of the automaton after the committed tokens.
        observe: Told about every step of the row.
        draft_ids: What the turn will probably be: checked first, or what the first canvas begins with; may be empty.
        kind: Equal for turns that are probably about as long as each other.
        max_draft_length: Most positions of a canvas that is denoised only to be checked, where the network takes any
            length; ``None``: a whole canvas. It changes the number of passes and their cost, and never what is written.
        start_writer: Makes what writes the turn from left to right, given a context and what it has to read yet.
        is_finished: Whether there is nothing left to do.
        failure: Why the turn cannot be written, where it cannot.
        committed: The turn so far; nothing stands behind the end token.
        context: What the network has read: prompt and finished canvases.
        unread: What stands before the open canvas and is not read yet; while there is any, no canvas is open.
        tokens: The open canvas, ``(L,)`` int64.
        signal: Its self-conditioning signal, ``(L, H)``.
        step: Denoising steps done on it.
        best: The most probable canvas of the last step that computed one, ``(L,)``.
        num_unchanged: Steps for which `best` has stayed the same.
        check: The turn as the causal encoder writes it; ``None`` where drafts are not checked.
    """

    prompt_ids: list[int]
    max_new_tokens: int
    end_ids: frozenset[int]
    config: SamplerConfig
    generator: Generator
    constraint: Constraint | StagedConstraint | None = None
    state: int = 0
    observe: Callable[[CanvasView], None] | None = None
    draft_ids: list[int] = field(default_factory=list)
    kind: Hashable = ""
    max_draft_length: int | None = None
    start_writer: Callable[[Context, list[int]], Writer] | None = None
    committed: list[int] = field(default_factory=list)
    counts: RowCounts = field(default_factory=RowCounts)
    is_finished: bool = False
    failure: AgentflowError | None = None
    host_generator: Generator = field(init=False)
    context: Context = field(init=False)
    unread: list[int] = field(default_factory=list, init=False)
    tokens: Tensor = field(init=False)
    signal: Tensor = field(init=False)
    best: Tensor = field(init=False)
    step: int = field(default=0, init=False)
    num_unchanged: int = field(default=0, init=False)
    check: Writer | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        """Give joint draws a generator of their own where the network is on another device."""
        is_on_host = self.generator.device.type == "cpu"
        self.host_generator = self.generator if is_on_host else Generator().manual_seed(self.generator.initial_seed())

    @property
    def num_tokens_left(self) -> int:
        """Tokens that the turn may still take."""
        return self.max_new_tokens - len(self.committed)

    @property
    def num_steps_left(self) -> int:
        """Steps that the canvas may still take, the one to come included."""
        return self.config.max_denoising_steps - self.step

    @property
    def is_ended(self) -> bool:
        """Whether the turn has its end token."""
        return bool(self.committed) and self.committed[-1] in self.end_ids

    def open(self, denoiser: Denoiser, prefixes: PrefixCache | None = None) -> None:
        """Begin, read the whole prompt and open the first canvas; a checked row reads with its first pass."""
        self.begin(denoiser, prefixes)
        if self.check is None:
            self.read_some(denoiser, len(self.unread), prefixes)

    def begin(self, denoiser: Denoiser, prefixes: PrefixCache | None = None) -> None:
        """Start from the longest beginning of the prompt that is kept, or from nothing.

        Raises:
            BackendError: The prompt has a token that the network does not know.
        """
        unknown = next((token for token in self.prompt_ids if not 0 <= token < denoiser.vocab_size), None)
        if unknown is not None:
            raise BackendError(f"the prompt has the token {unknown}, the network knows 0 to {denoiser.vocab_size - 1}")
        found = prefixes.find(self.prompt_ids) if prefixes is not None else None
        self.context = found or denoiser.open_context()
        self.counts.cached_input_tokens = self.context.num_tokens
        self.unread = self.prompt_ids[self.context.num_tokens :]
        if self.start_writer is not None:
            self.check = self.start_writer(self.context, self.unread)
        elif self.config.is_checked:
            self.check = DraftCheck(
                context=self.context,
                unread=self.unread,
                constraint=self.constraint,
                state=self.state,
                num_tokens_left=self.max_new_tokens,
                end_ids=self.end_ids,
                first_draft=self.draft_ids,
                conversation=self.prompt_ids,
            )
            self.counts.num_canvases += bool(self.draft_ids)

    @property
    def is_reading(self) -> bool:
        """Whether the prompt, or the last canvas, is not read yet."""
        return bool(self.unread)

    def read_some(self, denoiser: Denoiser, num_tokens: int, prefixes: PrefixCache | None = None) -> None:
        """Read at most `num_tokens` of what is unread, and open a canvas when nothing is left."""
        denoiser.read_inplace(self.context, self.unread[:num_tokens])
        self.unread = self.unread[num_tokens:]
        if not self.unread:
            if prefixes is not None and not self.committed:
                prefixes.keep(self.prompt_ids, self.context)
            self._open_canvas(denoiser)

    def make_noise(self, denoiser: Denoiser) -> Tensor:
        """A canvas for the next draft: no longer than the turn may be, where the network takes any length."""
        length = denoiser.canvas_length
        if isinstance(denoiser, PackedDenoiser):
            length = min(length, self.max_draft_length or length, max(self.num_tokens_left, 1))
        self.counts.num_canvases += 1
        return draw_noise(
            length, vocab_size=denoiser.vocab_size, generators=[self.generator], device=denoiser.device
        ).squeeze(0)  # (L,)

    def _open_canvas(self, denoiser: Denoiser) -> None:
        """Open a canvas of noise, the first one of a warm start with the draft before it."""
        length, device = denoiser.canvas_length, denoiser.device
        self.tokens = draw_noise(
            length, vocab_size=denoiser.vocab_size, generators=[self.generator], device=device
        ).squeeze(0)  # (L,)
        if self.draft_ids and not self.committed:
            draft = torch.tensor(self.draft_ids[:length], device=device)  # (l,)
            self.tokens[: len(draft)] = draft
        self.signal = torch.zeros(length, denoiser.hidden_size, dtype=denoiser.dtype, device=device)  # (L, H)
        self.best = torch.full((length,), -1, device=device)  # (L,)
        self.step = 0
        self.num_unchanged = 0
        self.counts.num_canvases += 1

    def is_settled(self, *, best: Tensor, is_same: bool, is_confident: bool, is_sharp: bool) -> bool:
        """Take note of a step's best canvas and say whether to stop.

        Args:
            best: The most probable canvas, ``(L,)``.
            is_same: Whether it equals the one of the step before.
            is_confident: Whether the mean entropy is below the threshold.
            is_sharp: Whether every position by itself is.
        """
        self.num_unchanged = self.num_unchanged + 1 if is_same else 0
        self.best = best
        is_stable = self.num_unchanged >= self.config.stability_threshold
        return is_sharp or (is_stable and is_confident) or self.num_steps_left == 0

    def fail(self, error: AgentflowError) -> None:
        """Give the turn up."""
        self.failure = error
        self.is_finished = True

    def commit(self, token_ids: list[int]) -> None:
        """Take a settled canvas as text. Where the turn goes on, the canvas is to be read before the next one opens.

        Args:
            token_ids: All tokens of the canvas.
        """
        kept = token_ids[: num_kept(token_ids, self.end_ids, self.num_tokens_left)]
        self.committed += kept
        if self.is_ended or self.num_tokens_left == 0:
            self.is_finished = True
            return
        if self.constraint is not None:
            self.state = self.constraint.advance(self.state, kept)
        self.unread = token_ids

    def commit_checked(self) -> None:
        """Take the checked tokens of a canvas as text; the encoder has read them."""
        assert self.check is not None  # noqa: S101 - only rows with a check come here
        self.committed += self.check.tokens
        self.is_finished = self.check.is_ended
        self.check.tokens = []


def num_kept(token_ids: list[int], end_ids: frozenset[int], num_tokens_left: int) -> int:
    """Tokens of a canvas that belong to the turn: up to its first end token, at most `num_tokens_left`."""
    for i, token_id in enumerate(token_ids[:num_tokens_left]):
        if token_id in end_ids:
            return i + 1
    return min(len(token_ids), num_tokens_left)
