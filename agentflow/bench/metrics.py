"""What is measured of a suite, under the names and formulas that the reports print.

Rates carry a Wilson interval, ratios of sums a bootstrap interval over tasks, both at 95 %. Nothing here runs a task
or prints.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Final, NamedTuple

import numpy as np

from agentflow.types import Usage

Z_95: Final = 1.959963984540054
NUM_RESAMPLES: Final = 2000
PERCENTILES: Final = (50, 90, 95, 99)

FORMULAS: Final[Mapping[str, str]] = {
    "success_rate": "tasks whose final answer and whose world are both right / tasks",
    "valid_call_rate": "calls that name an offered tool and fit its schema / (calls + turns that could not be read)",
    "exact_call_rate": "calls of the reference solution that were made with equal arguments / its calls",
    "output_tokens_per_second": "output tokens / wall time of the loop (tools and framework included)",
    "end_to_end_output_tokens_per_second": "output tokens / sum of model-call durations (unreadable ones: no tokens)",
    "denoising_steps_per_canvas": "denoising steps / canvases committed",
    "tokens_per_forward": "output tokens / forward passes that wrote the output",
    "model_time_share": "sum of model-call durations / wall time of the loop",
    "tool_time_share": "sum of tool durations / wall time of the loop",
    "framework_time_share": "1 - model_time_share - tool_time_share (negative where tools ran concurrently)",
    "constraint_time_share": "constraint work / sum of model-call durations",
    "log_partition_per_step": "sum of log Z / denoising steps",
    "tasks_per_minute": "tasks / wall time of the loop in minutes",
    "goodput": "tasks solved within the deadline / wall time of the loop in minutes",
}


@dataclass(frozen=True, kw_only=True)
class TaskRecord:
    """One task, worked off once.

    Attributes:
        task: Its name.
        kind: Its kind.
        seed: Seed of the run.
        is_solved: Whether the answer and the world are both right.
        failure: Why not, in one sentence; ``""`` when solved.
        duration_s: Wall time of the loop, tools and framework included, model loading not.
        tool_time_s: Sum of the tools' durations.
        num_steps: Turns of the model.
        num_calls: Tool calls that the model asked for.
        num_valid_calls: Of these, calls that name an offered tool and fit its schema.
        num_unreadable_turns: Turns that were no call and no answer.
        num_reference_calls: Calls of the reference solution.
        num_exact_calls: Of these, calls that the model made with equal arguments.
        usage: What the model cost.
    """

    task: str
    kind: str
    seed: int
    is_solved: bool
    failure: str = ""
    duration_s: float
    tool_time_s: float = 0.0
    num_steps: int = 0
    num_calls: int = 0
    num_valid_calls: int = 0
    num_unreadable_turns: int = 0
    num_reference_calls: int = 0
    num_exact_calls: int = 0
    usage: Usage = field(default_factory=Usage)


class Interval(NamedTuple):
    """A 95 % confidence interval."""

    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Measure:
    """A number with its interval, ``None`` where an interval makes no sense."""

    value: float
    interval: Interval | None = None


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What a list of records comes to.

    Attributes:
        num_tasks: Tasks run.
        num_solved: Tasks solved.
        measures: Every measure by its name in `FORMULAS`, percentiles of `task_duration_s` and per-task means.
        usage: Sum of the usages.
        wall_time_s: Sum of the tasks' durations.
    """

    num_tasks: int
    num_solved: int
    measures: Mapping[str, Measure]
    usage: Usage
    wall_time_s: float


def summarize(records: Sequence[TaskRecord], *, deadline_s: float = 30.0, seed: int = 0) -> Summary:
    """Summarise records of one way of decoding.

    Args:
        records: At least one record; the tasks ran one after the other.
        deadline_s: Deadline of `goodput`.
        seed: Seed of the bootstrap.

    Returns:
        The summary.

    Raises:
        ValueError: If there are no records.
    """
    if not records:
        raise ValueError("summarize() needs at least one record, got none")
    return Summary(
        num_tasks=len(records),
        num_solved=sum(record.is_solved for record in records),
        measures={**_rates(records), **_ratios(records, seed=seed), **_times(records, deadline_s=deadline_s)},
        usage=total_usage(records),
        wall_time_s=sum(record.duration_s for record in records),
    )


def total_usage(records: Sequence[TaskRecord]) -> Usage:
    """Add up what the records cost."""
    return sum((record.usage for record in records), Usage())


