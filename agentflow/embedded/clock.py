"""How far a run's time budget is spent, whatever stops it meanwhile.

A budget is minutes of training, in which time that the process was stopped (SIGSTOP) does not count, or
a time of day, in which it does. Near its end the learning rate falls, so that a run is finished when its
time is over, however fast the machine turned out to be.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import datetime, timedelta

_MAX_SLOWER = 10.0
"""A step this many times slower than usual was not all training; a usual one is counted instead."""


@dataclass
class TrainingClock:
    """Counts the seconds of training, and says what share of the rate a budget leaves.

    Attributes:
        minutes: Budget in minutes of training, or None.
        until: Time at which the run ends, or None.
        decay_share: Last share of the minutes in which the rate falls.
        decay_minutes: Last minutes before `until` in which it falls.
        spent_s: Seconds of training so far.
    """

    minutes: float | None = None
    until: datetime | None = None
    decay_share: float = 0.3
    decay_minutes: float = 20.0
    spent_s: float = 0.0
    _started_at: float | None = field(default=None, init=False)
    _usual_s: float = field(default=0.0, init=False)
    _was_stopped: bool = field(default=False, init=False)

    def start_step(self, now: float | None = None) -> None:
        """Begin a step at `now` (`time.monotonic`)."""
        self._started_at = time.monotonic() if now is None else now
        self._was_stopped = False

    def note_stop(self) -> None:
        """Note that the step under way was stopped and goes on; its time does not count."""
        self._was_stopped = True

    def end_step(self, now: float | None = None) -> None:
        """End the step, and count its seconds, or those of a usual step if it was stopped."""
        if self._started_at is None:
            return
        took_s = (time.monotonic() if now is None else now) - self._started_at
        is_odd = self._was_stopped or (self._usual_s > 0 and took_s > _MAX_SLOWER * self._usual_s)
        if is_odd:
            took_s = min(took_s, self._usual_s)
        else:
            self._usual_s = took_s if not self._usual_s else 0.9 * self._usual_s + 0.1 * took_s
        self.spent_s += took_s

    def rate(self, now: datetime | None = None) -> float:
        """Give the share of the learning rate that the budget leaves: 1, then down to 0 at its end."""
        left = 1.0
        if self.minutes is not None:
            left = min(left, (self.minutes - self.spent_s / 60) / max(self.decay_share * self.minutes, 1e-9))
        if self.until is not None:
            left_s = (self.until - (now or datetime.now().astimezone())).total_seconds()
            left = min(left, left_s / max(60 * self.decay_minutes, 1e-9))
        return max(0.0, left)


def next_time(text: str, now: datetime | None = None) -> datetime:
    """Give the next moment at which the clock shows `text`, ``HH:MM``.

    Raises:
        ValueError: The text is no time of day.
    """
    now = now or datetime.now().astimezone()
    hour, _, minute = text.partition(":")
    moment = now.replace(hour=int(hour), minute=int(minute), second=0, microsecond=0)
    return moment if moment > now else moment + timedelta(days=1)
