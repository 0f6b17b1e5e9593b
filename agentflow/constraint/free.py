"""Values without a schema: any array and any object, as one slot.

Where a schema leaves a value open, its arrays and objects are one regular set, because their depth is bounded. Their
automaton is lifted to a vocabulary once, like that of a free string, and copied into every place that needs it; the
brackets that open it are literals, so that they can merge with what stands before them:

    '":{"' --[key, colon, value, ... closing bracket]--> ','
"""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

from agentflow.constraint.automaton import NUM_CODES, CharDfa, explore
from agentflow.constraint.numbers import all_numbers

ENTRIES = ('{"', "[", '["', '[{"')
"""Beginnings of an array or object that is not empty, after which the slot may be entered."""

DEEPEST = 5
"""Most brackets within brackets."""
_FULL_DEPTH = 3
_STATES = (0, 72, 210, 500, 920, 1_600)
_SOME, _MANY, _MOST = 4_000, 8_000, 12_500
_MANY_PER_NODE = 3
_STEPS = (
    (False, 1, _MOST), (True, 1, _MOST), (False, 2, _MOST), (True, 2, _MANY), (False, 3, _MOST),
    (False, 4, _SOME), (False, 5, _SOME), (True, 3, _MANY),
)  # fmt: skip
"""How depth is given: whether to the places aside, up to what depth, within how many states in all."""

_WORDS = {"t": "rue", "f": "alse", "n": "ull"}
_ESCAPED = '"\\bfnrt'
_CLOSERS = {"{": "}", "[": "]"}


class _State(NamedTuple):
    """Open brackets, and what is read: a mode, with the rest of a word or the state of a number."""

    stack: str
    mode: str
    rest: str | int = ""


@lru_cache(maxsize=16)
def containers(depth: int, comma: str, colon: str) -> CharDfa:
    """Give the texts of all arrays and objects.

    Args:
        depth: Brackets within brackets, at least 1; from the fourth on, no array stands right in an array, which is
            rare there and would double the automaton with every bracket.
        comma: What separates entries.
        colon: What separates a key from its value.
    """
    return explore(
        _State("", "begin"), _Reader(depth, comma, colon).step, lambda state: state == _State("", "end"), _ranges()
    )


def allot_depths(num_declared: int, num_aside: int, num_nodes: int) -> dict[bool, int]:
    """Say how deep values without a schema may be, so that all of them together stay small.

    Args:
        num_declared: Places that a schema leaves open on purpose, as ``{}`` or ``{"type": "object"}``.
        num_aside: Places that no keyword speaks of, beside declared properties; the last to be given depth.
        num_nodes: Size of the graph around them.

    Returns:
        The depth of the places aside (``True``) and of the others; 0 means scalars and empty brackets alone.
    """
    depths = {False: 0, True: 0}
    nums = {False: num_declared, True: num_aside}
    for is_aside, depth, most in _STEPS:
        trial = depths | {is_aside: depth}
        num_states = sum(nums[k] * _STATES[trial[k]] for k in nums)
        if depths[is_aside] == depth - 1 and num_states <= max(most, _MANY_PER_NODE * num_nodes * (depth == 1)):
            depths = trial
    return depths


def _ranges() -> list[tuple[int, int]]:
    """Give ranges of code points that the reader does not tell apart."""
    marks = {ord(char) for char in '"\\{}[],: -+.eE0' + _ESCAPED + "".join(k + v for k, v in _WORDS.items())}
    cuts = sorted({0x20, NUM_CODES, ord("1"), ord("9") + 1, *marks, *(code + 1 for code in marks)})
    return [(low, after - 1) for low, after in pairwise(cuts)]


class _Reader:
    def __init__(self, depth: int, comma: str, colon: str) -> None:
        self._depth = depth
        self._comma = comma
        self._colon = colon
        self._numbers = all_numbers()

    def step(self, state: _State, code: int) -> _State | None:  # noqa: PLR0911 - one mode a line
        """Read one character."""
        char = chr(code)
        if state.mode in ("key", "string"):
            return self._in_string(state, char)
        if state.mode in ("key escape", "string escape"):
            return _State(state.stack, state.mode.partition(" ")[0]) if char in _ESCAPED else None
        if state.mode == "begin":
            return self._value(state.stack, char) if char in _CLOSERS else None
        if state.mode == "value":
            return self._value(state.stack, char)
        if state.mode in ("object", "array"):
            return self._first(state, char)
        if state.mode == "number":
            following = self._number_step(int(state.rest), code)
            if following >= 0:
                return _State(state.stack, "number", following)
            return self._after(state.stack, char) if self._numbers.accepting[int(state.rest)] else None
        if state.mode == "end":
            return self._after(state.stack, char)
        return self._in_text(state, char)

    def _in_string(self, state: _State, char: str) -> _State:
        if char == "\\":
            return _State(state.stack, state.mode + " escape")
        if char != '"':
            return state
        return _State(state.stack, "colon", self._colon) if state.mode == "key" else _State(state.stack, "end")

    def _in_text(self, state: _State, char: str) -> _State | None:
        """Read on in a word, a comma or a colon."""
        rest = str(state.rest)
        if char != rest[0]:
            return None
        if len(rest) > 1:
            return _State(state.stack, state.mode, rest[1:])
        if state.mode == "comma":
            return self._entry(state.stack)
        return _State(state.stack, {"word": "end", "quote": "key", "colon": "value"}[state.mode])

    def _value(self, stack: str, char: str) -> _State | None:
        if char == '"':
            return _State(stack, "string")
        if char in _WORDS:
            return _State(stack, "word", _WORDS[char])
        if char in _CLOSERS:
            is_matrix = len(stack) >= _FULL_DEPTH and stack[-1] + char == "[["
            is_shallow = len(stack) < self._depth and not is_matrix
            return _State(stack + char, "object" if char == "{" else "array") if is_shallow else None
        following = self._number_step(0, ord(char))
        return _State(stack, "number", following) if following >= 0 else None

    def _first(self, state: _State, char: str) -> _State | None:
        """Read what comes after an opening bracket."""
        if char == _CLOSERS[state.stack[-1]]:
            return _State(state.stack[:-1], "end")
        if state.mode == "array":
            return self._value(state.stack, char)
        return _State(state.stack, "key") if char == '"' else None

    def _after(self, stack: str, char: str) -> _State | None:
        """Read what comes after a value."""
        if not stack:
            return None
        if char == _CLOSERS[stack[-1]]:
            return _State(stack[:-1], "end")
        if char != self._comma[0]:
            return None
        if len(self._comma) > 1:
            return _State(stack, "comma", self._comma[1:])
        return self._entry(stack)

    @staticmethod
    def _entry(stack: str) -> _State:
        """Expect one more entry."""
        return _State(stack, "value") if stack[-1] == "[" else _State(stack, "quote", '"')

    def _number_step(self, state: int, code: int) -> int:
        return self._numbers.step(state, code)
