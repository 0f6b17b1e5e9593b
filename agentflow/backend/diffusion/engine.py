"""One engine per network: the open canvases of all requests share forward passes.

A single worker thread owns the network. Between two passes it lets new rows in, drops cancelled ones and hands out
finished ones; a pass runs over whatever is open then:

    submit -> waiting -> reading its prompt, some tokens a pass -> open -> step, step, ... -> done
                                                                    ^ leaves at once when it ends, fails or is cancelled

Who comes next is decided whenever a place is free: the highest priority, then whose agent has the fewest rows open,
then the earliest deadline, then who came first. A row whose prompt begins like one that is being read just now waits
until that one is read, and reuses it. The queue has an end: past it, submitting is an error.

The engine knows rows (`canvas.Row`), not requests, and no event loop: whoever submits, from any thread, is called back
in the worker thread. The thread starts with the first row and leaves after two idle minutes, so an engine that is not
used costs nothing. What a row writes does not depend on its neighbours, up to the rounding of floating-point sums.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from agentflow.backend.diffusion.canvas import Row
from agentflow.backend.diffusion.checked_step import check_step
from agentflow.backend.diffusion.denoiser import ContextBatch, Denoiser
from agentflow.backend.diffusion.lengths import DraftLengths
from agentflow.backend.diffusion.prefix import PrefixCache, num_shared
from agentflow.backend.diffusion.step import denoise_step
from agentflow.errors import AgentflowError, BackendError, OverloadedError

_IDLE_S = 120.0
"""Seconds without work after which the worker thread leaves. What oneDNN keeps for it goes along, so the first turns of
the next thread take half as long again."""

_READ_TOKENS = {"cpu": 512, "cuda": 4096}
"""Tokens of prompts that are read in one pass, all rows together, so that a long one does not hold up open canvases."""

_MIN_READ_TOKENS = 32
"""Tokens that a row reads in a pass at least, however many read."""

_WORTH_WAITING_FOR = 64
"""Tokens that another row is reading and this one would read again, from which on it waits for that row."""

_NUM_BUSY_ROWS = 3
"""Open rows from which on a CPU is busy with the tokens of a pass rather than with starting its operations."""


@dataclass(frozen=True, kw_only=True)
class EngineStatistics:
    """What an engine has done since it was made.

    Attributes:
        num_open: Rows in the batch now.
        num_waiting: Rows that wait for a place.
        num_steps: Passes over open canvases: denoising steps, and checks of drafts.
        num_canvas_steps: Canvases that took part in these passes, summed.
        num_prefills: Prompts read.
        num_rows_finished: Rows that ended with a turn.
        num_rows_dropped: Rows that were cancelled or failed.
        num_refused: Rows that came when the queue was full.
        prefix_bytes: Memory of kept contexts.
        pass_time_s: Seconds spent in passes.
        scheduling_time_s: Seconds of the worker thread's processor time between passes while there was work: admitting,
            ordering, handing out. Waiting for other threads, such as the callers' own, is not in it.
    """

    num_open: int
    num_waiting: int
    num_steps: int
    num_canvas_steps: int
    num_prefills: int
    num_rows_finished: int
    num_rows_dropped: int
    num_refused: int
    prefix_bytes: int
    pass_time_s: float
    scheduling_time_s: float

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
        priority: Higher goes first.
        deadline_s: When it should be done, by `time.monotonic`, or ``None``.
        agent: Who asks; agents take turns.
        number: Order of arrival.
        is_cancelled: Whether nobody waits for it any more.
    """

    row: Row
    on_done: Callable[[AgentflowError | None], None]
    priority: int = 0
    deadline_s: float | None = None
    agent: str = ""
    number: int = field(default_factory=itertools.count().__next__)
    is_cancelled: bool = False


