"""Telling that inner loops are being compiled, which the first use of an installation has to wait for.

numba compiles the kernels of this room when they are first called and keeps them on disk. Until then a user would look
at a terminal that does nothing for some twenty seconds; so the first compilation of a process says so, once, as a
warning of the logger ``agentflow.constraint``.
"""

from __future__ import annotations

import logging
from functools import lru_cache
from typing import Any

from numba.core import event

_LOGGER = logging.getLogger("agentflow.constraint")
_ROOM = __name__.rpartition(".")[0]


class _Announcer(event.Listener):  # type: ignore[misc]  # numba has no types
    """Says it once; `is_told` then."""

    def __init__(self) -> None:
        self.is_told = False

    def on_start(self, event: Any) -> None:
        """Look whose loop it is."""
        function = getattr(event.data.get("dispatcher"), "py_func", None)
        if self.is_told or not getattr(function, "__module__", "").startswith(_ROOM):
            return
        self.is_told = True
        _LOGGER.warning("compiling inner loops for this machine: some 20 seconds, once for an installation")

    def on_end(self, event: Any) -> None:
        """Do nothing."""


_ANNOUNCER = _Announcer()


@lru_cache(maxsize=1)
def announce_compiling() -> None:
    """Tell from now on."""
    event.register("numba:compile", _ANNOUNCER)
