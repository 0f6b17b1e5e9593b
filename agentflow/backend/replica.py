"""A backend in a process of its own, seen from the process that started it."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from itertools import count
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Any

import anyio

from agentflow.backend import frames
from agentflow.backend.base import Backend, DraftObserver
from agentflow.backend.posting import Watcher, make_poster
from agentflow.errors import BackendError
from agentflow.types import Generation, GenerationRequest

_log = logging.getLogger(__name__)
_COMMAND = "from agentflow.backend.replica_process import main; main()"
_STATISTICS_TIMEOUT_S = 10.0
_END_TIMEOUT_S = 10.0


class Replica:
    """A process with a backend. It begins at once; use `wait_ready` before anything is asked of it.

    The process ends with `close`, and with the process that started it, however that ends.
    """

    def __init__(self, make: Callable[[], Backend], *, title: str, num_threads: int) -> None:
        """Start the process.

        Args:
            make: Makes the backend, over there; a function of a module, or a `functools.partial` of one.
            title: What messages call it.
            num_threads: Threads of torch.

        Raises:
            ConfigurationError: `make` cannot be pickled.
        """
        start = frames.pack(frames.Start(make))
        self._title = title
        here = {"OMP_NUM_THREADS": str(num_threads), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        self._process = subprocess.Popen(  # noqa: S603 - our own code
            [sys.executable, "-P", "-c", _COMMAND],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | here,
        )
        self._numbers = count()
        self._lock = Lock()
        self._open: dict[int, Callable[[Any], None]] = {}  # told the answers to what was asked, by its number
        self._status: int | None = None  # exit status, once the process has ended
        self._is_closed = False
        self._ready: Future[str] = Future()
        self._outbox: SimpleQueue[bytes | None] = SimpleQueue()
        self._outbox.put(start)
        self._reader = Thread(target=self._read, name=f"agentflow-{title}", daemon=True)
        self._reader.start()
        Thread(target=self._write, name=f"agentflow-{title}", daemon=True).start()

    @property
    def is_running(self) -> bool:
        """Whether it can be asked."""
        return self._status is None and not self._is_closed

    def wait_ready(self) -> str:
        """Wait until the backend is made; gives its name.

        Raises:
            AgentflowError: What making it raised, or that the process ended.
        """
        return self._ready.result()

    async def generate(self, request: GenerationRequest, *, on_draft: DraftObserver | None = None) -> Generation:
        """Write one turn; see `agentflow.backend.base.Backend`."""
        post = make_poster()
        watcher = None if on_draft is None else Watcher(on_draft)
        is_done = anyio.Event()
        answers: list[frames.Wrote | frames.Failed] = []

        def hear(message: Any) -> None:  # in the reader's thread
            if isinstance(message, frames.Drafted):
                if watcher is not None:
                    post(watcher.tell, message.draft)
                return
            answers.append(message)
            post(is_done.set)

        packed, wants_drafts = frames.dump(request), on_draft is not None
        number = self._ask(lambda number: frames.Ask(number, packed, wants_drafts), hear)
        try:
            await is_done.wait()
        finally:
            self._forget(number)
        if watcher is not None and watcher.error is not None:
            raise watcher.error
        answer = answers.pop()
        if isinstance(answer, frames.Wrote):
            return answer.generation
        try:
            raise answer.error
        finally:
            del answer  # whose traceback holds this frame

    def statistics(self) -> Any:
        """Give the statistics of its engine, ``None`` for a backend that keeps none.

        Raises:
            BackendError: It has ended, or does not answer.
        """
        found: Future[Any] = Future()

        def hear(message: Any) -> None:
            if isinstance(message, frames.Failed):
                found.set_exception(message.error)
            else:
                found.set_result(message.statistics)

        number = self._ask(frames.Count, hear)
        try:
            return found.result(timeout=_STATISTICS_TIMEOUT_S)
        except TimeoutError as error:
            raise BackendError(f"{self._title} gave no statistics within {_STATISTICS_TIMEOUT_S:g} s") from error
        finally:
            self._forget(number)

    def end(self) -> None:
        """Tell the process to end; what is open fails with `BackendError`."""
        self._is_closed = True
        self._outbox.put(None)

    def close(self) -> None:
        """Tell the process to end and wait until it has. Closing twice is harmless."""
        self.end()
        try:
            self._process.wait(timeout=_END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._reader.join(timeout=_END_TIMEOUT_S)

    def _ask(self, make: Callable[[int], Any], hear: Callable[[Any], None]) -> int:
        number = next(self._numbers)
        frame = frames.pack(make(number))
        with self._lock:
            if self._status is not None:
                raise self._make_error(self._status)
            self._open[number] = hear
        self._outbox.put(frame)
        return number

    def _forget(self, number: int) -> None:
        """Take no more answers, and say so if the last one has not come."""
        with self._lock:
            was_open = self._open.pop(number, None) is not None
        if was_open and self._status is None:
            self._outbox.put(frames.pack(frames.Drop(number)))

    def _write(self) -> None:
        """Send what is in the outbox, until it is closed or the process has ended."""
        stdin = self._process.stdin
        assert stdin is not None  # noqa: S101 - it was asked for
        with suppress(OSError):  # the process is gone; the reader notices, too
            while (frame := self._outbox.get()) is not None:
                stdin.write(frame)
                stdin.flush()
        with suppress(OSError):
            stdin.close()

    def _read(self) -> None:
        """Hand out what the process says, until it ends."""
        stdout = self._process.stdout
        assert stdout is not None  # noqa: S101 - it was asked for
        try:
            while True:
                self._hand_out(frames.read(stdout))
        except EOFError:
            pass
        except Exception:  # noqa: BLE001 - what cannot be read or handed out: whoever waits must hear of it
            _log.exception("%s said what cannot be understood; its process is ended", self._title)
            self._process.kill()
        stdout.close()
        self._end(self._process.wait())

    def _hand_out(self, message: Any) -> None:
        if isinstance(message, frames.Ready):
            self._ready.set_result(message.name)
        elif message.number == frames.START:
            self._ready.set_exception(message.error)
        else:
            with self._lock:
                is_last = not isinstance(message, frames.Drafted)
                hear = self._open.pop(message.number, None) if is_last else self._open.get(message.number)
            if hear is not None:
                hear(message)

    def _end(self, status: int) -> None:
        """Fail what is open: the process has ended."""
        with self._lock:
            self._status = status
            left, self._open = self._open, {}
        for number, hear in left.items():
            hear(frames.Failed(number, self._make_error(status)))
        if not self._ready.done():
            self._ready.set_exception(self._make_error(status))
        self._outbox.put(None)

    def _make_error(self, status: int) -> BackendError:
        if self._is_closed:
            return BackendError(f"{self._title} is closed")
        return BackendError(
            f"the process of {self._title} ended with exit status {status}",
            hint="status -9 is mostly a lack of memory: every replica holds the whole model; use fewer",
        )
