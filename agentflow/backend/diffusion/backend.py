"""The `Backend` over a diffusion engine: a request becomes a row, a row becomes a turn.

Preparing a request (writing its prompt, compiling its schemas) happens in one of a few threads, denoising in the
engine's; the event loop only waits. Works under asyncio and trio.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import anyio
import anyio.to_thread

from agentflow.backend.base import DraftObserver, TurnListener
from agentflow.backend.codec import TurnCodec, kind_of
from agentflow.backend.diffusion.canvas import CanvasView, Row, RowCounts
from agentflow.backend.diffusion.engine import Engine, EngineStatistics
from agentflow.backend.diffusion.loader import Checkpoint
from agentflow.backend.diffusion.sampler import make_generator
from agentflow.backend.posting import Watcher, make_poster, run_in
from agentflow.constraint.staged import StagedConstraint
from agentflow.errors import AgentflowError, BackendError
from agentflow.types import Draft, Generation, GenerationRequest, PositionState, Usage

_NUM_PREPARING = 4


class DiffusionBackend:
    """A DiffusionGemma checkpoint as a `Backend`.

    Args:
        checkpoint: See `agentflow.backend.diffusion.loader.load_checkpoint`.
        max_rows: Most requests that share a forward pass; more wait for their place.
        max_waiting: Most requests that wait; more are refused with `OverloadedError`.
        prefix_cache_bytes: Memory for the contexts of recent prompts, which others that begin alike reuse.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        max_rows: int = 16,
        max_waiting: int = 1024,
        prefix_cache_bytes: int = 1 << 28,
    ) -> None:
        self._checkpoint = checkpoint
        self._denoiser = checkpoint.denoiser
        self._engine = Engine(
            checkpoint.denoiser, max_rows=max_rows, max_waiting=max_waiting, prefix_cache_bytes=prefix_cache_bytes
        )
        self._preparing = make_preparing_threads()
        self.codec = TurnCodec.of(checkpoint)

    @property
    def name(self) -> str:
        """What the checkpoint was asked for as."""
        return self._checkpoint.name

    def statistics(self) -> EngineStatistics:
        """What the engine has done so far."""
        return self._engine.statistics()

    async def generate(self, request: GenerationRequest, *, on_draft: DraftObserver | None = None) -> Generation:
        """Write one turn; see `agentflow.backend.base.Backend`. `on_draft` is called in the event loop."""
        started = time.perf_counter()
        deadline_s = None if request.timeout_s is None else time.monotonic() + request.timeout_s
        post = make_poster()
        self._engine.require_room()
        row = await run_in(self._preparing, self._prepare, request)
        observer = None if on_draft is None else Watcher(on_draft)
        if observer is not None:
            row.observe = lambda view: post(observer.tell, self._draft(row, view))
        with anyio.move_on_after(request.timeout_s) as scope:
            try:
                await run_row(self._engine, row, request, deadline_s=deadline_s, post=post)
            finally:
                row.observe = None  # which holds the row
        if observer is not None and observer.error is not None:
            raise observer.error
        if scope.cancelled_caught:
            raise BackendError(f"{self.name} wrote no turn within {request.timeout_s} s", hint="raise timeout_s")
        return self.codec.read(row.committed, request, usage_of(row, time.perf_counter() - started))

    def begin(self, request: GenerationRequest, on_done: TurnListener) -> Callable[[], None] | None:
        """See `agentflow.backend.base.CallingBackend`; `on_done` is called in the engine's thread."""
        if request.timeout_s is not None or not self.codec.is_prepared(request):
            return None
        started = time.perf_counter()
        self._engine.require_room()
        row = self._prepare(request)

        def finish(error: AgentflowError | None) -> None:
            outcome: Generation | AgentflowError
            try:
                usage = usage_of(row, time.perf_counter() - started)
                outcome = self.codec.read(row.committed, request, usage) if error is None else error
            except Exception as unreadable:  # noqa: BLE001 - it belongs to this request, not to the engine's thread
                outcome = BackendError.of(unreadable, what="the model")
            on_done(outcome)

        ticket = self._engine.submit(row, finish, priority=request.priority, agent=request.agent)
        return partial(self._engine.cancel, ticket)

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
        config = self._checkpoint.sampler_config.override(request.settings)
        compile_turn = self.codec.compile_staged if config.is_checked else self.codec.compile
        started_s = time.thread_time()
        constraint = compile_turn(request, num_tokens=max_new_tokens)
        counts = RowCounts(compile_time_s=time.thread_time() - started_s)
        wants_warmth = request.settings.is_warm_started
        is_warm = config.is_checked if wants_warmth is None else wants_warmth
        return Row(
            prompt_ids=prompt_ids,
            max_new_tokens=max_new_tokens,
            end_ids=self.codec.end_ids,
            config=config,
            draft_ids=self.codec.encode_draft(request)[:max_new_tokens] if is_warm else [],
            generator=make_generator(request.settings.seed, device=self._denoiser.device),
            kind=kind_of(request),
            counts=counts,
            constraint=constraint,
            state=0 if constraint is None else constraint.start_state,
        )

    def _draft(self, row: Row, view: CanvasView) -> Draft:
        tokens = view.tokens.tolist()
        states: list[PositionState] = [
            "clamped" if is_forced else "accepted" if is_accepted else "open"
            for is_accepted, is_forced in zip(view.is_accepted.tolist(), view.is_forced.tolist(), strict=True)
        ]
        pieces = self.codec.pieces(tokens)
        length = _num_shown(tokens, states, row)
        return Draft(
            canvas_index=view.canvas_index,
            step=view.step,
            max_steps=row.config.max_denoising_steps,
            pieces=tuple(pieces[:length]),
            states=tuple(states[:length]),
            is_committed=view.is_committed,
        )


