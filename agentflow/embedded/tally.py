"""What an evaluation counts, with confidence intervals, and how it is printed."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from agentflow.types import Usage


@dataclass
class Score:
    """Right ones of some.

    Attributes:
        num_right: How many were right.
        num_all: How many there were.
    """

    num_right: int = 0
    num_all: int = 0

    def add(self, *, is_right: bool) -> None:
        """Count one."""
        self.num_right += is_right
        self.num_all += 1

    @property
    def share(self) -> float:
        """Right ones as a share."""
        return self.num_right / self.num_all if self.num_all else math.nan

    def interval(self, z: float = 1.96) -> tuple[float, float]:
        """Give Wilson's 95 % interval of the share."""
        if not self.num_all:
            return math.nan, math.nan
        n, p = self.num_all, self.share
        centre, spread = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        return (centre - spread) / (1 + z * z / n), (centre + spread) / (1 + z * z / n)


@dataclass
class Tally:
    """What an evaluation counts.

    Attributes:
        scores: By what was counted: ``task``, ``call``, ``answer``, and each with its kind behind a slash.
        usage: What it cost.
        failures: Some failures, to read.
    """

    scores: dict[str, Score] = field(default_factory=dict)
    usage: Usage = field(default_factory=Usage)
    failures: list[str] = field(default_factory=list)

    def add(self, what: str, kind: str, *, is_right: bool) -> None:
        """Count one under what it is, and under its kind."""
        for name in (what, f"{what}/{kind}"):
            self.add_one(name, is_right=is_right)

    def add_one(self, name: str, *, is_right: bool) -> None:
        """Count one under a name alone."""
        self.scores.setdefault(name, Score()).add(is_right=is_right)


def _rows(way: str, split: str, tally: Tally) -> Iterator[dict[str, Any]]:
    for name, score in sorted(tally.scores.items()):
        low, high = score.interval()
        yield {
            "way": way,
            "split": split,
            "what": name,
            "right": score.num_right,
            "all": score.num_all,
            "share": round(score.share, 4),
            "low": round(low, 4),
            "high": round(high, 4),
        }


def _print_row(row: Mapping[str, Any]) -> None:
    interval = f"[{100 * row['low']:5.1f}, {100 * row['high']:5.1f}]"
    print(  # noqa: T201 - the table
        f"{row['way']:<22} {row['split']:<10} {row['what']:<20} "
        f"{row['right']:>4}/{row['all']:<4} {100 * row['share']:5.1f} % {interval}"
    )


def report(way: str, name: str, tally: Tally, duration_s: float, num_failures: int) -> list[dict[str, Any]]:
    """Print what was counted, and give it as rows."""
    rows = list(_rows(way, name, tally))
    for row in rows:
        _print_row(row)
    _print_cost(tally, duration_s)
    for failure in tally.failures[:num_failures]:
        sys.stdout.write(f"  - {failure}\n")
    sys.stdout.flush()
    return rows


def _print_cost(tally: Tally, duration_s: float) -> None:
    usage = tally.usage
    sys.stdout.write(
        f"  {usage.requests} turns in {duration_s:.0f} s, {usage.denoising_steps_per_canvas:.1f} denoising steps per "
        f"canvas, {usage.tokens_per_forward:.1f} tokens per forward pass\n"
    )
