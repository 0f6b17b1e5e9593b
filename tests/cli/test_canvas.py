"""The picture of a canvas."""

import io

import pytest
from rich.console import Console

from agentflow.cli.canvas import CanvasView, count_states, draft_line, legend
from agentflow.types import Draft

PIECES = ("{", '"day"', ":", '<|"|>', "Satur", "day", '<|"|>', "}", " noise", "\n")
STATES = ("clamped",) * 4 + ("accepted",) * 2 + ("clamped",) * 2 + ("open",) * 2


def draft(pieces=PIECES, states=STATES) -> Draft:
    """Make a draft in the middle of settling."""
    return Draft(canvas_index=0, step=2, max_steps=16, pieces=tuple(pieces), states=tuple(states))


def printed(view, *, width=60, encoding="utf-8") -> list[str]:
    """Print on a terminal without colours and return its lines."""
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    Console(file=stream, width=width, color_system=None).print(view)
    stream.flush()
    return stream.buffer.getvalue().decode(encoding).splitlines()


def test_marks_stand_below_their_positions():
    """Each state has its own mark right below its text, readable without colour."""
    text, marks = printed(CanvasView(draft(), num_lines=1))
    assert text == '{"day":"Saturday"} no↵  '
    assert marks == "═════ ══──── ── ══·· ·· "


def test_redrawn_noise_moves_nothing():
    """Open positions have one width, whatever token was drawn."""
    states = ("open", "accepted")
    first = printed(CanvasView(draft(("x", "end"), states), num_lines=1))
    second = printed(CanvasView(draft(("international", "end"), states), num_lines=1))
    assert first[0].index("end") == second[0].index("end")
    assert first[1] == second[1]


@pytest.mark.parametrize("num_positions", [0, 1, 40, 400])
def test_height_is_fixed(num_positions):
    """The picture never grows or shrinks, so the live view stays calm."""
    view = CanvasView(draft(["word"] * num_positions, ["accepted"] * num_positions), num_lines=3)
    assert len(printed(view, width=40)) == 6
    assert len(printed(CanvasView(None, num_lines=3), width=40)) == 6


def test_no_line_is_wider_than_the_terminal():
    """Long, wide and zero-width pieces are cut or replaced, at any width."""
    pieces = ["a" * 90, "日本語", "\u0301", "\x1b[31m", "", "\t"]
    for state in ("open", "accepted"):
        lines = printed(CanvasView(draft(pieces * 5, [state] * 30), num_lines=4), width=30)
        assert all(len(line) <= 30 for line in lines)
        assert "\x1b" not in "".join(lines)


def test_hidden_positions_are_counted():
    """What does not fit is said, not silently dropped."""
    lines = printed(CanvasView(draft(["abcd"] * 20, ["accepted"] * 20), num_lines=1), width=20)
    assert lines[0] == "abcd" * 4 + " +16"


def test_ascii_terminals_get_ascii_marks():
    """A terminal without Unicode can still tell the states apart."""
    text, marks = printed(
        CanvasView(draft(("{", "é", "x"), ("clamped", "accepted", "open")), num_lines=1), encoding="ascii"
    )
    assert (text, marks) == ("{?x  ", "=-.. ")
    assert legend(is_ascii=True).plain.isascii()


def test_draft_line_shows_settled_text_and_dots():
    """On a pipe a draft is one line of plain text."""
    assert draft_line(draft(), max_cells=40) == '{"day":"Saturday"}··'
    assert draft_line(draft(["word"] * 30, ["accepted"] * 30), max_cells=12) == "wordwordwor…"


def test_states_are_counted():
    """The counts of the three states add up to the canvas."""
    assert count_states(draft()) == {"clamped": 6, "accepted": 2, "open": 2}
