"""The left-to-right twin: the same weights, token by token, with a grammar mask.

DiffusionGemma's encoder is causal and shares its weights with the decoder, so encoder and head together are an
ordinary language model. This backend is what diffusion is measured against: the same checkpoint, prompt, protocol and
grammar, in the same engine, with the same batching and prefix reuse. It is greedy unless `settings.t_min` gives it a
temperature.
"""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial
from typing import Any, Literal

import anyio
import anyio.to_thread

from agentflow.backend.base import DraftObserver
from agentflow.backend.codec import TurnCodec
from agentflow.backend.diffusion.backend import make_preparing_threads, run_row, usage_of
from agentflow.backend.diffusion.canvas import Row, RowCounts
from agentflow.backend.diffusion.denoiser import Context
from agentflow.backend.diffusion.engine import Engine, EngineStatistics
from agentflow.backend.diffusion.left_to_right import TokenWriter
from agentflow.backend.diffusion.loader import Checkpoint
from agentflow.backend.diffusion.sampler import make_generator
from agentflow.backend.masks import AutomatonMask, LlguidanceMasks, TokenMask
from agentflow.backend.posting import make_poster, run_in
from agentflow.errors import BackendError
from agentflow.types import Generation, GenerationRequest


class AutoregressiveBackend:
    """A DiffusionGemma checkpoint that writes from left to right, as a `Backend`.

    Args:
        checkpoint: See `agentflow.backend.diffusion.loader.load_checkpoint`.
        mask: Who computes the grammar mask.
        max_rows: Most requests that share a forward pass; 1: one after the other.
        max_waiting: Most requests that wait; more are refused with `OverloadedError`.
        prefix_cache_bytes: Memory for the contexts of recent prompts, as in the diffusion engine.

    Raises:
        MissingDependencyError: `mask` is ``"llguidance"`` and it is not installed.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        mask: Literal["agentflow", "llguidance"] = "agentflow",
        max_rows: int = 16,
        max_waiting: int = 1024,
        prefix_cache_bytes: int = 1 << 28,
    ) -> None:
        self._checkpoint = checkpoint
        self._denoiser = checkpoint.denoiser
        self._preparing = make_preparing_threads()
        self.codec = TurnCodec.of(checkpoint)
        self._llguidance = LlguidanceMasks(self.codec) if mask == "llguidance" else None
        self._engine = Engine(
            checkpoint.denoiser, max_rows=max_rows, max_waiting=max_waiting, prefix_cache_bytes=prefix_cache_bytes
        )

    @property
    def name(self) -> str:
        """What the checkpoint was asked for as."""
        return self._checkpoint.name

    def statistics(self) -> EngineStatistics:
        """What the engine has done so far."""
        return self._engine.statistics()

    async def generate(self, request: GenerationRequest, *, on_draft: DraftObserver | None = None) -> Generation:
        """Write one turn; see `agentflow.backend.base.Backend`. There are no drafts, so `on_draft` is never called."""
        del on_draft
        started_s = time.perf_counter()
        deadline_s = None if request.timeout_s is None else time.monotonic() + request.timeout_s
        self._engine.require_room()
        row = await run_in(self._preparing, self._prepare, request)
        with anyio.move_on_after(request.timeout_s) as scope:
            await run_row(self._engine, row, request, deadline_s=deadline_s, post=make_poster())
        if scope.cancelled_caught:
            raise BackendError(f"{self.name} wrote no turn within {request.timeout_s} s", hint="raise timeout_s")
        usage = replace(usage_of(row, time.perf_counter() - started_s), num_canvases=1)
        return self.codec.read(row.committed, request, usage)

    async def aclose(self) -> None:
        """End the engine's thread; open requests fail with `BackendError`."""
        await anyio.to_thread.run_sync(self.close)

    def close(self) -> None:
        """Do what `aclose` does, from outside an event loop."""
        self._engine.close()
        self._preparing.shutdown(wait=False)

    def _prepare(self, request: GenerationRequest) -> Row:
        prompt_ids = self.codec.encode_prompt(request)
        max_new_tokens = self.codec.budget(request, num_prompt_tokens=len(prompt_ids))
        generator = make_generator(request.settings.seed, device=self._denoiser.device)
        started_s = time.thread_time()
        mask = self._make_mask(request, max_new_tokens)
        counts = RowCounts(compile_time_s=time.thread_time() - started_s)
        start_writer = partial(
            _start_writer,
            mask=mask,
            num_tokens_left=max_new_tokens,
            end_ids=self.codec.end_ids,
            temperature=request.settings.t_min or 0.0,
            generator=generator,
        )
        return Row(
            prompt_ids=prompt_ids,
            max_new_tokens=max_new_tokens,
            end_ids=self.codec.end_ids,
            config=self._checkpoint.sampler_config,
            generator=generator,
            counts=counts,
            start_writer=start_writer,
        )

    def _make_mask(self, request: GenerationRequest, num_tokens: int) -> TokenMask | None:
        if not request.settings.is_constrained:
            return None
        if self._llguidance is not None:
            return self._llguidance.make(request, is_grounded=self.codec.is_grounded(request))
        constraint = self.codec.compile(request, num_tokens=num_tokens)
        return None if constraint is None else AutomatonMask(constraint, num_tokens=num_tokens)


def _start_writer(context: Context, unread: list[int], **options: Any) -> TokenWriter:
    return TokenWriter(context=context, unread=unread, **options)
