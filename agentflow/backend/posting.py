"""Between other threads and the event loop that waits, under asyncio and trio."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from contextvars import copy_context
from typing import Any, TypeVar

import anyio
import anyio.lowlevel

from agentflow.backend.base import DraftObserver
from agentflow.types import Draft

T = TypeVar("T")


def make_poster() -> Callable[..., None]:
    """A function that has the current event loop call another, from any thread and without waiting for it."""
    loop: Any = anyio.lowlevel.current_token().native_token
    call = getattr(loop, "call_soon_threadsafe", None) or loop.run_sync_soon

    def post(function: Callable[..., None], *arguments: Any) -> None:
        try:
            call(function, *arguments)
        except RuntimeError:  # the loop has ended, so nobody listens any more (trio.RunFinishedError is one, too)
            return

    return post


async def run_in(executor: Executor, function: Callable[..., T], *arguments: Any) -> T:
    """Run a function in a thread of an executor.

    Unlike a thread of the event loop's own, of which there may be dozens, it waits for its turn there; cancelling does
    not wait for it.

    Raises:
        Exception: What the function raised.
    """
    post, is_done = make_poster(), anyio.Event()
    future = executor.submit(copy_context().run, function, *arguments)
    future.add_done_callback(lambda _: post(is_done.set))
    try:
        await is_done.wait()
        return future.result()
    finally:
        future.cancel()
        del future  # it holds the error, whose traceback holds this frame


class Watcher:
    """Somebody who watches drafts; an error of theirs is kept for the caller and never reaches the event loop."""

    def __init__(self, on_draft: DraftObserver) -> None:
        self._on_draft = on_draft
        self.error: Exception | None = None

    def tell(self, draft: Draft) -> None:
        """Show a draft, unless an earlier one went wrong."""
        if self.error is not None:
            return
        try:
            self._on_draft(draft)
        except Exception as error:  # noqa: BLE001 - it is raised again where the turn was asked for
            self.error = error
