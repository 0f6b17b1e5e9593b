"""The figures that close a run: how fast, how many steps, how many calls.

Names and formulas are those of `agentflow.bench.metrics`; this module only prints them.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from rich.console import RenderableType
from rich.table import Table

from agentflow.types import Usage


class Figure(NamedTuple):
    """One number of a run, ready to print."""

    name: str
    value: str


def run_figures(usage: Usage, *, duration_s: float) -> tuple[Figure, ...]:
    """Work out the figures of a run.

    Args:
        usage: What the run cost.
        duration_s: Wall time of the loop, tools and framework included.

    Returns:
        The figures in the order in which they are shown; those that a left-to-right model has not are left out.
    """
    per_second = usage.output_tokens / duration_s if duration_s else 0.0
    figures = [
        Figure("output tokens", f"{usage.output_tokens:,}"),
        Figure("tokens per second", f"{per_second:,.1f}"),
    ]
    if usage.denoising_steps:
        figures.append(Figure("denoising steps per canvas", f"{usage.denoising_steps_per_canvas:.1f}"))
    if usage.num_forwards:
        figures.append(Figure("tokens per forward pass", f"{usage.tokens_per_forward:.1f}"))
    return (
        *figures,
        Figure("model turns", str(usage.requests)),
        Figure("calls", str(usage.tool_calls)),
        Figure("wall time", f"{duration_s:.1f} s"),
    )


TABLE_CELLS: Final = 72
"""Width that the figures need beside each other."""


def figures_table(figures: tuple[Figure, ...], *, width: int = TABLE_CELLS) -> RenderableType:
    """Lay the figures out as one row under their names, or below each other where `width` is too small for that."""
    if width < TABLE_CELLS:
        grid = Table.grid(padding=(0, 2))
        for figure in figures:
            grid.add_row(f"[dim]{figure.name}[/]", f"[bold]{figure.value}[/]")
        return grid
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for figure in figures:
        table.add_column(_two_lines(figure.name), justify="right", header_style="dim", vertical="bottom")
    table.add_row(*(f"[bold]{figure.value}[/]" for figure in figures))
    return table


def figures_line(figures: tuple[Figure, ...]) -> str:
    """Put the figures on one line of plain text."""
    return ", ".join(f"{figure.name} {figure.value}" for figure in figures)


def short_figures(usage: Usage, *, duration_s: float) -> str:
    """Put what a person wants to know after each answer on one short line."""
    parts = [f"{duration_s:.1f} s", f"{usage.output_tokens:,} tokens"]
    if usage.model_time_s:
        parts.append(f"{usage.output_tokens / usage.model_time_s:,.0f} tokens/s")
    if usage.denoising_steps:
        parts.append(f"{usage.denoising_steps_per_canvas:.1f} steps per canvas")
    return " · ".join(parts)


def _two_lines(name: str) -> str:
    """Break a long name near its middle."""
    words = name.split()
    half = max(1, len(words) // 2)
    return "\n".join((" ".join(words[:half]), " ".join(words[half:])))
