"""Grounded slots: a string that must be a span of given texts.

    text "Paris to Rome"      spans  Paris, Paris to, Paris to Rome, to, to Rome, Rome

A span begins and ends at the border of a word and lies in one line. It is written in the tokenizer's own tokens,
so a model chooses a span instead of spelling one. The token automaton is the suffix automaton of the lines,
word by word, built by the subset construction; its size is linear in the texts for ordinary prose.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property, lru_cache
from itertools import chain

import numpy as np

from agentflow.constraint.automaton import CharDfa, from_strings, intersect, length_between, universal
from agentflow.constraint.fragment import SlotSpec
from agentflow.constraint.grounded import Span
from agentflow.constraint.limits import spend
from agentflow.constraint.strings import Strings
from agentflow.constraint.surface_bytes import Style, escape
from agentflow.errors import ConfigurationError

_CHUNK = re.compile(r"(\s*)(\S+)")
_STOPS = re.compile(r"\w+|[^\w\s]")
_NUMBER = re.compile(r"(?<![\w.])-?\d+(?:,\d{3})*(?:\.\d+)?(?![\w])")
_JSON_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_ANY_SPAN = Span()
_CASES: dict[str, Callable[[str], str]] = {"same": str, "lower": str.lower, "upper": str.upper}
_OPENERS = "\"'([{<"
_CLOSERS = "\"')]}>,;:.!?"
_NEVER_LAST = ",;:"


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

    def slot(self, span: Span, members: Strings, style: Style) -> SpanSpec | SlotSpec | None:
        """Give the slot of the spans that are in a set of strings; ``None``: there is none."""
        lines = self.lines(span)
        is_whole = span.words == "whole"
        is_plain = members.dfa.is_universal and members.minimum <= 1 and members.maximum is None
        if members.finite is None and is_plain and not span.is_bounded:
            return SpanSpec(lines, style, is_whole) if lines else None
        allowed = intersect(members.expand(), length_between(max(1, span.min_length), span.max_length))
        found = {text for line in lines for text in matching_spans(line, allowed, is_whole=is_whole)}
        return SlotSpec(from_strings(sorted(found)), 1, None, style) if found else None

    def _may_copy(self, index: int, span: Span) -> bool:
        return not span.sources or not self.roles or self.roles[index] in span.sources

    @cached_property
    def _lines(self) -> dict[object, tuple[str, ...]]:
        return {}


def _unescaped(text: str) -> Iterator[str]:
    """Give the contents of the JSON strings in a text whose escapes say something else than they look."""
    for match in _JSON_STRING.finditer(text):
        if "\\" in match[0]:
            with suppress(ValueError):
                yield from json.loads(match[0], strict=False).splitlines()


def matching_spans(line: str, allowed: CharDfa, *, is_whole: bool) -> Iterator[str]:
    """Give the spans of a line that are in a set, by one walk from each place where a span may begin."""
    starts, ends = borders(line, is_whole=is_whole)
    may_end = set(ends)
    columns = np.searchsorted(allowed.starts, [ord(char) for char in line], side="right") - 1
    steps = columns.tolist()
    table, accepting = allowed.table.tolist(), allowed.accepting.tolist()
    for start in starts:
        state = 0
        for at in range(start, len(line)):
            state = table[state][steps[at]]
            if state < 0:
                break
            if accepting[state] and at + 1 in may_end:
                spend()
                yield line[start : at + 1]


@dataclass(frozen=True)
class SpanSpec:
    """A slot for a span.

    Attributes:
        lines: The lines that spans lie in.
        style: How characters are spelt.
        is_whole: Whether spans begin and end at the borders of words.
    """

    lines: tuple[str, ...]
    style: Style
    is_whole: bool = True

    @cached_property
    def key(self) -> tuple[object, ...]:
        """What makes two slots equal."""
        return ("span", self.lines, self.style, self.is_whole)

    @cached_property
    def dfa(self) -> CharDfa:
        """The spans as a set of strings; for slots that are shared with others."""
        everything = universal()
        found = (matching_spans(line, everything, is_whole=self.is_whole) for line in self.lines)
        return from_strings(set(chain.from_iterable(found)))


@lru_cache(maxsize=4096)
def borders(line: str, *, is_whole: bool = True) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Give the places at which spans of a line (or of a chunk of it) may begin and end.

    Words begin and end spans; so do punctuation marks at the border of white space or next to a quote or bracket.
    """
    if not is_whole:
        places = [i for i, char in enumerate(line) if not char.isspace()]
        return tuple(places), tuple(i + 1 for i in places)
    starts, ends = [], []
    for match in _STOPS.finditer(line):
        before = line[match.start() - 1] if match.start() else " "
        after = line[match.end()] if match.end() < len(line) else " "
        is_word = match[0][0].isalnum() or match[0][0] == "_"
        if is_word or before.isspace() or before in _OPENERS:
            starts.append(match.start())
        if is_word or ((after.isspace() or after in _CLOSERS) and match[0] not in _NEVER_LAST):
            ends.append(match.end())
    return tuple(starts), tuple(ends)


