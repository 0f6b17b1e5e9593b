"""Sets of numbers as automata over their decimal text.

A number is read digit by digit, most significant first. A bound compares each digit with the bound's own; a divisor
keeps the remainder. Texts are JSON's: ``-? digits (. digits)?``, and ``e`` only in the set of all numbers,
because an exponent moves digits further than a finite automaton can follow. A set of numbers holds every
spelling of its members but those with exponents; so intersection, union and difference of texts are those of values.
"""

from __future__ import annotations

from decimal import Decimal
from functools import lru_cache
from typing import NamedTuple

from agentflow.constraint.automaton import CharDfa, empty, explore, intersect
from agentflow.constraint.limits import spend
from agentflow.constraint.regex import pattern_dfa

MAX_DIVISOR = 20_000
_MAX_DIGITS = 400
_DIGITS = [(code, code) for code in range(48, 58)]
_MARKS = [(45, 45), (46, 46)]


@lru_cache(maxsize=1)
def all_numbers() -> CharDfa:
    """Give every JSON number; an exponent has at most two digits."""
    return pattern_dfa(r"^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]{1,2})?$")


@lru_cache(maxsize=1)
def decimals() -> CharDfa:
    """Give every number without an exponent."""
    return pattern_dfa(r"^-?(0|[1-9][0-9]*)(\.[0-9]+)?$")


@lru_cache(maxsize=1)
def short_decimals() -> CharDfa:
    """Give the numbers that a double can tell from their neighbours: at most 15 digits behind the point."""
    return pattern_dfa(r"^-?[0-9]+(\.[0-9]{1,15})?$")


@lru_cache(maxsize=1)
def whole_numbers() -> CharDfa:
    """Give every integer, also written like ``1.0``."""
    return pattern_dfa(r"^-?(0|[1-9][0-9]*)(\.0+)?$")


@lru_cache(maxsize=1)
def integers() -> CharDfa:
    """Give every integer in its plain spelling; ``-0`` is none."""
    return pattern_dfa(r"^(0|-?[1-9][0-9]*)$")


def number_text(value: float | Decimal) -> str:
    """Write a number plainly: integral values without a point, others as short as possible."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e16:  # noqa: PLR2004 - exact in a float
        return str(int(value))
    return str(value).replace("E", "e") if isinstance(value, Decimal) else repr(value)


def exact(value: float | Decimal) -> Decimal:
    """Give the decimal that the schema's author wrote."""
    return Decimal(repr(value)) if isinstance(value, float) else Decimal(value)


@lru_cache(maxsize=512)
def equal_to(value: Decimal) -> CharDfa:
    """Give every spelling of one number."""
    return intersect(at_least(value, is_exclusive=False), at_most(value, is_exclusive=False))


@lru_cache(maxsize=512)
def at_least(bound: Decimal, *, is_exclusive: bool) -> CharDfa:
    """Give the numbers above `bound`, and the bound itself unless it `is_exclusive`."""
    return _compared(bound, is_above=True, is_exclusive=is_exclusive)


@lru_cache(maxsize=512)
def at_most(bound: Decimal, *, is_exclusive: bool) -> CharDfa:
    """Give the numbers below `bound`, and the bound itself unless it `is_exclusive`."""
    return _compared(bound, is_above=False, is_exclusive=is_exclusive)


class _Reading(NamedTuple):
    """How far a number is read: its sign, place and how its magnitude compares so far."""

    is_negative: bool
    place: str  # "sign", "first" digit, "zero", "whole", "point", "fraction"
    num_digits: int
    order: int  # of the digits read, against as many digits of the bound
    is_zero: bool


