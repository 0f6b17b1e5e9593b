"""Limits on the work of making a constraint."""

from __future__ import annotations

import time

import pytest

from agentflow.constraint.limits import CompileLimits, check_time, metered, untimed
from agentflow.errors import UnsupportedSchemaError


def work(seconds: float) -> None:
    """Spend CPU time."""
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass


def test_seconds_that_are_not_counted_leave_the_others():
    """Compiling inner loops when they are first needed used up the time that a schema may take."""
    with metered(CompileLimits(timeout_s=0.02)):
        with untimed():
            work(0.03)
        check_time()
        work(0.03)
        with pytest.raises(UnsupportedSchemaError, match="longer"):
            check_time()