def wilson_interval(num_hits: int, num_trials: int) -> Interval | None:
    """Interval of a rate (Wilson 1927, score interval), ``None`` without trials."""
    if num_trials == 0:
        return None
    rate, z2 = num_hits / num_trials, Z_95**2
    centre = (rate + z2 / (2 * num_trials)) / (1 + z2 / num_trials)
    half = Z_95 / (1 + z2 / num_trials) * math.sqrt(rate * (1 - rate) / num_trials + z2 / (4 * num_trials**2))
    return Interval(max(0.0, centre - half), min(1.0, centre + half))


def bootstrap_interval(pairs: Sequence[tuple[float, float]], *, seed: int) -> Interval | None:
    """Interval of a ratio of sums (Efron 1979, percentile bootstrap over the pairs).

    Args:
        pairs: Numerator and denominator of each task.
        seed: Seed of the resampling.

    Returns:
        The interval, ``None`` for fewer than two pairs or where every denominator is 0.
    """
    if len(pairs) < 2 or not any(below for _, below in pairs):  # noqa: PLR2004 - one pair has no spread
        return None
    values = np.array(pairs, dtype=np.float64)  # (N, 2)
    drawn = np.random.default_rng(seed).integers(len(pairs), size=(NUM_RESAMPLES, len(pairs)))  # (R, N)
    above, below = values[drawn].sum(axis=1).T  # (R,) each
    ratios = np.divide(above, below, out=np.zeros_like(above), where=below != 0)  # (R,)
    low, high = np.percentile(ratios, (2.5, 97.5))
    return Interval(float(low), float(high))


def percentile(values: Sequence[float], rank: float) -> float:
    """Percentile of `values` by linear interpolation between order statistics; `rank` from 0 to 100."""
    ordered = sorted(values)
    place = (len(ordered) - 1) * rank / 100
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def _rates(records: Sequence[TaskRecord]) -> dict[str, Measure]:
    num_calls = sum(record.num_calls + record.num_unreadable_turns for record in records)
    counts = {
        "success_rate": (sum(record.is_solved for record in records), len(records)),
        "valid_call_rate": (sum(record.num_valid_calls for record in records), num_calls),
        "exact_call_rate": (
            sum(record.num_exact_calls for record in records),
            sum(record.num_reference_calls for record in records),
        ),
    }
    return {
        name: Measure(value=hits / trials if trials else 0.0, interval=wilson_interval(hits, trials))
        for name, (hits, trials) in counts.items()
    }


def _ratios(records: Sequence[TaskRecord], *, seed: int) -> dict[str, Measure]:
    parts: dict[str, Callable[[TaskRecord], tuple[float, float]]] = {
        "output_tokens_per_second": lambda r: (r.usage.output_tokens, r.duration_s),
        "end_to_end_output_tokens_per_second": lambda r: (r.usage.output_tokens, r.usage.model_time_s),
        "denoising_steps_per_canvas": lambda r: (r.usage.denoising_steps, r.usage.num_canvases),
        "tokens_per_forward": lambda r: (r.usage.output_tokens, r.usage.num_forwards),
        "model_time_share": lambda r: (r.usage.model_time_s, r.duration_s),
        "tool_time_share": lambda r: (r.tool_time_s, r.duration_s),
        "framework_time_share": lambda r: (r.duration_s - r.usage.model_time_s - r.tool_time_s, r.duration_s),
        "constraint_time_share": lambda r: (r.usage.constraint_time_s, r.usage.model_time_s),
        "log_partition_per_step": lambda r: (r.usage.log_partition, r.usage.denoising_steps),
        "tasks_per_minute": lambda r: (60, r.duration_s),
    }
    return {name: _ratio_measure([of(record) for record in records], seed=seed) for name, of in parts.items()}


def _times(records: Sequence[TaskRecord], *, deadline_s: float) -> dict[str, Measure]:
    durations = [record.duration_s for record in records]
    num_in_time = sum(record.is_solved and record.duration_s <= deadline_s for record in records)
    measures = {f"task_duration_s_p{rank}": percentile(durations, rank) for rank in PERCENTILES}
    measures["goodput"] = _ratio([(60 * num_in_time, sum(durations))])
    measures["steps_per_task"] = fmean(record.num_steps for record in records)
    measures["calls_per_task"] = fmean(record.num_calls for record in records)
    return {name: Measure(value=value) for name, value in measures.items()}


def _ratio_measure(pairs: Sequence[tuple[float, float]], *, seed: int) -> Measure:
    return Measure(value=_ratio(pairs), interval=bootstrap_interval(pairs, seed=seed))


def _ratio(pairs: Sequence[tuple[float, float]]) -> float:
    below = sum(pair[1] for pair in pairs)
    return sum(pair[0] for pair in pairs) / below if below else 0.0
