r"""Reading regular expressions in the syntax of ECMA-262, as JSON Schema's ``pattern`` uses it.

Read are alternatives, groups, quantifiers (lazy ones too, which describe the same set), classes,
``\d \w \s \b \p{..}``, anchors, and lookarounds; `agentflow.constraint.regex` turns the tree into an automaton and
says where a lookaround may stand. Back references are refused: they are not regular.

ECMA-262 means ASCII by ``\d``, ``\w`` and ``\b``; Python's `re`, which many validators use, means Unicode. A pattern is
read narrowly, so that what it describes matches under both readings, or (where it must not match) widely, so that what
it leaves out matches under neither.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from typing import NoReturn, TypeAlias, Union

from agentflow.constraint.automaton import NUM_CODES, Ranges
from agentflow.constraint.limits import check_time

DIGITS: Ranges = ((48, 57),)
WORD: Ranges = ((48, 57), (65, 90), (95, 95), (97, 122))
SPACE: Ranges = (
    (9, 13), (32, 32), (0xA0, 0xA0), (0x1680, 0x1680), (0x2000, 0x200A), (0x2028, 0x2029),
    (0x202F, 0x202F), (0x205F, 0x205F), (0x3000, 0x3000), (0xFEFF, 0xFEFF),
)  # fmt: skip
_OTHER_SPACE: Ranges = ((0x1C, 0x1F), (0x85, 0x85))  # white space to Python's `re` alone
_NO_PYTHON_SPACE = 0xFEFF
NEWLINES: Ranges = ((10, 10), (13, 13), (0x2028, 0x2029))
_CONTROLS = {"n": 10, "r": 13, "t": 9, "v": 11, "f": 12, "0": 0}
_MAX_NESTING = 200


class RegexError(ValueError):
    """A pattern that is malformed, or that is no regular expression."""


@dataclass(frozen=True)
class Chars:
    """One character of some ranges."""

    ranges: Ranges


@dataclass(frozen=True)
class Cat:
    """One part after the other."""

    parts: tuple[Regex, ...]


@dataclass(frozen=True)
class Alt:
    """One of several options."""

    options: tuple[Regex, ...]


@dataclass(frozen=True)
class Repeat:
    """A body, `minimum` to `maximum` times; ``None`` is without end."""

    body: Regex
    minimum: int
    maximum: int | None


@dataclass(frozen=True)
class Assertion:
    """``^``, ``$``, ``b`` or ``B``: a place, no character; ``b?`` and ``B?`` are read widely."""

    kind: str


@dataclass(frozen=True)
class Look:
    """A lookahead or lookbehind."""

    body: Regex
    is_positive: bool
    is_ahead: bool


Regex: TypeAlias = Union[Chars, Cat, Alt, Repeat, Assertion, Look]


def invert(ranges: Ranges) -> Ranges:
    """Give all other code points."""
    inverted, at = [], 0
    for lo, hi in ranges:
        if lo > at:
            inverted.append((at, lo - 1))
        at = hi + 1
    if at < NUM_CODES:
        inverted.append((at, NUM_CODES - 1))
    return tuple(inverted)


def merge(ranges: list[tuple[int, int]]) -> Ranges:
    """Sort ranges and join those that touch."""
    merged: list[tuple[int, int]] = []
    for lo, hi in sorted(ranges):
        if merged and lo <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(hi, merged[-1][1]))
        else:
            merged.append((lo, hi))
    return tuple(merged)


ANY_BUT_NEWLINE = invert(NEWLINES)
_ANY_BUT_LINE_FEED = invert(((10, 10),))  # what Python's dot takes


def parse(pattern: str, *, is_wide: bool = False) -> Regex:
    """Read a pattern.

    Args:
        pattern: The pattern.
        is_wide: Take what matches under either reading of its classes, not under both.

    Raises:
        RegexError: It is malformed, or not regular; the message says where.
    """
    return _Parser(pattern, is_wide=is_wide).parse()


_END_OF_LETTERS = 0x20000
_MIN_RUN = 32


@lru_cache(maxsize=1)
def other_digits() -> Ranges:
    """Give the digits that are none in ASCII."""
    return merge([(code, code) for code in range(128, _END_OF_LETTERS) if chr(code).isdecimal()])


@lru_cache(maxsize=1)
def other_words() -> Ranges:
    """Give characters outside of ASCII that may be word characters: all but the longer runs of others."""
    words = merge([(code, code) for code in range(128, _END_OF_LETTERS) if chr(code).isalnum()])
    gaps = [(lo, hi) for lo, hi in invert(words) if lo >= 128 and hi < NUM_CODES - 1 and hi - lo >= _MIN_RUN]  # noqa: PLR2004 - ASCII
    return invert(merge([(0, 127), *gaps]))


def _named_set(name: str, *, is_wide: bool) -> Ranges:
    r"""Give the characters of ``\d``, ``\w`` or ``\s``."""
    if name == "d":
        return merge([*DIGITS, *other_digits()]) if is_wide else DIGITS
    if name == "w":
        return merge([*WORD, *other_words()]) if is_wide else WORD
    if is_wide:
        return merge([*SPACE, *_OTHER_SPACE])
    return tuple((lo, hi) for lo, hi in SPACE if lo != _NO_PYTHON_SPACE)


@lru_cache(maxsize=64)
def _category(name: str) -> Ranges:
    """Give the code points of a Unicode general category such as ``L`` or ``Lu``."""
    ranges: list[tuple[int, int]] = []
    for code in range(NUM_CODES):
        if unicodedata.category(chr(code)).startswith(name):
            if ranges and ranges[-1][1] == code - 1:
                ranges[-1] = (ranges[-1][0], code)
            else:
                ranges.append((code, code))
    return tuple(ranges)


_LONG_NAMES = {
    "Letter": "L", "Lowercase_Letter": "Ll", "Uppercase_Letter": "Lu", "Number": "N", "Decimal_Number": "Nd",
    "Punctuation": "P", "Symbol": "S", "Separator": "Z", "Mark": "M", "Other": "C", "digit": "Nd", "Control": "Cc",
}  # fmt: skip
_SHORT_NAMES = frozenset({c + d for c in "LMNPSZC" for d in ["", *"ultmonedcsifpk"]})


class _Parser:
    """Recursive descent over the pattern."""

    def __init__(self, pattern: str, *, is_wide: bool) -> None:
        self._text = pattern
        self._is_wide = is_wide
        self._at = 0
        self._nesting = 0
        self._is_inverted = False

    def parse(self) -> Regex:
        tree = self._read_alternatives()
        if self._at < len(self._text):
            self._fail("an unmatched ')'")
        return tree

    def _read_alternatives(self) -> Regex:
        self._nesting += 1
        if self._nesting > _MAX_NESTING:
            self._fail(f"more than {_MAX_NESTING} nested groups")
        options = [self._read_sequence()]
        while self._take("|"):
            options.append(self._read_sequence())
        self._nesting -= 1
        return options[0] if len(options) == 1 else Alt(tuple(options))

    def _read_sequence(self) -> Regex:
        parts: list[Regex] = []
        while self._at < len(self._text) and self._text[self._at] not in "|)":
            parts.append(self._read_quantified())
        return parts[0] if len(parts) == 1 else Cat(tuple(parts))

    def _read_quantified(self) -> Regex:
        check_time()
        body = self._read_atom()
        while True:
            bounds = self._read_quantifier()
            if bounds is None:
                return body
            if isinstance(body, Assertion):
                self._fail("a quantifier after an anchor")
            body = Repeat(body, *bounds)
            self._take("?")

    def _read_quantifier(self) -> tuple[int, int | None] | None:
        for mark, bounds in (("*", (0, None)), ("+", (1, None)), ("?", (0, 1))):
            if self._take(mark):
                return bounds
        end = self._text.find("}", self._at)
        if not self._text.startswith("{", self._at) or end < 0:
            return None
        low, comma, high = self._text[self._at + 1 : end].partition(",")
        if not low.isdecimal() or (high and not high.isdecimal()) or len(low + high) > 18:  # noqa: PLR2004 - int64
            return None
        self._at = end + 1
        minimum = int(low)
        maximum = (int(high) if high else None) if comma else minimum
        if maximum is not None and maximum < minimum:
            self._fail("a quantifier whose bounds are in the wrong order")
        return minimum, maximum

    def _read_atom(self) -> Regex:  # noqa: PLR0911 - one atom a line
        char = self._next()
        if char == "(":
            return self._read_group()
        if char == "[":
            return Chars(self._read_class())
        if char == ".":
            return Chars(_ANY_BUT_LINE_FEED if self._is_wide else ANY_BUT_NEWLINE)
        if char == "$" and self._is_wide:  # Python's also stands before a newline that ends the string
            return Alt((Assertion("$"), Cat((Chars(((10, 10),)), Assertion("$")))))
        if char in "^$":
            return Assertion(char)
        if char == "\\":
            return self._read_escape()
        if char in "*+?":
            self._fail(f"nothing to repeat before {char!r}")
        return Chars(((ord(char), ord(char)),))

    def _read_group(self) -> Regex:
        look = None
        for mark, is_positive, is_ahead in (
            ("?=", True, True), ("?!", False, True), ("?<=", True, False), ("?<!", False, False),
        ):  # fmt: skip
            if self._take(mark):
                look = (is_positive, is_ahead)
                break
        else:
            if self._take("?<") or self._take("?P<"):
                self._at = self._text.find(">", self._at) + 1 or self._fail("a group name without end")
            elif self._text.startswith("?", self._at) and not self._take("?:"):
                self._fail("an unknown kind of group")
        is_flipped = look is not None and not look[0]
        self._is_wide ^= is_flipped
        body = self._read_alternatives()
        self._is_wide ^= is_flipped
        if not self._take(")"):
            self._fail("a group without end")
        return Look(body, *look) if look else body

    def _read_escape(self) -> Regex:
        char = self._text[self._at : self._at + 1]
        if char in ("b", "B"):
            self._at += 1
            return Assertion(char + "?" if self._is_wide else char)
        if char and char in "123456789k":
            self._fail("a back reference, which is not regular")
        if char in ("A", "Z", "z"):
            self._at += 1
            return Assertion("^" if char == "A" else "$")
        return Chars(self._read_class_escape())

    def _read_class_escape(self) -> Ranges:
        """Read what follows a backslash, inside or outside of a class."""
        char = self._next()
        if char in "dDwWsS":
            is_wide = self._is_wide != self._is_inverted
            if char.isupper():
                return invert(_named_set(char.lower(), is_wide=not is_wide))
            return _named_set(char, is_wide=is_wide)
        if char in "pP":
            return self._read_property(is_inverted=char == "P")
        code = self._read_code(char)
        return ((code, code),)

    def _read_code(self, char: str) -> int:  # noqa: PLR0911 - one escape a line
        if char in _CONTROLS:
            return _CONTROLS[char]
        if char == "c":
            return ord(self._next()) % 32
        if char == "x":
            return self._read_hex(2)
        if char == "u":
            if self._take("{"):
                end = self._text.find("}", self._at)
                return self._read_hex(end - self._at, skip=1)
            high = self._read_hex(4)
            if 0xD800 <= high < 0xDC00 and self._take("\\u"):  # noqa: PLR2004 - surrogates of UTF-16
                return 0x10000 + (high - 0xD800) * 0x400 + self._read_hex(4) - 0xDC00
            return high
        return ord(char)

    def _read_hex(self, num_digits: int, *, skip: int = 0) -> int:
        digits = self._text[self._at : self._at + max(num_digits, 0)]
        try:
            code = int(digits, 16)
        except ValueError:
            self._fail("a character code that is not hexadecimal")
        if len(digits) != num_digits or code >= NUM_CODES:
            self._fail("a character code out of range")
        self._at += num_digits + skip
        return code

    def _read_property(self, *, is_inverted: bool) -> Ranges:
        end = self._text.find("}", self._at)
        if not self._text.startswith("{", self._at) or end < 0:
            self._fail("a character property without braces")
        name = self._text[self._at + 1 : end].rpartition("=")[2]
        self._at = end + 1
        name = _LONG_NAMES.get(name, name)
        if name not in _SHORT_NAMES:
            self._fail(f"the character property {name!r}, which is not a general category")
        return invert(_category(name)) if is_inverted else _category(name)

    def _read_class(self) -> Ranges:
        is_inverted = self._is_inverted = self._take("^")
        ranges: list[tuple[int, int]] = []
        while not self._take("]"):
            low = self._read_class_item()
            if not self._text.startswith("-", self._at) or self._text.startswith("-]", self._at):
                ranges += low
                continue
            self._at += 1
            high = self._read_class_item()
            if len(low) > 1 or len(high) > 1 or low[0][0] != low[0][1] or high[0][0] != high[0][1]:
                ranges += [*low, (45, 45), *high]
            elif low[0][0] > high[0][0]:
                self._fail("a range in the wrong order")
            else:
                ranges.append((low[0][0], high[0][0]))
        self._is_inverted = False
        return invert(merge(ranges)) if is_inverted else merge(ranges)

    def _read_class_item(self) -> Ranges:
        char = self._next()
        if char != "\\":
            return ((ord(char), ord(char)),)
        if self._take("b"):
            return ((8, 8),)
        return self._read_class_escape()

    def _next(self) -> str:
        if self._at >= len(self._text):
            self._fail("an early end")
        self._at += 1
        return self._text[self._at - 1]

    def _take(self, mark: str) -> bool:
        if not self._text.startswith(mark, self._at):
            return False
        self._at += len(mark)
        return True

    def _fail(self, what: str) -> NoReturn:
        shown = self._text if len(self._text) <= 80 else self._text[:77] + "..."  # noqa: PLR2004 - a readable message
        raise RegexError(f"the pattern {shown!r} has {what} at character {self._at}")
