"""The left-to-right twin: the same weights, token by token, with a grammar mask.

DiffusionGemma's encoder is causal and shares its weights with the decoder, so encoder and head together are an
ordinary language model. This backend is what diffusion is measured against: the same checkpoint, prompt, protocol and
grammar, with a key-value cache, one request at a time. It is greedy unless `settings.t_min` gives it a temperature.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Literal

import anyio
import anyio.to_thread
import torch
from torch import Tensor

from agentflow.backend.base import DraftObserver
from agentflow.backend.codec import TurnCodec
from agentflow.backend.diffusion.denoiser import Context, Denoiser
from agentflow.backend.diffusion.loader import Checkpoint
from agentflow.backend.diffusion.prefix import PrefixCache
from agentflow.backend.diffusion.sampler import make_generator
from agentflow.backend.masks import AutomatonMask, LlguidanceMasks, TokenMask
from agentflow.errors import AgentflowError, BackendError
from agentflow.types import Generation, GenerationRequest, Usage


@dataclass(kw_only=True)
class _Job:
    """One turn to write, and what it has cost."""

    prompt_ids: list[int]
    max_new_tokens: int
    mask: TokenMask | None
    temperature: float
    generator: torch.Generator
    num_cached_tokens: int = 0
    mask_time_s: float = 0.0


class AutoregressiveBackend:
    """A DiffusionGemma checkpoint that writes from left to right, as a `Backend`.

    Args:
        checkpoint: See `agentflow.backend.diffusion.loader.load_checkpoint`.
        mask: Who computes the grammar mask.
        prefix_cache_bytes: Memory for the contexts of recent prompts, as in the diffusion engine.

    Raises:
        MissingDependencyError: `mask` is ``"llguidance"`` and it is not installed.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        mask: Literal["agentflow", "llguidance"] = "agentflow",
        prefix_cache_bytes: int = 1 << 28,
    ) -> None:
        self._checkpoint = checkpoint
        self._denoiser: Denoiser = checkpoint.denoiser
        self.codec = TurnCodec.of(checkpoint)
        self._llguidance = LlguidanceMasks(self.codec) if mask == "llguidance" else None
        self._prefixes = PrefixCache(max_bytes=prefix_cache_bytes)
        self._turns = threading.Lock()

    @property
    def name(self) -> str:
        """What the checkpoint was asked for as."""
        return self._checkpoint.name

    async def generate(self, request: GenerationRequest, *, on_draft: DraftObserver | None = None) -> Generation:
        """Write one turn; see `agentflow.backend.base.Backend`. There are no drafts, so `on_draft` is never called."""
        del on_draft
        started = time.perf_counter()
        stop = threading.Event()
        try:
            with anyio.move_on_after(request.timeout_s) as scope:
                token_ids, usage = await anyio.to_thread.run_sync(self._write, request, stop, abandon_on_cancel=True)
        finally:
            stop.set()
        if scope.cancelled_caught:
            raise BackendError(f"{self.name} wrote no turn within {request.timeout_s} s", hint="raise timeout_s")
        return self.codec.read(token_ids, request, usage + Usage(model_time_s=time.perf_counter() - started))

    async def aclose(self) -> None:
        """Do nothing: there is no thread and no connection."""

    def _write(self, request: GenerationRequest, stop: threading.Event) -> tuple[list[int], Usage]:
        job = self._prepare(request)
        try:
            with self._turns:
                return self._decode(job, stop)
        except AgentflowError:
            raise
        except Exception as error:
            raise BackendError(f"the model failed: {type(error).__name__}: {error}") from error

    @torch.inference_mode()
    def _decode(self, job: _Job, stop: threading.Event) -> tuple[list[int], Usage]:
        """Write tokens until the turn ends, its budget does, or `stop` is set."""
        context, logits = self._read_prompt(job)
        token_ids: list[int] = []
        while not stop.is_set():
            token_ids.append(_choose(logits, job))
            if token_ids[-1] in self.codec.end_ids or len(token_ids) == job.max_new_tokens:
                break
            hidden = self._denoiser.read_inplace(context, token_ids[-1:])  # (1, 1, H)
            logits = self._denoiser.logits(hidden[0, -1])  # (V,)
        usage = Usage(
            requests=1,
            input_tokens=len(job.prompt_ids),
            cached_input_tokens=job.num_cached_tokens,
            output_tokens=len(token_ids),
            num_canvases=1,
            num_forwards=len(token_ids),
            constraint_time_s=job.mask_time_s,
        )
        return token_ids, usage

    def _read_prompt(self, job: _Job) -> tuple[Context, Tensor]:
        """The context after the prompt, and the logits of the first token."""
        context = self._prefixes.find(job.prompt_ids) or self._denoiser.open_context()
        job.num_cached_tokens = context.num_tokens
        hidden = self._denoiser.read_inplace(context, job.prompt_ids[context.num_tokens :])  # (1, T_new, H)
        self._prefixes.keep(job.prompt_ids, context)
        return context, self._denoiser.logits(hidden[0, -1])  # (V,)

    def _prepare(self, request: GenerationRequest) -> _Job:
        prompt_ids = self.codec.encode_prompt(request)
        max_new_tokens = self.codec.budget(request, num_prompt_tokens=len(prompt_ids))
        return _Job(
            prompt_ids=prompt_ids,
            max_new_tokens=max_new_tokens,
            mask=self._make_mask(request, max_new_tokens),
            temperature=request.settings.t_min or 0.0,
            generator=make_generator(request.settings.seed, device=self._denoiser.device),
        )

    def _make_mask(self, request: GenerationRequest, num_tokens: int) -> TokenMask | None:
        if not request.settings.is_constrained:
            return None
        if self._llguidance is not None:
            return self._llguidance.make(request, is_grounded=self.codec.is_grounded(request))
        constraint = self.codec.compile(request, num_tokens=num_tokens)
        return None if constraint is None else AutomatonMask(constraint, num_tokens=num_tokens)


def _choose(logits: Tensor, job: _Job) -> int:
    """The next token among those that may come; the mask takes note of it."""
    if job.mask is None:
        return _draw(logits, job)
    started = time.perf_counter()
    is_allowed = job.mask.allowed().to(logits.device)  # (V,)
    job.mask_time_s += time.perf_counter() - started
    token = _draw(logits.masked_fill(~is_allowed, -torch.inf), job)
    job.mask.advance(token)
    return token


def _draw(logits: Tensor, job: _Job) -> int:
    if job.temperature > 0:
        probs = torch.softmax(logits / job.temperature, dim=-1)  # (V,)
        return int(torch.multinomial(probs, 1, generator=job.generator))
    return int(logits.argmax())
