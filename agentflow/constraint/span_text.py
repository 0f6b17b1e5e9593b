"""The text of grounded slots as arrays: its lines one after the other, and where spans may begin and end.

    characters   S e e   " P a r i s "   n o w
    starts       ^       ^ ^             ^
    ends              ^            ^ ^         ^    (behind the character)

Which tokens spell the spans is left to `agentflow.constraint.span_fragment`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from agentflow.constraint.automaton import BoolArray, CharDfa, IntArray
from agentflow.constraint.limits import check_time, spend
from agentflow.constraint.string_kernels import find_matches
from agentflow.constraint.surface_bytes import Style, escape

Places = npt.NDArray[np.int64]
"""Places in a text, ascending; place i lies before character i."""

_SPACE, _WORD, _OPENER, _CLOSER, _NEVER_LAST = 1, 2, 4, 8, 16
_OPENERS = "\"'([{<"
_CLOSERS = "\"')]}>,;:.!?"
_NEVER_ENDING = ",;:"
_NUM_ASCII = 128
_FEW_STARTS = 1024


def _kind(char: str) -> int:
    kind = _SPACE if char.isspace() else _WORD if char.isalnum() or char == "_" else 0
    marks = ((_OPENERS, _OPENER), (_CLOSERS, _CLOSER), (_NEVER_ENDING, _NEVER_LAST))
    return kind | sum(flag for chars, flag in marks if char in chars)


_ASCII_KINDS = np.array([_kind(chr(code)) for code in range(_NUM_ASCII)], np.uint8)

_ESCAPES = {char: escape(char, "json") for char in ("\\", '"', *map(chr, range(32))) if char != "\n"}
_ESCAPED_SIZE = np.array([len(_ESCAPES.get(chr(code), " ")) for code in range(_NUM_ASCII)], np.int64)


def expand_ranges(low: Places, high: Places) -> tuple[Places, Places]:
    """Write ranges out: the number of the range, and each number in it."""
    sizes = np.maximum(high - low, 0)
    part = np.repeat(np.arange(len(low)), sizes)
    return part, np.arange(len(part)) - np.repeat(np.cumsum(sizes) - sizes - low, sizes)


class Chunks(NamedTuple):
    """The longest pieces without white space.

    Attributes:
        begin: ``(C,)`` place of each one's first character.
        end: ``(C,)`` place behind its last one.
        is_first: ``(C,)`` bool, whether it is the first of its line.
    """

    begin: Places
    end: Places
    is_first: BoolArray


class Spelt(NamedTuple):
    """A text as it is spelt.

    Attributes:
        text: The spelling.
        places: ``(N + 1,)``, where each place lies in it.
    """

    text: str
    places: Places


class SpanText:
    """Lines, joined by line breaks, and where spans of them may begin and end.

    Words begin and end spans; so do punctuation marks at the border of white space or next to a quote or bracket.

    Attributes:
        text: The lines, one after the other.
        is_whole: Whether spans begin and end at the borders of words; otherwise anywhere but at white space.
    """

    def __init__(self, lines: Sequence[str], *, is_whole: bool) -> None:
        """Take lines that are trimmed and not blank."""
        self.text = "\n".join(lines)
        self.is_whole = is_whole

    @cached_property
    def codes(self) -> npt.NDArray[np.uint32]:
        """``(N,)`` the code point of each character."""
        return np.frombuffer(self.text.encode("utf-32-le", "surrogatepass"), np.uint32)

    @cached_property
    def is_break(self) -> BoolArray:
        """``(N + 1,)`` bool, whether a line ends at a place."""
        return np.append(self.codes == ord("\n"), True)

    @cached_property
    def _kinds(self) -> npt.NDArray[np.uint8]:
        """``(N + 2,)`` kind of each character, white space around them."""
        kinds = np.full(len(self.codes) + 2, _SPACE, np.uint8)
        kinds[1:-1] = _ASCII_KINDS[np.minimum(self.codes, _NUM_ASCII - 1)]
        if not self.text.isascii():
            others = np.flatnonzero(self.codes >= _NUM_ASCII)
            distinct, inverse = np.unique(self.codes[others], return_inverse=True)
            kinds[1 + others] = np.array([_kind(chr(code)) for code in distinct.tolist()], np.uint8)[inverse]
        return kinds

    @cached_property
    def is_space(self) -> BoolArray:
        """``(N + 1,)`` bool, whether white space or nothing stands behind a place."""
        found: BoolArray = self._kinds[1:] & _SPACE != 0
        return found

    @cached_property
    def starts(self) -> Places:
        """Places at which spans may begin."""
        kinds, here = self._kinds, self._kinds[1:-1]
        if not self.is_whole:
            return np.flatnonzero(here & _SPACE == 0)
        before = kinds[:-2]
        is_mark = here & (_SPACE | _WORD) == 0
        is_start = ((here & _WORD) > (before & _WORD)) | (is_mark & (before & (_SPACE | _OPENER) != 0))
        return np.flatnonzero(is_start)

    @cached_property
    def ends(self) -> Places:
        """Places at which spans may end."""
        kinds, here = self._kinds, self._kinds[1:-1]
        if not self.is_whole:
            return np.flatnonzero(here & _SPACE == 0) + 1
        after = kinds[2:]
        is_mark = here & (_SPACE | _WORD | _NEVER_LAST) == 0
        is_end = ((here & _WORD) > (after & _WORD)) | (is_mark & (after & (_SPACE | _CLOSER) != 0))
        return np.flatnonzero(is_end) + 1

    @cached_property
    def is_end(self) -> BoolArray:
        """``(N + 1,)`` bool, whether spans may end at a place."""
        found = np.zeros(len(self.codes) + 1, bool)
        found[self.ends] = True
        return found

    @cached_property
    def chunks(self) -> Chunks:
        """The pieces between white space."""
        is_space = (self._kinds & _SPACE).astype(np.int8)
        begin = np.flatnonzero(np.diff(is_space) < 0)
        end = np.flatnonzero(np.diff(is_space) > 0)
        line = np.cumsum(self.is_break)[begin]
        return Chunks(begin, end, np.append(True, line[1:] > line[:-1])[: len(begin)])

    @cached_property
    def has_spans(self) -> bool:
        """Whether there is a span at all."""
        if not len(self.ends):
            return False
        first = self.starts[0] if len(self.starts) else len(self.codes)
        end = np.searchsorted(self.ends, first, side="right")
        if end < len(self.ends) and "\n" not in self.text[first : self.ends[end]]:
            return True  # nearly always
        line = np.cumsum(self.is_break)  # a line's end counts to the next one
        after = np.searchsorted(self.ends, self.starts, side="right")
        follows = after < len(self.ends)
        return bool((line[self.starts[follows]] == line[self.ends[after[follows]] - 1]).any())

    def spell(self, style: Style) -> Spelt:
        """Spell the text; line breaks stay."""
        if style != "json":
            return Spelt(self.text, np.arange(len(self.codes) + 1))
        places = np.zeros(len(self.codes) + 1, np.int64)
        np.cumsum(_ESCAPED_SIZE[np.minimum(self.codes, _NUM_ASCII - 1)], out=places[1:])
        text = self.text
        if places[-1] != len(self.codes):
            for char, escaped in _ESCAPES.items():
                if char in text:
                    text = text.replace(char, escaped)
        return Spelt(text, places)

    def columns(self, allowed: CharDfa) -> IntArray:
        """Give the column of each character in a table, ``(N,)``."""
        return np.searchsorted(allowed.starts, self.codes, side="right").astype(np.int32) - 1

    def matching_starts(self, allowed: CharDfa) -> Places:
        """Give the starts of spans that are in a set."""
        if allowed.is_empty:
            return self.starts[:0]
        automaton = self.columns(allowed), allowed.table, allowed.accepting
        found = []
        for starts in np.split(self.starts, range(_FEW_STARTS, len(self.starts), _FEW_STARTS)):
            check_time()
            found.append(starts[find_matches(starts, np.stack([self.is_break, self.is_end]), *automaton)])
        return np.concatenate(found)

    def matches(self, allowed: CharDfa) -> Iterator[str]:
        """Give the spans that are in a set, one by one and with repetitions."""
        columns, table, accepting = self.columns(allowed).tolist(), allowed.table.tolist(), allowed.accepting.tolist()
        is_end, is_break = self.is_end.tolist(), self.is_break.tolist()
        for start in self.starts.tolist():
            state, at = 0, start
            while not is_break[at]:
                state = table[state][columns[at]]
                if state < 0:
                    break
                at += 1
                if accepting[state] and is_end[at]:
                    spend()
                    yield self.text[start:at]
