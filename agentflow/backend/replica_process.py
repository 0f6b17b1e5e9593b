"""What runs in the process of a replica: a backend that answers what comes over standard input.

Standard output carries the answers, so whatever else prints goes to standard error. An interrupt from the keyboard
reaches the parent as well, which decides what it means; this process ends when its input does.
"""

from __future__ import annotations

import gc
import math
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from threading import Lock, Thread, Timer
from typing import IO, Any

import anyio
from anyio.streams.memory import MemoryObjectSendStream

from agentflow.backend import frames
from agentflow.backend.base import Backend, CallingBackend
from agentflow.backend.posting import make_poster
from agentflow.errors import AgentflowError, BackendError
from agentflow.types import Generation

_END_TIMEOUT_S = 8.0

_MAX_BRIEF_BYTES = 1 << 15
"""Size of a request, up to which it is prepared where it is read; what comes behind it waits for that long."""


def main() -> None:
    """Make the backend that the first frame asks for, and serve it until the input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    inbox, outbox = _take_standard_streams()
    lock = Lock()

    def send(message: Any) -> None:
        with lock, suppress(OSError):  # the parent is gone; the reader notices, too
            outbox.write(frames.pack(message))
            outbox.flush()

    try:
        backend = frames.read(inbox).make()
    except EOFError:
        return
    except Exception as error:  # noqa: BLE001 - the parent raises it
        send(frames.Failed(frames.START, BackendError.of(error, what="the replica")))
        return
    gc.collect()
    gc.freeze()  # else the collector walks all objects of torch again and again, a quarter of a second each time
    send(frames.Ready(backend.name))
    anyio.run(_serve, backend, inbox, send)
    sys.stderr.flush()
    os._exit(0)  # nothing is left to do, and taking a process with torch apart takes a second


def _take_standard_streams() -> tuple[IO[bytes], IO[bytes]]:
    inbox, outbox = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    sys.stdout.flush()
    os.dup2(2, 1)
    return inbox, outbox


async def _serve(backend: Backend, inbox: IO[bytes], send: Callable[[Any], None]) -> None:
    post = make_poster()
    to_loop, messages = anyio.create_memory_object_stream[Any](math.inf)
    scopes: dict[int, anyio.CancelScope] = {}

    async def answer(asked: frames.Ask) -> None:
        with scopes[asked.number]:
            send(await _write_turn(backend, asked, send))
        del scopes[asked.number]

    direct = _Direct(backend, send) if isinstance(backend, CallingBackend) else None
    Thread(target=_read, args=(inbox, direct, to_loop, post), name="agentflow-inbox", daemon=True).start()
    async with anyio.create_task_group() as group:
        async for message in messages:
            if isinstance(message, frames.Ask):
                scopes[message.number] = anyio.CancelScope()
                group.start_soon(answer, message)
            elif isinstance(message, frames.Drop) and message.number in scopes:
                scopes[message.number].cancel()
            elif isinstance(message, frames.Count):
                statistics = getattr(backend, "statistics", None)
                send(frames.Counted(message.number, statistics() if statistics is not None else None))
        group.cancel_scope.cancel()
    await backend.aclose()


def _read(
    inbox: IO[bytes], direct: _Direct | None, to_loop: MemoryObjectSendStream[Any], post: Callable[..., None]
) -> None:
    """Hand out everything that comes, in a thread of its own: to the engine where that does, else to the event loop."""
    with suppress(EOFError):
        while True:
            message = frames.read(inbox)
            if direct is None or not direct.takes(message):
                post(to_loop.send_nowait, message)
    last = Timer(_END_TIMEOUT_S, os._exit, (1,))  # whatever hangs
    last.daemon = True
    last.start()
    post(to_loop.close)


class _Direct:
    """Turns that go from the thread that reads to the engine and back, past the event loop.

    A turn of a small network takes ten milliseconds, and every thread that it is handed on to in between a tenth of
    one, most of it for what has meanwhile left the caches.
    """

    def __init__(self, backend: CallingBackend, send: Callable[[Any], None]) -> None:
        self._backend = backend
        self._send = send
        self._open: dict[int, _Turn] = {}

    def takes(self, message: Any) -> bool:
        """Begin a turn that is quickly prepared and not watched, or drop one of these; give whether it was that."""
        if isinstance(message, frames.Drop):
            turn = self._open.pop(message.number, None)
            if turn is not None and turn.drop is not None:
                turn.drop()
            return turn is not None
        if not isinstance(message, frames.Ask) or message.wants_drafts or len(message.request) > _MAX_BRIEF_BYTES:
            return False
        turn = self._open[message.number] = _Turn()
        try:
            turn.drop = self._backend.begin(frames.load(message.request), partial(self._answer, message.number))
        except Exception as error:  # noqa: BLE001 - the parent raises it
            self._answer(message.number, BackendError.of(error, what="the replica"))
            return True
        if turn.drop is None:
            del self._open[message.number]
        return turn.drop is not None

    def _answer(self, number: int, outcome: Generation | AgentflowError) -> None:
        self._open.pop(number, None)
        if isinstance(outcome, AgentflowError):
            self._send(frames.Failed(number, outcome))
        else:
            self._send(frames.Wrote(number, outcome))


@dataclass
class _Turn:
    """A turn that was begun; `drop` drops it, once that is known."""

    drop: Callable[[], None] | None = None


async def _write_turn(backend: Backend, asked: frames.Ask, send: Callable[[Any], None]) -> frames.Wrote | frames.Failed:
    def tell(draft: Any) -> None:
        send(frames.Drafted(asked.number, draft))

    try:
        request = frames.load(asked.request)
        generation = await backend.generate(request, on_draft=tell if asked.wants_drafts else None)
    except Exception as error:  # noqa: BLE001 - the parent raises it
        return frames.Failed(asked.number, BackendError.of(error, what="the replica"))
    return frames.Wrote(asked.number, generation)
