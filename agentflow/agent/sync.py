"""Running async code from code that is not."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio
from anyio.lowlevel import current_token

from agentflow.errors import ConfigurationError

T = TypeVar("T")


def run_blocking(run: Callable[[], Awaitable[T]], *, name: str, task: str) -> T:
    """Run to the end in an event loop of its own.

    Args:
        run: What to run.
        name: What the caller called, for the message.
        task: What it was called with, for the message.

    Raises:
        ConfigurationError: An event loop is already running in this thread, and would be blocked.
    """
    if _is_in_event_loop():
        raise ConfigurationError(
            "run_sync was called inside a running event loop, which it would block\n"
            f"  you wrote:  {name}.run_sync({task[:40]!r})\n"
            f"  you want:   await {name}.run({task[:40]!r})",
            hint="notebooks run an event loop too: use await there",
        )
    return anyio.run(run)


def _is_in_event_loop() -> bool:
    try:
        current_token()
    except RuntimeError:
        return False
    return True