class Engine:
    """Runs rows to their end, many at a time.

    Args:
        denoiser: The network; used by the worker thread only.
        max_rows: Most rows in one forward pass; more wait.
        max_waiting: Most rows that wait; more are refused.
        prefix_cache_bytes: Memory for the contexts of recent prompts.
    """

    def __init__(
        self, denoiser: Denoiser, *, max_rows: int = 16, max_waiting: int = 1024, prefix_cache_bytes: int = 1 << 28
    ) -> None:
        self._denoiser = denoiser
        self._prefixes = PrefixCache(max_bytes=prefix_cache_bytes)
        self._max_rows = max_rows
        self._max_waiting = max_waiting
        self._condition = threading.Condition()
        self._waiting: list[Ticket] = []
        self._open: list[Ticket] = []
        self._batch: tuple[list[Ticket], ContextBatch] | None = None
        self._thread: threading.Thread | None = None
        self._is_closed = False
        self._num_steps = self._num_canvas_steps = self._num_prefills = 0
        self._num_finished = self._num_dropped = self._num_refused = 0
        self._pass_time_s = self._scheduling_time_s = 0.0
        self._lengths = DraftLengths()

    def submit(
        self,
        row: Row,
        on_done: Callable[[AgentflowError | None], None],
        *,
        priority: int = 0,
        deadline_s: float | None = None,
        agent: str = "",
    ) -> Ticket:
        """Queue a row; returns at once.

        Args:
            row: The row.
            on_done: Called once in the worker thread, with the error if there was one.
            priority: Higher goes first.
            deadline_s: When it should be done, by `time.monotonic`; among equals the earliest goes first, and a row
                that still waits then fails.
            agent: Who asks; agents take turns.

        Raises:
            BackendError: The engine is closed.
            OverloadedError: As many rows wait as may.
        """
        ticket = Ticket(row, on_done, priority, deadline_s, agent)
        with self._condition:
            self._require_room()
            self._waiting.append(ticket)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="agentflow-engine", daemon=True)
                self._thread.start()
            self._condition.notify_all()
        return ticket

    def require_room(self) -> None:
        """Refuse early what `submit` would refuse, before its prompt is written and its schemas are compiled.

        Raises:
            BackendError: The engine is closed.
            OverloadedError: As many rows wait as may.
        """
        with self._condition:
            self._require_room()

    def _require_room(self) -> None:
        if self._is_closed:
            raise BackendError("the model is closed", hint="load it again")
        if len(self._waiting) >= self._max_waiting:
            self._num_refused += 1
            raise OverloadedError(f"{len(self._waiting)} requests wait for the model already")

    def cancel(self, ticket: Ticket) -> None:
        """Drop a row at the next pass; its `on_done` is not called."""
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
                num_refused=self._num_refused,
                prefix_bytes=self._prefixes.num_bytes,
                pass_time_s=self._pass_time_s,
                scheduling_time_s=self._scheduling_time_s,
            )

    # ------------------------------------------------------------ the worker thread

    def _work(self) -> None:
        while self._wait_for_work():
            started_s = time.thread_time()
            for ticket in self._admit():
                self._begin(ticket)
            admitted_s = time.thread_time()
            self._pass_time_s += self._pass()
            passed_s = time.thread_time()
            self._hand_out()
            self._scheduling_time_s += admitted_s - started_s + time.thread_time() - passed_s

    def _wait_for_work(self) -> bool:
        """Drop what nobody waits for and wait until there is something to do; ``False`` tells the thread to leave."""
        with self._condition:
            self._drop_cancelled()
            late = self._take_late()
        for ticket in late:
            self._finish(ticket, BackendError("the deadline passed before the turn was begun", hint="raise timeout_s"))
        with self._condition:
            is_due = self._condition.wait_for(lambda: self._open or self._waiting or self._is_closed, timeout=_IDLE_S)
            if is_due and not self._is_closed:
                return True
            self._thread = None
            orphans = [*self._open, *self._waiting]
            self._open, self._waiting, self._batch = [], [], None
        for ticket in orphans:
            self._finish(ticket, BackendError("the model was closed before the turn was written"))
        return False

    def _drop_cancelled(self) -> None:
        num_before = len(self._open) + len(self._waiting)
        self._open = [ticket for ticket in self._open if not ticket.is_cancelled]
        self._waiting = [ticket for ticket in self._waiting if not ticket.is_cancelled]
        self._num_dropped += num_before - len(self._open) - len(self._waiting)

    def _take_late(self) -> list[Ticket]:
        now_s = time.monotonic()
        late = [ticket for ticket in self._waiting if ticket.deadline_s is not None and ticket.deadline_s <= now_s]
        self._waiting = [ticket for ticket in self._waiting if ticket not in late] if late else self._waiting
        return late

    def _admit(self) -> list[Ticket]:
        """Take the rows that come next off the queue."""
        with self._condition:
            if not self._waiting or len(self._open) >= self._max_rows:
                return []
            num_open = Counter(ticket.agent for ticket in self._open)
            being_read = [ticket.row.prompt_ids for ticket in self._open if ticket.row.is_reading]
            admitted: list[Ticket] = []
            candidates = [ticket for ticket in self._waiting if not self._should_wait(ticket, being_read)]
            while candidates and len(self._open) + len(admitted) < self._max_rows:
                chosen = min(candidates, key=lambda ticket: _rank(ticket, num_open))
                candidates.remove(chosen)
                if self._should_wait(chosen, being_read):
                    continue
                being_read.append(chosen.row.prompt_ids)
                num_open[chosen.agent] += 1
                admitted.append(chosen)
            self._waiting = [ticket for ticket in self._waiting if ticket not in admitted]
            return admitted

    def _should_wait(self, ticket: Ticket, being_read: list[list[int]]) -> bool:
        """Whether another row is reading just now what this one would read again."""
        ids = ticket.row.prompt_ids
        gain = max((num_shared(ids, other) for other in being_read), default=0)
        return gain >= _WORTH_WAITING_FOR and gain >= self._prefixes.num_found(ids) + _WORTH_WAITING_FOR

    def _begin(self, ticket: Ticket) -> None:
        try:
            ticket.row.begin(self._denoiser, self._prefixes)
        except Exception as error:  # noqa: BLE001 - whatever fails here belongs to this request
            self._finish(ticket, BackendError.of(error, what="the model"))
            return
        with self._condition:
            self._open.append(ticket)

    def _pass(self) -> float:
        """Run what is open one step further; gives the seconds it took."""
        started_s = time.perf_counter()
        reading = [ticket for ticket in self._open if ticket.row.is_reading]
        budget = _READ_TOKENS.get(self._denoiser.device.type, _READ_TOKENS["cuda"])
        max_read_tokens = max(_MIN_READ_TOKENS, budget // max(len(reading), 1))
        for ticket in reading:
            if ticket.row.check is None and budget > 0:  # these share no pass: the first to come reads first
                num_unread = len(ticket.row.unread)
                self._read(ticket, budget)
                budget -= num_unread
        checked = [ticket for ticket in self._open if ticket.row.check is not None]
        plain = [ticket for ticket in self._open if ticket.row.check is None and not ticket.row.is_reading]
        if checked:
            self._try(checked, lambda: self._check(checked, max_read_tokens))
        if plain:
            self._try(plain, lambda: self._denoise(plain))
        self._num_prefills += sum(not ticket.row.is_reading for ticket in reading)
        if checked or plain:
            self._num_steps += 1
            self._num_canvas_steps += len(checked) + len(plain)
        return time.perf_counter() - started_s

    def _read(self, ticket: Ticket, num_tokens: int) -> None:
        self._try([ticket], lambda: ticket.row.read_some(self._denoiser, num_tokens, self._prefixes))

    def _check(self, tickets: list[Ticket], max_read_tokens: int) -> None:
        rows = [ticket.row for ticket in tickets]
        if self._denoiser.device.type == "cpu":
            for row in rows:
                row.max_draft_length = self._lengths.fit(row.kind, is_busy=len(rows) >= _NUM_BUSY_ROWS)
        check_step(self._denoiser, rows, max_read_tokens=max_read_tokens, prefixes=self._prefixes)

    def _denoise(self, tickets: list[Ticket]) -> None:
        rows = [ticket.row for ticket in tickets]
        if self._batch is None or self._batch[0] != tickets:
            self._batch = tickets, self._denoiser.stack([row.context for row in rows])
        if denoise_step(self._denoiser, rows, self._batch[1]):
            self._batch = None

    def _try(self, tickets: list[Ticket], work: Callable[[], None]) -> None:
        """Do what concerns these rows; a device that fails takes all of them with it."""
        try:
            work()
        except Exception as error:  # noqa: BLE001 - whatever fails here belongs to these requests
            with self._condition:
                self._open = [ticket for ticket in self._open if ticket not in tickets]
                self._batch = None
            for ticket in tickets:
                self._finish(ticket, BackendError.of(error, what="the model"))

    def _hand_out(self) -> None:
        finished = [ticket for ticket in self._open if ticket.row.is_finished]
        if not finished:
            return
        with self._condition:
            self._open = [ticket for ticket in self._open if not ticket.row.is_finished]
            self._batch = None
        for ticket in finished:
            self._finish(ticket, ticket.row.failure)

    def _finish(self, ticket: Ticket, error: AgentflowError | None) -> None:
        with self._condition:
            if error is None:
                self._num_finished += 1
                self._lengths.note(ticket.row.kind, len(ticket.row.committed))
            else:
                self._num_dropped += 1
        if not ticket.is_cancelled:
            ticket.on_done(error)


def _rank(ticket: Ticket, num_open: Counter[str]) -> tuple[float, ...]:
    """Who goes first has the least."""
    deadline_s = float("inf") if ticket.deadline_s is None else ticket.deadline_s
    return (-ticket.priority, num_open[ticket.agent], deadline_s, ticket.number)
