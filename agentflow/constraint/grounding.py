"""Grounded slots: a string that must be a span of given texts.

    text "Paris to Rome"      spans  Paris, Paris to, Paris to Rome, to, to Rome, Rome

A span begins and ends at the border of a word and lies in one line; where exactly, `agentflow.constraint.span_text`
says. Its token automaton is made by `agentflow.constraint.span_fragment`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property

from agentflow.constraint.automaton import CharDfa, from_strings, intersect, length_between, universal
from agentflow.constraint.grounded import Span
from agentflow.constraint.numbers import number_text
from agentflow.constraint.span_text import Places, SpanText
from agentflow.constraint.strings import Strings
from agentflow.constraint.surface_bytes import Style
from agentflow.errors import ConfigurationError

_NUMBER = re.compile(r"(?<![\w.])-?\d+(?:,\d{3})*(?:\.\d+)?(?![\w])")
_JSON_STRING = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"')
_ANY_SPAN = Span()
_CASES: dict[str, Callable[[str], str]] = {"same": str, "lower": str.lower, "upper": str.upper}


@dataclass(frozen=True)
class Grounding:
    """The texts that strings and numbers must come from.

    Strings become spans of the texts: from the border of a word to the border of a word, in one line. Numbers become
    numbers that stand in the texts in digits (``1,200`` counts as 1200). A schema says ``x-grounded`` where it wants
    this (see `agentflow.constraint.grounded`), or ``{"x-grounded": false}`` where it does not.

    Attributes:
        texts: The conversation, or what of it may be copied.
        roles: Who wrote each text, for schemas that name their sources; empty: every text serves every source.
        is_default: Whether free strings and numbers are grounded that say nothing of it. Enumerations, patterns,
            formats and strings with a length limit keep their own rules then.
    """

    texts: tuple[str, ...]
    roles: tuple[str, ...] = ()
    is_default: bool = True

    def __post_init__(self) -> None:
        """Take any sequences.

        Raises:
            ConfigurationError: There are not as many roles as texts.
        """
        object.__setattr__(self, "texts", tuple(self.texts))
        object.__setattr__(self, "roles", tuple(self.roles))
        if self.roles and len(self.roles) != len(self.texts):
            raise ConfigurationError(f"{len(self.texts)} texts need as many roles, got {len(self.roles)}")

    def lines(self, span: Span = _ANY_SPAN) -> tuple[str, ...]:
        """Give the distinct lines that a span may lie in: trimmed, not blank, and JSON strings without escapes too."""
        key = (span.sources, span.case)
        if key not in self._lines:
            texts = [text for i, text in enumerate(self.texts) if self._may_copy(i, span)]
            lines = [line.strip() for text in texts for line in text.splitlines()]
            lines += [line.strip() for text in texts if "\\" in text for line in _unescaped(text)]
            self._lines[key] = tuple(dict.fromkeys(_CASES[span.case](line) for line in lines if line))
        return self._lines[key]

    def numbers(self, span: Span = _ANY_SPAN) -> tuple[Decimal, ...]:
        """Give the distinct numbers that stand in the texts in digits."""
        found = (m[0].replace(",", "") for line in self.lines(span) for m in _NUMBER.finditer(line))
        return tuple(dict.fromkeys(Decimal(text) for text in found))

    @cached_property
    def has_numbers(self) -> bool:
        """Whether a number stands in the texts in digits."""
        return any(_NUMBER.search(line) for line in self.lines())

    def number_texts(self, span: Span, members: CharDfa) -> tuple[str, ...] | NumberHole:
        """Give the numbers that are in a set, as they are written."""
        known = map(number_text, self.numbers(span))
        return tuple(dict.fromkeys(text for text in known if members.accepts(text)))

    def slot(self, span: Span, members: Strings, style: Style) -> SpanSpec | Hole | None:
        """Give the slot of the spans that are in a set of strings; ``None``: there is none."""
        return self.fill(Hole.of(span, members, style))

    def fill(self, hole: Hole) -> SpanSpec | None:
        """Give the slot that the texts make of a hole; ``None``: they hold no such span."""
        spec = SpanSpec(self.lines(hole.span), hole.style, hole.span.words == "whole", hole.allowed)
        return spec if spec.has_spans else None

    def _may_copy(self, index: int, span: Span) -> bool:
        return not span.sources or not self.roles or self.roles[index] in span.sources

    @cached_property
    def _lines(self) -> dict[object, tuple[str, ...]]:
        return {}


@dataclass(frozen=True, kw_only=True)
class OpenGrounding(Grounding):
    """Texts that are not known yet: what would be copied from them stays open.

    Attributes:
        holds_numbers: Whether they will hold numbers.
    """

    texts: tuple[str, ...] = ()
    holds_numbers: bool

    def number_texts(self, span: Span, members: CharDfa) -> tuple[str, ...] | NumberHole:
        """Give the place of a number."""
        return NumberHole(span, members) if self.holds_numbers else ()

    def slot(self, span: Span, members: Strings, style: Style) -> Hole:
        """Give the place of a slot."""
        return Hole.of(span, members, style)


def _unescaped(text: str) -> Iterator[str]:
    """Give the contents of the JSON strings in a text whose escapes say something else than they look."""
    for match in _JSON_STRING.finditer(text):
        if "\\" in match[0]:
            with suppress(ValueError):
                yield from json.loads(match[0], strict=False).splitlines()


@dataclass(frozen=True)
class Hole:
    """A slot for a span of texts that are not known yet.

    Attributes:
        span: How it is copied.
        style: How characters are spelt.
        allowed: The strings that may stand in the slot; ``None``: all but the empty one.
    """

    span: Span
    style: Style
    allowed: CharDfa | None

    @classmethod
    def of(cls, span: Span, members: Strings, style: Style) -> Hole:
        """The place of the spans that are in a set of strings."""
        is_plain = members.dfa.is_universal and members.minimum <= 1 and members.maximum is None
        allowed = None
        if members.finite is not None or not is_plain or span.is_bounded:
            allowed = intersect(members.expand(), length_between(max(1, span.min_length), span.max_length))
        return cls(span, style, allowed)

    @cached_property
    def key(self) -> tuple[object, ...]:
        """What makes two holes equal."""
        return (self.span, self.style, None if self.allowed is None else self.allowed.key)


@dataclass(frozen=True)
class NumberHole:
    """A place for a number of texts that are not known yet.

    Attributes:
        span: How it is copied.
        members: The numbers that may stand there, as they are written.
    """

    span: Span
    members: CharDfa

    @cached_property
    def key(self) -> tuple[object, ...]:
        """What makes two holes equal."""
        return (self.span, self.members.key)


@dataclass(frozen=True)
class SpanSpec:
    """A slot for a span.

    Attributes:
        lines: The lines that spans lie in.
        style: How characters are spelt.
        is_whole: Whether spans begin and end at the borders of words.
        allowed: The strings that may stand in the slot; ``None``: all but the empty one.
    """

    lines: tuple[str, ...]
    style: Style
    is_whole: bool = True
    allowed: CharDfa | None = None

    @cached_property
    def key(self) -> tuple[object, ...]:
        """What makes two slots equal."""
        return ("span", self.lines, self.style, self.is_whole, None if self.allowed is None else self.allowed.key)

    @cached_property
    def text(self) -> SpanText:
        """The lines as arrays."""
        return SpanText(self.lines, is_whole=self.is_whole)

    @property
    def has_spans(self) -> bool:
        """Whether the texts hold a span for the slot."""
        return self.text.has_spans if self.allowed is None else len(self.starts) > 0

    @cached_property
    def starts(self) -> Places:
        """Where the spans that are allowed begin."""
        return self.text.starts if self.allowed is None else self.text.matching_starts(self.allowed)

    @cached_property
    def dfa(self) -> CharDfa:
        """The spans as a set of strings; for slots that are shared with others."""
        return from_strings(self.text.matches(self.allowed or universal()))
