"""Grounded slots: a string that must be a span of given texts.

    text "Paris to Rome"      spans  Paris, Paris to, Paris to Rome, to, to Rome, Rome

A span begins and ends at the border of a word and lies in one line. It is written in the tokenizer's own tokens,
so a model chooses a span instead of spelling one. The token automaton is the suffix automaton of the lines,
word by word, built by the subset construction; its size is linear in the texts for ordinary prose.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property, lru_cache

import numpy as np

from agentflow.constraint.automaton import CharDfa, from_strings
from agentflow.constraint.limits import spend
from agentflow.constraint.surface_bytes import Style, escape

_CHUNK = re.compile(r"(\s*)(\S+)")
_STOPS = re.compile(r"\w+|[^\w\s]")
_NUMBER = re.compile(r"(?<![\w.])-?\d+(?:,\d{3})*(?:\.\d+)?(?![\w])")
_MAX_SPAN_WORDS = 64
_OPENERS = "\"'([{<"
_CLOSERS = "\"')]}>,;"
_NEVER_LAST = ",;:"


@dataclass(frozen=True)
class Grounding:
    """The texts that free strings and numbers must come from.

    Free strings become spans of the texts: from the border of a word to the border of a word, in one line. Numbers
    become numbers that stand in the texts in digits (``1,200`` counts as 1200). Enumerations, patterns, formats and
    strings with a length limit keep their own rules, and a schema opts out with ``{"x-grounded": false}``. Where no
    text holds a span (or a number), the slot stays free.

    Attributes:
        texts: The conversation, or what of it may be copied.
    """

    texts: tuple[str, ...]

    def __post_init__(self) -> None:
        """Take any sequence of texts."""
        object.__setattr__(self, "texts", tuple(self.texts))

    @cached_property
    def lines(self) -> tuple[str, ...]:
        """Distinct lines that are not blank, trimmed."""
        lines = (line.strip() for text in self.texts for line in text.splitlines())
        return tuple(dict.fromkeys(line for line in lines if line))

    @cached_property
    def numbers(self) -> tuple[Decimal, ...]:
        """Distinct numbers that stand in the texts in digits."""
        found = (m[0].replace(",", "") for line in self.lines for m in _NUMBER.finditer(line))
        return tuple(dict.fromkeys(Decimal(text) for text in found))


@dataclass(frozen=True)
class SpanSpec:
    """A slot for a span.

    Attributes:
        lines: The lines that spans lie in.
        style: How characters are spelt.
    """

    lines: tuple[str, ...]
    style: Style

    @cached_property
    def key(self) -> tuple[object, ...]:
        """What makes two slots equal."""
        return ("span", self.lines, self.style)

    @cached_property
    def dfa(self) -> CharDfa:
        """The spans as a set of strings; for slots that are shared with others."""
        return from_strings({span for line in self.lines for span in spans(line)})


def spans(line: str) -> Iterator[str]:
    """Give every span of a line, the slow way."""
    starts, ends = borders(line)
    for start in starts:
        for end in ends:
            if end > start:
                yield line[start:end]


@lru_cache(maxsize=4096)
def borders(line: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Give the places at which spans of a line (or of a chunk of it) may begin and end.

    Words begin and end spans; so do punctuation marks at the border of white space or next to a quote or bracket.
    """
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
        self.edges: list[dict[int, list[int]]] = [{}]
        self.accepting: set[int] = set()
        for line in spec.lines:
            self._add_line(line)

    def _add_line(self, line: str) -> None:
        chunks = [(m[1], m[2]) for m in _CHUNK.finditer(line)]
        joints = [self._add_state() for _ in chunks]  # after chunk i, having begun before or in it
        for i, (gap, chunk) in enumerate(chunks):
            starts, ends = borders(chunk)
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
        tokens = self._encode(escape(text, self._style))  # type: ignore[operator]  # a callable, kept untyped for speed
        for token in tokens[:-1]:
            state = self._add_state()
            self.edges[source].setdefault(token, []).append(state)
            source = state
        if target is None:
            target = self._add_state()
            self.accepting.add(target)
        self.edges[source].setdefault(tokens[-1], []).append(target)


def determinise_spans(nfa: SpanNfa) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Build subsets.

    Returns:
        Source, token and target of each edge, sources ascending, and whether each state accepts.
    """
    first = (0,)
    index: dict[tuple[int, ...], int] = {first: 0}
    order: list[tuple[int, ...]] = [first]
    source: list[int] = []
    token: list[int] = []
    target: list[int] = []
    for at, states in enumerate(order):
        if len(states) == 1:
            merged = nfa.edges[states[0]]
        else:
            merged = {}
            for state in states:
                for symbol, targets in nfa.edges[state].items():
                    merged.setdefault(symbol, []).extend(targets)
        for symbol, targets in merged.items():
            key = tuple(sorted(set(targets))) if len(targets) > 1 else (targets[0],)
            after = index.get(key)
            if after is None:
                spend()
                after = index[key] = len(order)
                order.append(key)
            source.append(at)
            token.append(symbol)
            target.append(after)
    accepting = np.array([any(s in nfa.accepting for s in states) for states in order], np.int32)
    return np.array(source, np.int32), np.array(token, np.int32), np.array(target, np.int32), accepting
