"""Patterns as automata: regular expression -> nondeterministic automaton -> `CharDfa`.

The construction is Thompson's, the determinisation the subset construction over ranges of code points. Anchors and
word boundaries are edges without a character that are crossed only in the right place:
a subset is closed when the next character is known. A lookaround is an intersection or a difference
with the rest of the pattern, so it may stand wherever the rest reaches the pattern's end.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

import numpy as np

from agentflow.constraint.automaton import (
    NUM_CODES,
    CharDfa,
    Ranges,
    intersect,
    minimise,
    subtract,
)
from agentflow.constraint.limits import check_time, spend
from agentflow.constraint.regex_syntax import (
    WORD,
    Alt,
    Assertion,
    Cat,
    Chars,
    Look,
    Regex,
    RegexError,
    Repeat,
    other_words,
    parse,
)

_ANY = Chars(((0, NUM_CODES - 1),))
_OTHER, _IS_WORD, _MAYBE = 0, 1, 2
_Context = tuple[bool, int, int | None]
"""At the start?, then what the previous and the next character are: a word character, another one, or a word character
to some (`other_words`); ``None`` is the end."""


@lru_cache(maxsize=512)
def pattern_dfa(pattern: str, *, is_wide: bool = False) -> CharDfa:
    r"""Give the strings in which `pattern` is found somewhere, as JSON Schema means it.

    Where readings of ``\d``, ``\w``, ``\s`` and ``\b`` differ, the strings that match under all of them; with
    `is_wide` those that match under any.

    Raises:
        RegexError: The pattern is malformed or not regular.
        UnsupportedSchemaError: Its automaton is larger than the limits in force.
    """
    return _search(parse(pattern, is_wide=is_wide), is_anchored=False)


def _search(tree: Regex, *, is_anchored: bool) -> CharDfa:
    """Give the strings in which `tree` is found: anywhere, or at the start."""
    nfa = _Nfa()
    start, end = nfa.add(), nfa.add()
    if not is_anchored:
        nfa.eat(start, _ANY, start)
    _build_top(nfa, tree, start, end)
    nfa.eat(end, _ANY, end)
    return nfa.determinise(start, end)


_RANGES_PER_STATE = 16
"""A character class with many ranges takes the memory of a state for so many of them."""


class _Nfa:
    """A nondeterministic automaton; edges without a character may ask for a place."""

    def __init__(self) -> None:
        self.jumps: list[list[tuple[str, int]]] = []
        self.edges: list[list[tuple[int, int, int]]] = []

    def add(self) -> int:
        spend()
        self.jumps.append([])
        self.edges.append([])
        return len(self.edges) - 1

    def jump(self, source: int, target: int, kind: str = "") -> None:
        self.jumps[source].append((kind, target))

    def eat(self, source: int, chars: Chars, target: int) -> None:
        spend(len(chars.ranges) // _RANGES_PER_STATE)
        self.edges[source] += [(lo, hi, target) for lo, hi in chars.ranges]

    def close(self, states: Iterable[int], context: _Context) -> frozenset[int]:
        """Follow the jumps that are open in this context."""
        at_start, previous, following = context
        sides = {previous, following or _OTHER}
        is_between, is_inside = sides == {_OTHER, _IS_WORD}, len(sides) == 1 and _MAYBE not in sides
        is_open = {
            "": True, "^": at_start, "$": following is None,
            "b": is_between, "B": is_inside, "b?": not is_inside, "B?": not is_between,
        }  # fmt: skip
        closed = set(states)
        todo = list(closed)
        while todo:
            for kind, target in self.jumps[todo.pop()]:
                if is_open[kind] and target not in closed:
                    closed.add(target)
                    todo.append(target)
        return frozenset(closed)

    def determinise(self, start: int, end: int) -> CharDfa:
        """Build subsets; one that holds `end`, which eats everything, accepts for ever."""
        cuts = {0} | {c for row in self.edges for lo, hi, _ in row for c in (lo, hi + 1)}
        has_words = any(kind[:1] in ("b", "B") for row in self.jumps for kind, _ in row)
        classes = [(_IS_WORD, WORD), (_MAYBE, other_words())] if has_words else []
        cuts |= {c for _, ranges in classes for lo, hi in ranges for c in (lo, hi + 1)}
        starts = np.array(sorted(cuts - {NUM_CODES}), np.int32)
        columns = self._columns(starts)
        words = [_class_of(code, classes) for code in starts.tolist()]
        first = (frozenset({start}), _OTHER, True)
        index = {first: 0}
        order = [first]
        rows: list[list[int]] = []
        accepting: list[bool] = []
        for states, previous, at_start in order:
            spend()
            check_time()
            closures = {w: self.close(states, (at_start, previous, w)) for w in sorted(set(words))}
            row = [-1] * len(starts)
            for column, is_word in enumerate(words):
                targets = {t for s in closures[is_word] for t in columns[s].get(column, ())}
                if targets:
                    key = (frozenset({end} if end in targets else targets), 0 if end in targets else is_word, False)
                    if key not in index:
                        index[key] = len(order)
                        order.append(key)
                    row[column] = index[key]
            rows.append(row)
            accepting.append(end in self.close(states, (at_start, previous, None)))
        return minimise(CharDfa(starts, np.array(rows, np.int32).reshape(len(rows), -1), np.array(accepting)))

    def _columns(self, starts: np.ndarray[tuple[int], np.dtype[np.int32]]) -> list[dict[int, list[int]]]:
        """Give, for each state, the targets by column."""
        columns: list[dict[int, list[int]]] = []
        for row in self.edges:
            check_time()
            by_column: dict[int, list[int]] = {}
            for lo, hi, target in row:
                for column in range(*np.searchsorted(starts, (lo, hi + 1)).tolist()):
                    by_column.setdefault(column, []).append(target)
            columns.append(by_column)
        return columns


def _class_of(code: int, classes: list[tuple[int, Ranges]]) -> int:
    return next((name for name, ranges in classes if any(lo <= code <= hi for lo, hi in ranges)), _OTHER)


def _build_top(nfa: _Nfa, tree: Regex, start: int, end: int) -> None:
    """Add `tree` where what follows it is only the end of the pattern, so lookarounds may stand in it."""
    if isinstance(tree, Alt):
        for option in tree.options:
            _build_top(nfa, option, start, end)
    elif isinstance(tree, Cat) and any(_has_look(part) for part in tree.parts):
        _build_looking(nfa, tree.parts, start, end)
    elif isinstance(tree, Look):
        _build_looking(nfa, (tree,), start, end)
    else:
        _build(nfa, tree, start, end)


def _build_looking(nfa: _Nfa, parts: tuple[Regex, ...], start: int, end: int) -> None:
    """Add a sequence with a lookaround: the parts before it, then what the rest and the lookaround allow."""
    at = next(i for i, part in enumerate(parts) if _has_look(part))
    look = parts[at]
    if isinstance(look, Alt):
        for option in look.options:
            flat = option.parts if isinstance(option, Cat) else (option,)
            _build_looking_or_plain(nfa, (*parts[:at], *flat, *parts[at + 1 :]), start, end)
        return
    if isinstance(look, Cat):
        _build_looking_or_plain(nfa, (*parts[:at], *look.parts, *parts[at + 1 :]), start, end)
        return
    if not isinstance(look, Look):
        raise RegexError("a lookaround inside a repetition is not supported")
    if not look.is_ahead:
        _build_behind(nfa, parts, at, start, end)
        return
    middle = nfa.add()
    _build(nfa, Cat(parts[:at]), start, middle)
    rest = _search(Cat(parts[at + 1 :]), is_anchored=True)
    seen = _search(look.body, is_anchored=True)
    _embed(nfa, intersect(rest, seen) if look.is_positive else subtract(rest, seen), middle, end)


def _build_looking_or_plain(nfa: _Nfa, parts: tuple[Regex, ...], start: int, end: int) -> None:
    _build_top(nfa, Cat(parts), start, end)


def _build_behind(nfa: _Nfa, parts: tuple[Regex, ...], at: int, start: int, end: int) -> None:
    """Add a sequence with a lookbehind directly before the end of the string."""
    look, rest = parts[at], parts[at + 1 :]
    if not isinstance(look, Look) or parts[:1] != (Assertion("^"),) or rest != (Assertion("$"),):
        raise RegexError("a lookbehind that does not stand in '^...(?<...)$' is not supported")
    body = _search(Cat((*parts[:at], Assertion("$"))), is_anchored=True)
    seen = _search(Cat((look.body, Assertion("$"))), is_anchored=False)
    middle = nfa.add()
    nfa.jump(start, middle, "^")
    _embed(nfa, intersect(body, seen) if look.is_positive else subtract(body, seen), middle, end)


def _embed(nfa: _Nfa, dfa: CharDfa, start: int, end: int) -> None:
    """Add an automaton that reads up to the end of the string."""
    if dfa.is_empty:
        return
    states = [nfa.add() for _ in range(dfa.num_states)]
    nfa.jump(start, states[0])
    bounds = [*dfa.starts.tolist(), NUM_CODES]
    for source, row in enumerate(dfa.table.tolist()):
        for column, target in enumerate(row):
            if target >= 0:
                nfa.eat(states[source], Chars(((bounds[column], bounds[column + 1] - 1),)), states[target])
        if dfa.accepting[source]:
            nfa.jump(states[source], end, "$")


def _has_look(tree: Regex) -> bool:
    if isinstance(tree, Look):
        return True
    if isinstance(tree, Cat):
        return any(map(_has_look, tree.parts))
    if isinstance(tree, Alt):
        return any(map(_has_look, tree.options))
    return isinstance(tree, Repeat) and _has_look(tree.body)


def _build(nfa: _Nfa, tree: Regex, start: int, end: int) -> None:
    """Add `tree` between two states."""
    if isinstance(tree, Chars):
        nfa.eat(start, tree, end)
    elif isinstance(tree, Assertion):
        nfa.jump(start, end, tree.kind)
    elif isinstance(tree, Alt):
        for option in tree.options:
            _build(nfa, option, start, end)
    elif isinstance(tree, Cat):
        for part in tree.parts[:-1]:
            following = nfa.add()
            _build(nfa, part, start, following)
            start = following
        if tree.parts:
            _build(nfa, tree.parts[-1], start, end)
        else:
            nfa.jump(start, end)
    elif isinstance(tree, Repeat):
        _build_repeat(nfa, tree, start, end)
    else:
        raise RegexError("a lookaround that is not followed by the end of the pattern is not supported")


def _build_repeat(nfa: _Nfa, tree: Repeat, start: int, end: int) -> None:
    for _ in range(tree.minimum):
        following = nfa.add()
        _build(nfa, tree.body, start, following)
        start = following
    if tree.maximum is None:
        loop = nfa.add()
        nfa.jump(start, loop)
        _build(nfa, tree.body, loop, loop)
        nfa.jump(loop, end)
        return
    for _ in range(tree.maximum - tree.minimum):
        nfa.jump(start, end)
        following = nfa.add()
        _build(nfa, tree.body, start, following)
        start = following
    nfa.jump(start, end)
