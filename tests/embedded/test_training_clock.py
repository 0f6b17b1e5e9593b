"""A run's time budget: what counts, and how the rate falls towards its end."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from agentflow.embedded.clock import TrainingClock, next_time

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def test_time_stopped_does_not_count():
    """A step during which the process was stopped counts as a usual one."""
    clock = TrainingClock(minutes=10)
    clock.start_step(0.0)
    clock.end_step(2.0)
    clock.start_step(2.0)
    clock.note_stop()
    clock.end_step(900.0)
    assert clock.spent_s == pytest.approx(4.0)


def test_a_step_that_took_absurdly_long_counts_as_a_usual_one():
    """Also a stop that no signal told of is left out."""
    clock = TrainingClock(minutes=10)
    for start, end in ((0.0, 2.0), (2.0, 400.0)):
        clock.start_step(start)
        clock.end_step(end)
    assert clock.spent_s == pytest.approx(4.0)


def test_the_rate_falls_over_the_last_share_of_the_minutes():
    """One until the last share, half in its middle, zero when the minutes are spent."""
    clock = TrainingClock(minutes=10, decay_share=0.2)
    assert clock.rate() >= 1
    clock.spent_s = 9 * 60
    assert clock.rate() == pytest.approx(0.5)
    clock.spent_s = 11 * 60
    assert clock.rate() == 0


def test_the_rate_reaches_zero_at_the_time_of_day():
    """It falls over the minutes before the end, and stays at zero behind it."""
    clock = TrainingClock(until=NOON + timedelta(minutes=30), decay_minutes=20)
    assert clock.rate(NOON) == 1
    assert clock.rate(NOON + timedelta(minutes=20)) == pytest.approx(0.5)
    assert clock.rate(NOON + timedelta(minutes=31)) == 0


def test_a_time_of_day_is_the_next_one():
    """A time that is over today is tomorrow's."""
    assert next_time("12:30", NOON) == NOON + timedelta(minutes=30)
    assert next_time("11:00", NOON) == NOON + timedelta(hours=23)
    with pytest.raises(ValueError, match="noon"):
        next_time("noon", NOON)