def make_preparing_threads() -> ThreadPoolExecutor:
    """Threads in which requests are prepared: few, since each keeps memory of its own and all want the same lock."""
    return ThreadPoolExecutor(_NUM_PREPARING, thread_name_prefix="agentflow-prepare")


async def run_row(
    engine: Engine, row: Row, request: GenerationRequest, *, deadline_s: float | None, post: Callable[..., None]
) -> None:
    """Have an engine run a row; cancelling drops it at the next pass.

    Args:
        engine: The engine.
        row: What to run.
        request: Says how urgent it is, and who asks.
        deadline_s: When it should be done, by `time.monotonic`.
        post: See `make_poster`.

    Raises:
        BackendError: The row failed.
        OverloadedError: The engine's queue is full.
    """
    is_done = anyio.Event()
    failures: list[AgentflowError] = []

    def on_done(error: AgentflowError | None) -> None:
        if error is not None:
            failures.append(error)
        post(is_done.set)

    ticket = engine.submit(row, on_done, priority=request.priority, deadline_s=deadline_s, agent=request.agent)
    try:
        await is_done.wait()
    finally:
        engine.cancel(ticket)
    if failures:
        raise failures.pop()


def _num_shown(tokens: list[int], states: list[PositionState], row: Row) -> int:
    """Positions up to the first settled end token, which is all that can be committed."""
    for i, (token, state) in enumerate(zip(tokens, states, strict=True)):
        if token in row.end_ids and state != "open":
            return i + 1
    return min(len(tokens), row.num_tokens_left)


def usage_of(row: Row, duration_s: float) -> Usage:
    """What a row has cost."""
    staged = row.constraint if isinstance(row.constraint, StagedConstraint) else None
    return Usage(
        requests=1,
        input_tokens=len(row.prompt_ids),
        cached_input_tokens=row.counts.cached_input_tokens,
        output_tokens=len(row.committed),
        num_canvases=row.counts.num_canvases,
        denoising_steps=row.counts.denoising_steps,
        num_forwards=row.counts.denoising_steps + row.counts.num_checks,
        model_time_s=duration_s,
        constraint_time_s=row.counts.constraint_time_s,
        compile_time_s=row.counts.compile_time_s + (staged.compile_time_s if staged is not None else 0.0),
        log_partition=row.counts.log_partition,
    )
