"""A run as one still picture: three moments of a canvas, the calls, the answer and the figures."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rich.console import Console

from agentflow.cli.canvas import count_lines
from agentflow.cli.views import FilmView, canvas_panel, step_text

if TYPE_CHECKING:
    from agentflow.cli.demo_tasks import DemoTask
    from agentflow.cli.session import Outcome

WIDTH: Final = 96

_FONT_FACE: Final = re.compile(r"@font-face \{.*?\}", re.DOTALL)
"""Fonts that a viewer would fetch from elsewhere; its own fixed-width font does as well."""


def draw_run(
    path: Path, task: DemoTask, film: FilmView, outcome: Outcome, *, model: str, seed: int, failure: str
) -> None:
    """Write the picture of a run as SVG.

    Args:
        path: File to write; its folder must exist.
        task: What was asked.
        film: The drafts and calls that were kept.
        outcome: What remained of the run.
        model: Name of the model.
        seed: Seed of the run.
        failure: What is wrong with the answer, ``""`` if nothing is.
    """
    from agentflow.cli.demo import print_header, print_verdict

    console = Console(record=True, file=io.StringIO(), width=WIDTH, force_terminal=True, color_system="truecolor")
    print_header(console, task, model=model, seed=seed)
    turn, frames = film.frames()
    num_lines = max((count_lines(draft, width=WIDTH - 4) for draft in frames), default=1)  # 4 cells for the frame
    for draft in frames:
        console.print(canvas_panel(draft, status=f"turn {turn}", num_lines=num_lines))
    for number, event in enumerate(film.calls, start=1):
        console.print(step_text(number, event))
    outcome.print(console)
    print_verdict(console, failure)
    path.write_text(_FONT_FACE.sub("", console.export_svg(title="agentflow demo")), encoding="utf-8")