def _compared(bound: Decimal, *, is_above: bool, is_exclusive: bool) -> CharDfa:  # noqa: C901 - step and acceptance
    whole, _, fraction = f"{abs(bound):f}".partition(".")
    whole, fraction = whole.lstrip("0"), fraction.rstrip("0")
    if len(whole) + len(fraction) > _MAX_DIGITS:
        spend(10**9)
    num_whole = len(whole)

    def step(at: _Reading, code: int) -> _Reading | None:  # noqa: PLR0911 - one case a line
        char = chr(code)
        if char == "-":
            return at._replace(is_negative=True, place="first") if at.place == "sign" else None
        if char == ".":
            return _enter_fraction(at, num_whole) if at.place in ("zero", "whole") else None
        if at.place in ("sign", "first"):
            if char == "0":
                return at._replace(place="zero")
            return _read_digit(at._replace(place="whole"), char, whole)
        if at.place == "whole":
            return _read_digit(at, char, whole)
        if at.place in ("point", "fraction"):
            return _read_fraction(at, char, fraction)
        return None

    def accepts(at: _Reading) -> bool:
        if at.place not in ("zero", "whole", "fraction"):
            return False
        is_fraction = at.place == "fraction"
        order = at.order if is_fraction else _whole_order(at, num_whole)
        if order == 0 and fraction[at.num_digits if is_fraction else 0 :]:
            order = -1  # the bound has further digits, and its last one is no zero
        sign = (-1 if at.is_negative else 1) if not at.is_zero else 0
        bound_sign = (bound > 0) - (bound < 0)
        result = sign - bound_sign if sign != bound_sign else order * sign
        if result == 0:
            return not is_exclusive
        return (result > 0) == is_above

    start = _Reading(is_negative=False, place="sign", num_digits=0, order=0, is_zero=True)
    return explore(start, step, accepts, [*_DIGITS, *_MARKS])


def _read_digit(at: _Reading, char: str, whole: str) -> _Reading:
    """Read a digit before the point; once there are more digits than the bound has, the number is larger."""
    num = at.num_digits + 1
    if num > len(whole):
        return at._replace(num_digits=len(whole) + 1, order=1, is_zero=False)
    order = at.order or (char > whole[num - 1]) - (char < whole[num - 1])
    return at._replace(num_digits=num, order=order, is_zero=False)


def _whole_order(at: _Reading, num_whole: int) -> int:
    if at.place == "zero":
        return -1 if num_whole else 0
    if at.num_digits != num_whole:
        return -1 if at.num_digits < num_whole else 1
    return at.order


def _enter_fraction(at: _Reading, num_whole: int) -> _Reading:
    return at._replace(place="point", order=_whole_order(at, num_whole), num_digits=0)


def _read_fraction(at: _Reading, char: str, fraction: str) -> _Reading:
    num = min(at.num_digits + 1, len(fraction) + 1)
    other = fraction[num - 1] if num <= len(fraction) else "0"
    order = at.order or (char > other) - (char < other)
    return at._replace(place="fraction", num_digits=num, order=order, is_zero=at.is_zero and char == "0")


@lru_cache(maxsize=256)
def multiple_of(divisor: Decimal) -> CharDfa:  # noqa: C901 - step and acceptance
    """Give the multiples of `divisor`.

    A number is a multiple when, shifted by the divisor's decimals, it is an integer with remainder 0.

    Raises:
        UnsupportedSchemaError: The divisor has too many digits for an automaton of remainders.
    """
    num_decimals = max(0, -int(divisor.normalize().as_tuple().exponent))
    modulus = int(divisor.scaleb(num_decimals))
    if modulus == 0:
        return empty()
    if modulus > MAX_DIVISOR:
        spend(10**9)

    def step(at: tuple[str, int, int], code: int) -> tuple[str, int, int] | None:  # noqa: PLR0911 - one case a line
        place, remainder, num = at
        char = chr(code)
        if char == "-":
            return ("first", 0, 0) if place == "sign" else None
        if char == ".":
            return ("point", remainder, 0) if place in ("zero", "whole") else None
        digit = code - 48
        if place in ("sign", "first"):
            return ("whole", digit % modulus, 0) if digit else ("zero", 0, 0)
        if place == "whole":
            return ("whole", (remainder * 10 + digit) % modulus, 0)
        if place in ("point", "fraction"):
            if num < num_decimals:
                return ("fraction", (remainder * 10 + digit) % modulus, num + 1)
            return None if digit else ("fraction", remainder, num)
        return None

    def accepts(at: tuple[str, int, int]) -> bool:
        place, remainder, num = at
        if place not in ("zero", "whole", "fraction"):
            return False
        return bool(remainder * 10 ** (num_decimals - num) % modulus == 0)

    return explore(("sign", 0, 0), step, accepts, [*_DIGITS, *_MARKS])
