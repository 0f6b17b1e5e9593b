"""A benchmark for people and for programs: a header, tables, and the same data as JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from agentflow.bench.machine import Machine
from agentflow.bench.metrics import FORMULAS, Measure, Summary, TaskRecord, summarize

PERCENT: Final = ("success_rate", "valid_call_rate", "exact_call_rate")
SHOWN: Final[Mapping[str, str]] = {
    "success_rate": "tasks solved",
    "valid_call_rate": "valid calls",
    "exact_call_rate": "exact calls",
    "output_tokens_per_second": "output tokens/s",
    "end_to_end_output_tokens_per_second": "model tokens/s",
    "denoising_steps_per_canvas": "steps per canvas",
    "tokens_per_forward": "tokens per forward",
    "tasks_per_minute": "tasks per minute",
    "goodput": "goodput per minute",
    "task_duration_s_p50": "task p50, s",
    "task_duration_s_p95": "task p95, s",
    "calls_per_task": "calls per task",
    "model_time_share": "time: model",
    "tool_time_share": "time: tools",
    "framework_time_share": "time: framework",
    "constraint_time_share": "time: constraint",
    "log_partition_per_step": "log Z per step",
}
"""The rows of the table and what they are called there."""

DIFFUSION_ONLY: Final = ("denoising_steps_per_canvas", "log_partition_per_step")


@dataclass(frozen=True, kw_only=True)
class Report:
    """Everything that one run of the benchmark found.

    Attributes:
        suite: Name of the suite.
        model: Name of the model.
        machine: Where it was measured.
        seeds: Seeds of the runs; every task was run once with each.
        deadline_s: Deadline of `goodput`.
        modes: Records by mode, in the order in which the modes are shown.
    """

    suite: str
    model: str
    machine: Machine
    seeds: tuple[int, ...]
    deadline_s: float
    modes: Mapping[str, Sequence[TaskRecord]]

    @property
    def summaries(self) -> dict[str, Summary]:
        """Summary of each mode, worked out anew."""
        return {mode: summarize(records, deadline_s=self.deadline_s) for mode, records in self.modes.items()}

    def to_json(self, *, has_records: bool = True) -> dict[str, Any]:
        """Return the report as plain JSON, with or without one entry per task."""
        modes: dict[str, Any] = {}
        for mode, summary in self.summaries.items():
            modes[mode] = _summary_json(summary)
            if has_records:
                modes[mode]["records"] = [dataclasses.asdict(record) for record in self.modes[mode]]
        head = {"suite": self.suite, "model": self.model, "seeds": list(self.seeds), "deadline_s": self.deadline_s}
        return {**head, "machine": dataclasses.asdict(self.machine), "modes": modes}


def print_report(report: Report, console: Console) -> None:
    """Print header, measures, solved tasks by kind, and the failures."""
    for part in ("", measures_table(report), "", kinds_table(report), ""):
        console.print(part)
    for mode, records in report.modes.items():
        for record in records:
            if not record.is_solved:
                line = f"{mode}: {record.task} (seed {record.seed}): {record.failure}"
                console.print(line, style="dim", markup=False, highlight=False, overflow="ellipsis", no_wrap=True)
    console.print("\nIntervals are 95 %: Wilson for rates, bootstrap over tasks for ratios of sums.", style="dim")
    for name, label in SHOWN.items():
        if name in FORMULAS:
            line = f"{label} = {FORMULAS[name]}"
            console.print(line, style="dim", markup=False, highlight=False, soft_wrap=not console.is_terminal)


def header_lines(report: Report, *, num_tasks: int) -> list[str]:
    """Say what is measured and where."""
    versions = ", ".join(f"{name} {number}" for name, number in report.machine.versions.items())
    seeds = ", ".join(map(str, report.seeds))
    return [
        f"suite {report.suite}, {num_tasks} tasks, seeds {seeds}, model {report.model}, one agent at a time",
        str(report.machine),
        versions,
    ]


def measures_table(report: Report) -> Table:
    """Lay the measures out, one column per mode."""
    table = Table(title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("")
    summaries = report.summaries
    for mode in summaries:
        table.add_column(mode, justify="right")
    for name, label in SHOWN.items():
        table.add_row(label, *(_cell(name, summary) for summary in summaries.values()))
    return table


def kinds_table(report: Report) -> Table:
    """Count the solved tasks of each kind."""
    kinds = list(dict.fromkeys(record.kind for records in report.modes.values() for record in records))
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("solved by kind")
    for mode in report.modes:
        table.add_column(mode, justify="right")
    for kind in kinds:
        cells = []
        for records in report.modes.values():
            of_kind = [record for record in records if record.kind == kind]
            cells.append(f"{sum(record.is_solved for record in of_kind)}/{len(of_kind)}")
        table.add_row(kind, *cells)
    return table


def _cell(name: str, summary: Summary) -> str:
    if name in DIFFUSION_ONLY and not summary.usage.denoising_steps:
        return "-"
    measure = summary.measures[name]
    if name in PERCENT and measure.interval is None:
        return "-"
    if name == "success_rate":
        return f"{summary.num_solved}/{summary.num_tasks} ({_range(measure, is_percent=True)})"
    value = f"{100 * measure.value:.1f} %" if name in PERCENT or name.endswith("_share") else _short(measure.value)
    is_percent = name in PERCENT
    has_range = measure.interval is not None and not name.endswith("_share")
    return f"{value} ({_range(measure, is_percent=is_percent)})" if has_range else value


def _range(measure: Measure, *, is_percent: bool) -> str:
    low, high = measure.interval or (measure.value, measure.value)
    if is_percent:
        return f"{100 * low:.0f}-{100 * high:.0f} %"
    return f"{_short(low)}-{_short(high)}" if low >= 0 else f"{_short(low)} to {_short(high)}"


def _short(value: float) -> str:
    """Write a number with three significant digits, large ones whole."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"  # noqa: PLR2004 - three digits


def _summary_json(summary: Summary) -> dict[str, Any]:
    return {
        "num_tasks": summary.num_tasks,
        "num_solved": summary.num_solved,
        "wall_time_s": summary.wall_time_s,
        "usage": dataclasses.asdict(summary.usage),
        "measures": {
            name: {"value": measure.value, **({"interval": list(measure.interval)} if measure.interval else {})}
            for name, measure in summary.measures.items()
        },
    }
