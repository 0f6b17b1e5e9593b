"""A canvas on the terminal: every position told apart by colour and by a mark below it.

    date:"2026-  9y  4_ "}            what stands on the canvas
    ════ ═─── ─ ··  ··  ═             clamped ═   accepted ─   open ·

A settled position takes the width of its text. An open one always takes `NOISE_CELLS` cells, so that redrawn noise
never moves its neighbours: the picture shifts only when something was decided. The picture has a fixed height.

This module turns a `Draft` into something rich can print. Where and how often it is printed is for `live` to say.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from agentflow.types import Draft, PositionState

NOISE_CELLS: Final = 3
"""Width of an open position in terminal cells."""

STYLES: Final[Mapping[PositionState, str]] = {"clamped": "magenta", "accepted": "bold green", "open": "dim"}
"""Colours that keep their contrast on light and on dark terminals."""

MARKS: Final[Mapping[PositionState, str]] = {"clamped": "═", "accepted": "─", "open": "·"}
ASCII_MARKS: Final[Mapping[PositionState, str]] = {"clamped": "=", "accepted": "-", "open": "."}
MEANINGS: Final[Mapping[PositionState, str]] = {
    "clamped": "clamped, no choice left",
    "accepted": "accepted",
    "open": "open, still noise",
}

_SHORT_FORMS: Final[Mapping[str, str]] = {'<|"|>': '"', "<pad>": "∅"}
_VISIBLE: Final = str.maketrans({"\n": "↵", "\r": "↵", "\t": "→"})
_ASCII_VISIBLE: Final = str.maketrans({"\n": " ", "\r": " ", "\t": " "})


@dataclass(frozen=True)
class _Cell:
    """One position as it will be shown."""

    text: str
    state: PositionState

    @property
    def width(self) -> int:
        return cell_len(self.text)


@dataclass(frozen=True)
class CanvasView:
    """A rich renderable of one draft, always `num_lines` text lines (two rows each) high.

    Attributes:
        draft: The canvas, or ``None`` for an empty one of the same height.
        num_lines: Text lines; positions that do not fit are counted in the last line.
    """

    draft: Draft | None
    num_lines: int = 5

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the text lines, each followed by its line of marks."""
        is_ascii = options.ascii_only
        lines = _wrap(_cells(self.draft, is_ascii=is_ascii), options.max_width) if self.draft else []
        lines = _clip(lines, self.num_lines, options.max_width)
        marks = ASCII_MARKS if is_ascii else MARKS
        for line in lines:
            yield Text.assemble(*((cell.text, STYLES[cell.state]) for cell in line), no_wrap=True, end="\n")
            yield Text.assemble(*((_mark(cell, marks), STYLES[cell.state]) for cell in line), no_wrap=True, end="\n")
        for _ in range(2 * (self.num_lines - len(lines))):
            yield Text("")


def count_lines(draft: Draft, *, width: int) -> int:
    """Count the text lines that a draft needs at a width in cells."""
    return len(_wrap(_cells(draft, is_ascii=False), width))


def legend(*, is_ascii: bool = False) -> Text:
    """Say which mark means what."""
    marks = ASCII_MARKS if is_ascii else MARKS
    parts = [(f"{marks[state] * 2} {meaning}", STYLES[state].replace("dim", "")) for state, meaning in MEANINGS.items()]
    return Text("   ").join(Text(*part) for part in parts)


def count_states(draft: Draft) -> dict[PositionState, int]:
    """Count the positions of each state."""
    return {state: draft.states.count(state) for state in MARKS}


def draft_line(draft: Draft, *, max_cells: int, is_ascii: bool = False) -> str:
    """Put a draft on one line of plain text: settled text as it is, a run of open positions as dots.

    Args:
        draft: The canvas.
        max_cells: Most terminal cells of the line; what is beyond is cut with an ellipsis.
        is_ascii: Whether the terminal shows ASCII only.

    Returns:
        One line without colours or line breaks.
    """
    mark = ASCII_MARKS["open"] if is_ascii else MARKS["open"]
    texts = [mark if cell.state == "open" else cell.text for cell in _cells(draft, is_ascii=is_ascii)]
    line = "".join(texts)
    ellipsis = "..." if is_ascii else "…"
    return line if cell_len(line) <= max_cells else set_cell_size(line, max_cells - len(ellipsis)).rstrip() + ellipsis


def _cells(draft: Draft, *, is_ascii: bool) -> Iterator[_Cell]:
    for piece, state in zip(draft.pieces, draft.states, strict=True):
        text = _printable(_SHORT_FORMS.get(piece, piece), is_ascii=is_ascii)
        yield _Cell(set_cell_size(text, NOISE_CELLS) if state == "open" else text, state)


def _printable(text: str, *, is_ascii: bool) -> str:
    """Replace what a terminal cannot show in one place; an empty piece stays visible as a dot."""
    text = text.translate(_ASCII_VISIBLE if is_ascii else _VISIBLE)
    stand_in = "?" if is_ascii else "\N{REPLACEMENT CHARACTER}"
    shown = "".join(
        char if char.isprintable() and cell_len(char) and (char.isascii() or not is_ascii) else stand_in
        for char in text
    )
    return shown or ("." if is_ascii else "·")


def _wrap(cells: Iterable[_Cell], width: int) -> list[list[_Cell]]:
    """Break into lines between positions; a position wider than a line is cut."""
    lines: list[list[_Cell]] = [[]]
    used = 0
    for cell in cells:
        fitting = cell if cell.width <= width else _Cell(set_cell_size(cell.text, width), cell.state)
        if used + fitting.width > width:
            lines.append([])
            used = 0
        lines[-1].append(fitting)
        used += fitting.width
    return lines


def _clip(lines: list[list[_Cell]], num_lines: int, width: int) -> list[list[_Cell]]:
    """Keep `num_lines` lines; the last one says how many positions are hidden."""
    if len(lines) <= num_lines:
        return lines
    kept, num_hidden = lines[:num_lines], sum(map(len, lines[num_lines:]))
    last = list(kept[-1])
    note = f" +{num_hidden}"
    while last and sum(cell.width for cell in last) + len(note) > width:
        last.pop()
        num_hidden += 1
        note = f" +{num_hidden}"
    return [*kept[:-1], [*last, _Cell(note, "open")]]


def _mark(cell: _Cell, marks: Mapping[PositionState, str]) -> str:
    """Underline a position; wide ones leave a gap on the right so that neighbours stay apart."""
    return marks[cell.state] * (cell.width - 1) + (" " if cell.width > 1 else marks[cell.state])
