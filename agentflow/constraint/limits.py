"""Limits on the work of making a constraint: automaton states and seconds.

Everything that builds automata calls `spend`, so that a hostile schema ends in an error instead of
eating the machine. The limits in force are those of the innermost `metered` block.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from agentflow.constraint.collector import collector_paused
from agentflow.errors import ConfigurationError, UnsupportedSchemaError


@dataclass(frozen=True, kw_only=True)
class CompileLimits:
    """How much work one schema may cause.

    Attributes:
        max_states: Automaton states made while compiling, intermediate ones included.
        max_alternatives: Alternatives that the logic of one (sub)schema may branch into.
        max_recursion: Times that a schema may contain itself before the recursion is cut off.
        max_depth: Depth of values that have no schema of their own (``{}``), 7 at most. It is lowered where there are
            many such places: see `agentflow.constraint.free.allot_depths`.
        max_schema_bytes: Size of the schema, written as JSON.
        timeout_s: Seconds of the thread's CPU time until compiling gives up.
    """

    max_states: int = 400_000
    max_alternatives: int = 512
    max_recursion: int = 6
    max_depth: int = 7
    max_schema_bytes: int = 4_000_000
    timeout_s: float = 20.0

    def __post_init__(self) -> None:
        """Check the bounds.

        Raises:
            ConfigurationError: A limit is not positive.
        """
        for name in ("max_states", "max_alternatives", "max_recursion", "max_depth", "max_schema_bytes", "timeout_s"):
            if not getattr(self, name) > 0:
                raise ConfigurationError(f"{name} must be positive, got {getattr(self, name)!r}")


_STATES_PER_LOOK = 2_000


class _Meter:
    def __init__(self, limits: CompileLimits) -> None:
        self.limits = limits
        self.num_until_look = 0  # asking for the time is dear on some systems
        self.num_states_left = limits.max_states
        self.deadline = time.thread_time() + limits.timeout_s
        self.next_look = time.perf_counter() + limits.timeout_s
        self.keyword = "schema"
        self.pointer = ""

    def spend(self, num_states: int) -> None:
        if num_states > self.num_states_left:
            self.refuse(f"its automaton needs more than {self.limits.max_states} states")
        self.num_states_left -= num_states
        self.num_until_look -= num_states
        if self.num_until_look > 0:
            return
        self.num_until_look = _STATES_PER_LOOK
        self.look()

    def look(self) -> None:
        """Look at the clock: at the thread's own only when the wall's says that it could be too late."""
        now = time.perf_counter()
        if now < self.next_look:
            return
        seconds_left = self.deadline - time.thread_time()
        self.next_look = now + max(0.0, seconds_left)
        if seconds_left < 0:
            self.refuse(f"compiling it took longer than {self.limits.timeout_s} s")

    def refuse(self, reason: str) -> None:
        raise UnsupportedSchemaError(
            self.keyword, pointer=self.pointer, reason=reason, hint="simplify the schema, or raise CompileLimits"
        )


_METER: ContextVar[_Meter | None] = ContextVar("agentflow_constraint_meter", default=None)


@contextmanager
def metered(limits: CompileLimits) -> Iterator[None]:
    """Put `limits` in force for the block; an enclosing block's meter goes on counting instead."""
    if _METER.get() is not None:
        yield
        return
    token = _METER.set(_Meter(limits))
    try:
        with collector_paused():
            yield
    finally:
        _METER.reset(token)


@contextmanager
def untimed() -> Iterator[None]:
    """Do not count the seconds of the block, which no schema is to blame for: compiling an inner loop, say."""
    meter, began, began_here = _METER.get(), time.thread_time(), time.perf_counter()
    yield
    if meter is not None:
        meter.deadline += time.thread_time() - began
        meter.next_look += time.perf_counter() - began_here


@contextmanager
def at_keyword(keyword: str, pointer: str) -> Iterator[None]:
    """Name the place in the schema that the work of the block is done for."""
    meter = _METER.get()
    if meter is None:
        yield
        return
    before = meter.keyword, meter.pointer
    meter.keyword, meter.pointer = keyword, pointer
    yield
    meter.keyword, meter.pointer = before


def spend(num_states: int = 1) -> None:
    """Count states that were made.

    Raises:
        UnsupportedSchemaError: The states or the seconds are used up; names the keyword at work.
    """
    meter = _METER.get()
    if meter is not None:
        meter.spend(num_states)


def check_time() -> None:
    """Look at the clock, in work that makes few states but may take long.

    Raises:
        UnsupportedSchemaError: The seconds are used up; names the keyword at work.
    """
    meter = _METER.get()
    if meter is not None:
        meter.look()


def restore_states(num_left: int) -> None:
    """Take back what was spent on automata that were given up since `num_states_left`; the time stays spent."""
    meter = _METER.get()
    if meter is not None:
        meter.num_states_left = num_left


def num_states_left() -> int:
    """Give how many states may still be made; outside a `metered` block a great many."""
    meter = _METER.get()
    return 10_000_000 if meter is None else meter.num_states_left


def current() -> CompileLimits:
    """Give the limits in force."""
    meter = _METER.get()
    return meter.limits if meter is not None else CompileLimits()