class SpanNfa:
    """The spans of some lines as a nondeterministic token automaton.

    Lines are cut into chunks at white space. A span is a part of one chunk, or the end of a chunk, whole chunks, and
    the beginning of a chunk; each of these is written in its canonical tokens.
    """

    def __init__(self, spec: SpanSpec, encode: object) -> None:
        self._encode = encode
        self._style = spec.style
        self._is_whole = spec.is_whole
        self.edges: list[dict[int, list[int]]] = [{}]
        self.accepting: set[int] = set()
        for line in spec.lines:
            self._add_line(line)

    def _add_line(self, line: str) -> None:
        chunks = [(m[1], m[2]) for m in _CHUNK.finditer(line)]
        joints = [self._add_state() for _ in chunks]  # after chunk i, having begun before or in it
        for i, (gap, chunk) in enumerate(chunks):
            starts, ends = borders(chunk, is_whole=self._is_whole)
            for start in starts:
                self._add_path(0, chunk[start:], joints[i])
                for end in ends:
                    if start < end < len(chunk):
                        self._add_path(0, chunk[start:end], None)
            if i:
                self._add_path(joints[i - 1], gap + chunk, joints[i])
                for end in ends:
                    if end < len(chunk):
                        self._add_path(joints[i - 1], gap + chunk[:end], None)
            if ends and ends[-1] == len(chunk):
                self.accepting.add(joints[i])

    def _add_state(self) -> int:
        spend()
        self.edges.append({})
        return len(self.edges) - 1

    def _add_path(self, source: int, text: str, target: int | None) -> None:
        """Spell `text` from `source`; without a target it ends in a state of its own that accepts."""
        edges = self.edges
        *tokens, last = self._encode(escape(text, self._style))  # type: ignore[operator]  # a callable, untyped for speed
        if tokens:
            spend(len(tokens))
            for token in tokens:
                edges[source].setdefault(token, []).append(len(edges))
                source = len(edges)
                edges.append({})
        if target is None:
            target = self._add_state()
            self.accepting.add(target)
        edges[source].setdefault(last, []).append(target)


def determinise_spans(nfa: SpanNfa) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Build subsets.

    Returns:
        Source, token and target of each edge, sources ascending, and whether each state accepts.
    """
    edges = nfa.edges
    alone = [-1] * len(edges)  # the subset of one state, by that state
    index: dict[tuple[int, ...], int] = {}
    order: list[int | tuple[int, ...]] = [0]
    alone[0] = 0
    source: list[int] = []
    token: list[int] = []
    target: list[int] = []
    for at, states in enumerate(order):
        row = edges[states] if isinstance(states, int) else _merge_rows([edges[state] for state in states])
        for symbol, targets in row.items():
            key = tuple(sorted(set(targets))) if len(targets) > 1 else None
            if key is None or len(key) == 1:
                after = alone[targets[0]]
                if after < 0:
                    after = alone[targets[0]] = len(order)
                    order.append(targets[0])
            else:
                after = index.setdefault(key, len(order))
                if after == len(order):
                    order.append(key)
            source.append(at)
            token.append(symbol)
            target.append(after)
        spend()
    accepts = nfa.accepting
    labels = [s in accepts if isinstance(s, int) else not accepts.isdisjoint(s) for s in order]
    return np.array(source, np.int32), np.array(token, np.int32), np.array(target, np.int32), np.array(labels, np.int32)


def _merge_rows(rows: list[dict[int, list[int]]]) -> dict[int, list[int]]:
    merged: dict[int, list[int]] = {}
    for row in rows:
        for symbol, targets in row.items():
            known = merged.get(symbol)
            merged[symbol] = targets if known is None else known + targets
    return merged
