"""Python's cyclic garbage collector, kept out of bursts of work that make no cycles.

Compiling a schema makes hundreds of thousands of small objects, nearly all of which are gone when it is done, freed by
their reference counts. The collector counts them all the same, and then walks every object of the process to find
cycles among them: 0.2 s each time in a process that has loaded torch, more than the work itself.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock


@dataclass
class _Pauses:
    """How many blocks of all threads are at work, and whether the collector was on before the first."""

    num: int = 0
    was_enabled: bool = False
    lock: Lock = field(default_factory=Lock)


_PAUSES = _Pauses()


@contextmanager
def collector_paused() -> Iterator[None]:
    """Let no collection begin in the block, in any thread; blocks may overlap."""
    with _PAUSES.lock:
        if _PAUSES.num == 0:
            _PAUSES.was_enabled = gc.isenabled()
            gc.disable()
        _PAUSES.num += 1
    try:
        yield
    finally:
        with _PAUSES.lock:
            _PAUSES.num -= 1
            if _PAUSES.num == 0 and _PAUSES.was_enabled:
                gc.enable()
