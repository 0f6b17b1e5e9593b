"""Plans for people: as text, as a Mermaid diagram, as a picture."""

from __future__ import annotations

import json
from html import escape

from agentflow.planner.graph import needs_of
from agentflow.types import Plan, PlanStep

_MARKS = {"pending": "○", "done": "●", "failed": "✗", "skipped": "-"}
_COLORS = {"pending": "#ffffff", "done": "#d5f0d8", "failed": "#f7d4d4", "skipped": "#e8e8e8"}
_MERMAID_CODES = {"#": "#35;", '"': "#quot;", "<": "#lt;", ">": "#gt;", "\n": " "}
_ARROW_TIP = (
    '<defs><marker id="tip" markerWidth="8" markerHeight="8" refX="7" refY="3" orient="auto">'
    '<path d="M0,0 L7,3 L0,6 z" fill="#555"/></marker></defs>'
)
_WIDTH, _HEIGHT, _GAP = 200, 56, 36  # of a box, in pixels


def plan_as_text(plan: Plan) -> str:
    """One line per step: ``● s2 get_weather(city="Oslo") after s1 - why``."""
    lines = [f"Plan: {plan.task}"]
    for step in plan.steps:
        after = f" after {', '.join(needs_of(step))}" if needs_of(step) else ""
        goal = f" - {step.goal}" if step.goal else ""
        lines.append(f"{_MARKS[step.state]} {step.id} {_show_call(step)}{after}{goal}")
    return "\n".join(lines)


def plan_as_mermaid(plan: Plan) -> str:
    """A flow chart that Mermaid draws."""
    lines = ["flowchart TD"]
    for step in plan.steps:
        label = "".join(_MERMAID_CODES.get(char, char) for char in f"{step.id}: {_show_call(step)}")
        lines.append(f'    {step.id}["{label}"]:::{step.state}')
    lines += [f"    {needed} --> {step.id}" for step in plan.steps for needed in needs_of(step)]
    lines += [f"    classDef {state} fill:{color},stroke:#555" for state, color in _COLORS.items()]
    return "\n".join(lines)


def plan_as_svg(plan: Plan) -> str:
    """A picture: steps that can run at once stand in one row, arrows lead to what needs them."""
    places = _place(plan)
    num_rows = max((row for row, _ in places.values()), default=0) + 1
    num_columns = max((column for _, column in places.values()), default=0) + 1
    size = (num_columns * (_WIDTH + _GAP) + _GAP, num_rows * (_HEIGHT + _GAP) + _GAP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{size[0]}" height="{size[1]}" font-family="sans-serif">',
        _ARROW_TIP,
        *(_draw_arrow(places[needed], places[step.id]) for step in plan.steps for needed in needs_of(step)),
        *(_draw_box(step, places[step.id]) for step in plan.steps),
        "</svg>",
    ]
    return "\n".join(parts)


def _place(plan: Plan) -> dict[str, tuple[int, int]]:
    """Give each step a row, below everything that it needs, and a column."""
    places: dict[str, tuple[int, int]] = {}
    for step in plan.steps:
        row = max((places[needed][0] + 1 for needed in needs_of(step)), default=0)
        places[step.id] = (row, sum(other == row for other, _ in places.values()))
    return places


def _corner(place: tuple[int, int]) -> tuple[int, int]:
    row, column = place
    return _GAP + column * (_WIDTH + _GAP), _GAP + row * (_HEIGHT + _GAP)


def _draw_arrow(start: tuple[int, int], end: tuple[int, int]) -> str:
    (x1, y1), (x2, y2) = _corner(start), _corner(end)
    return (
        f'<line x1="{x1 + _WIDTH // 2}" y1="{y1 + _HEIGHT}" x2="{x2 + _WIDTH // 2}" y2="{y2}" '
        'stroke="#555" marker-end="url(#tip)"/>'
    )


def _draw_box(step: PlanStep, place: tuple[int, int]) -> str:
    x, y = _corner(place)
    first, second = f"{step.id}: {step.tool}"[:28], step.goal[:34]
    return (
        f'<rect x="{x}" y="{y}" width="{_WIDTH}" height="{_HEIGHT}" rx="6" fill="{_COLORS[step.state]}" stroke="#555"/>'
        f'<text x="{x + 10}" y="{y + 23}" font-size="13">{escape(first)}</text>'
        f'<text x="{x + 10}" y="{y + 42}" font-size="11" fill="#555">{escape(second)}</text>'
    )


def _show_call(step: PlanStep) -> str:
    if step.arguments is None:
        return f"{step.tool}(…)"
    inside = ", ".join(f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in step.arguments.items())
    return f"{step.tool}({inside})"
