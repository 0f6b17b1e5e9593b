"""What a runner has done, counted."""

from __future__ import annotations

from dataclasses import dataclass

from agentflow.types import Usage


@dataclass(frozen=True, kw_only=True)
class RunnerStatistics:
    """A snapshot; the rates are over the wall time since the runner's first run.

    Attributes:
        num_running: Runs that work now.
        num_succeeded: Runs that reached their output.
        num_failed: Runs that raised an error.
        usage: What all runs have cost so far, running ones included.
        wall_time_s: Seconds since the first run began.
    """

    num_running: int
    num_succeeded: int
    num_failed: int
    usage: Usage
    wall_time_s: float

    @property
    def output_tokens_per_second(self) -> float:
        """Output tokens per second of wall time, tools and framework included."""
        return self._per_second(self.usage.output_tokens)

    @property
    def turns_per_second(self) -> float:
        """Model turns per second of wall time."""
        return self._per_second(self.usage.requests)

    @property
    def tasks_per_minute(self) -> float:
        """Runs that reached their output, per minute of wall time."""
        return 60 * self._per_second(self.num_succeeded)

    def _per_second(self, number: float) -> float:
        return number / self.wall_time_s if self.wall_time_s else 0.0
