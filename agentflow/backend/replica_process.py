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
from threading import Lock, Thread, Timer
from typing import IO, Any

import anyio
from anyio.streams.memory import MemoryObjectSendStream

from agentflow.backend import frames
from agentflow.backend.base import Backend
from agentflow.backend.posting import make_poster
from agentflow.errors import BackendError

_END_TIMEOUT_S = 8.0


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

    Thread(target=_read, args=(inbox, to_loop, post), name="agentflow-inbox", daemon=True).start()
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


def _read(inbox: IO[bytes], to_loop: MemoryObjectSendStream[Any], post: Callable[..., None]) -> None:
    """Hand everything that comes to the event loop, in a thread of its own."""
    with suppress(EOFError):
        while True:
            post(to_loop.send_nowait, frames.read(inbox))
    last = Timer(_END_TIMEOUT_S, os._exit, (1,))  # whatever hangs
    last.daemon = True
    last.start()
    post(to_loop.close)


async def _write_turn(backend: Backend, asked: frames.Ask, send: Callable[[Any], None]) -> frames.Wrote | frames.Failed:
    def tell(draft: Any) -> None:
        send(frames.Drafted(asked.number, draft))

    try:
        request = frames.load(asked.request)
        generation = await backend.generate(request, on_draft=tell if asked.wants_drafts else None)
    except Exception as error:  # noqa: BLE001 - the parent raises it
        return frames.Failed(asked.number, BackendError.of(error, what="the replica"))
    return frames.Wrote(asked.number, generation)
