"""One engine per network: the open canvases of all requests share forward passes.

A single worker thread owns the network. Between two denoising steps it lets new rows in, drops cancelled ones and
hands out finished ones; a step runs over whatever is open then:

    submit -> waiting -> [prefill] -> open -> step, step, ... -> done
                                       ^ leaves at once when it ends, fails or is cancelled

The engine knows rows (`canvas.Row`), not requests, and no event loop: whoever submits is called back in the worker
thread. The thread starts with the first row and leaves after a few idle seconds, so an engine that is not used costs
nothing. What a row writes does not depend on its neighbours, up to the rounding of floating-point sums.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from agentflow.backend.diffusion.canvas import Row
from agentflow.backend.diffusion.denoiser import ContextBatch, Denoiser
from agentflow.backend.diffusion.prefix import PrefixCache
from agentflow.backend.diffusion.step import denoise_step
from agentflow.errors import AgentflowError, BackendError

_IDLE_S = 5.0
"""Seconds without work after which the worker thread leaves."""


@dataclass(frozen=True, kw_only=True)
class EngineStatistics:
    """What an engine has done since it was made.

    Attributes:
        num_open: Rows in the batch now.
        num_waiting: Rows that wait for a place.
        num_steps: Denoising steps, each one forward pass of the decoder.
        num_canvas_steps: Canvases that took part in these steps, summed.
        num_prefills: Prompts read.
        num_rows_finished: Rows that ended with a turn.
        num_rows_dropped: Rows that were cancelled or failed.
    """

    num_open: int
    num_waiting: int
    num_steps: int
    num_canvas_steps: int
    num_prefills: int
    num_rows_finished: int
    num_rows_dropped: int

    @property
    def canvases_per_step(self) -> float:
        """Mean batch occupancy."""
        return self.num_canvas_steps / self.num_steps if self.num_steps else 0.0


@dataclass(eq=False)
class Ticket:
    """A row on its way through the engine.

    Attributes:
        row: The row.
        on_done: Called once in the worker thread, with the error if there was one.
        is_cancelled: Whether nobody waits for it any more.
    """

    row: Row
    on_done: Callable[[AgentflowError | None], None]
    is_cancelled: bool = False


class Engine:
    """Runs rows to their end, many at a time.

    Args:
        denoiser: The network; used by the worker thread only.
        max_rows: Most rows in one forward pass; more wait.
        prefix_cache_bytes: Memory for the contexts of recent prompts.
    """

    def __init__(self, denoiser: Denoiser, *, max_rows: int = 16, prefix_cache_bytes: int = 1 << 28) -> None:
        self._denoiser = denoiser
        self._prefixes = PrefixCache(max_bytes=prefix_cache_bytes)
        self._max_rows = max_rows
        self._condition = threading.Condition()
        self._waiting: deque[Ticket] = deque()
        self._open: list[Ticket] = []
        self._batch: ContextBatch | None = None
        self._thread: threading.Thread | None = None
        self._is_closed = False
        self._num_steps = self._num_canvas_steps = self._num_prefills = 0
        self._num_finished = self._num_dropped = 0

    def submit(self, row: Row, on_done: Callable[[AgentflowError | None], None]) -> Ticket:
        """Queue a row; returns at once.

        Raises:
            BackendError: The engine is closed.
        """
        ticket = Ticket(row, on_done)
        with self._condition:
            if self._is_closed:
                raise BackendError("the model is closed", hint="load it again")
            self._waiting.append(ticket)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="agentflow-engine", daemon=True)
                self._thread.start()
            self._condition.notify_all()
        return ticket

    def cancel(self, ticket: Ticket) -> None:
        """Drop a row at the next step border; its `on_done` is not called."""
        with self._condition:
            ticket.is_cancelled = True

    def close(self) -> None:
        """Fail what is open or waiting and end the worker thread. Closing twice is harmless."""
        with self._condition:
            self._is_closed = True
            thread = self._thread
            self._condition.notify_all()
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def statistics(self) -> EngineStatistics:
        """What has been done so far."""
        with self._condition:
            return EngineStatistics(
                num_open=len(self._open),
                num_waiting=len(self._waiting),
                num_steps=self._num_steps,
                num_canvas_steps=self._num_canvas_steps,
                num_prefills=self._num_prefills,
                num_rows_finished=self._num_finished,
                num_rows_dropped=self._num_dropped,
            )

    # ------------------------------------------------------------ the worker thread

    def _work(self) -> None:
        while self._wait_for_work():
            for ticket in self._admit():
                self._prefill(ticket)
            if self._open:
                self._step()

    def _wait_for_work(self) -> bool:
        """Drop cancelled rows and wait until there is something to do; ``False`` tells the thread to leave."""
        with self._condition:
            self._drop_cancelled()
            is_due = self._condition.wait_for(lambda: self._open or self._waiting or self._is_closed, timeout=_IDLE_S)
            if is_due and not self._is_closed:
                return True
            self._thread = None
            orphans = [*self._open, *self._waiting]
            self._open, self._batch = [], None
            self._waiting.clear()
        for ticket in orphans:
            self._finish(ticket, BackendError("the model was closed before the turn was written"))
        return False

    def _drop_cancelled(self) -> None:
        kept = [ticket for ticket in self._open if not ticket.is_cancelled]
        if len(kept) < len(self._open):
            self._num_dropped += len(self._open) - len(kept)
            self._open, self._batch = kept, None
        waiting = [ticket for ticket in self._waiting if not ticket.is_cancelled]
        self._num_dropped += len(self._waiting) - len(waiting)
        self._waiting = deque(waiting)

    def _admit(self) -> list[Ticket]:
        with self._condition:
            num_free = self._max_rows - len(self._open)
            return [self._waiting.popleft() for _ in range(min(num_free, len(self._waiting)))]

    def _prefill(self, ticket: Ticket) -> None:
        try:
            ticket.row.open(self._denoiser, self._prefixes)
        except Exception as error:  # noqa: BLE001 - whatever fails here belongs to this request
            self._finish(ticket, _as_agentflow_error(error))
            return
        with self._condition:
            self._num_prefills += 1
            self._open.append(ticket)
            self._batch = None

    def _step(self) -> None:
        rows = [ticket.row for ticket in self._open]
        try:
            if self._batch is None:
                self._batch = self._denoiser.stack([row.context for row in rows])
            changed = denoise_step(self._denoiser, rows, self._batch)
        except Exception as error:  # noqa: BLE001 - a device that fails takes the whole batch with it
            self._fail_all(error)
            return
        self._num_steps += 1
        self._num_canvas_steps += len(rows)
        if changed:
            self._hand_out()

    def _hand_out(self) -> None:
        finished = [ticket for ticket in self._open if ticket.row.is_finished]
        with self._condition:
            self._open = [ticket for ticket in self._open if not ticket.row.is_finished]
            self._batch = None
        for ticket in finished:
            self._finish(ticket, ticket.row.failure)

    def _fail_all(self, error: Exception) -> None:
        with self._condition:
            failed, self._open, self._batch = self._open, [], None
        for ticket in failed:
            self._finish(ticket, _as_agentflow_error(error))

    def _finish(self, ticket: Ticket, error: AgentflowError | None) -> None:
        with self._condition:
            if error is None:
                self._num_finished += 1
            else:
                self._num_dropped += 1
        if not ticket.is_cancelled:
            ticket.on_done(error)


def _as_agentflow_error(error: Exception) -> AgentflowError:
    if isinstance(error, AgentflowError):
        return error
    failure = BackendError(f"the model failed: {type(error).__name__}: {error}")
    failure.__cause__ = error
    return failure
