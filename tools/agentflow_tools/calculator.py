"""Arithmetic on exact fractions: a parser of its own, so nothing the model writes is ever run as code.

    expression = operand { infix expression }        a Pratt parser: each infix binds with a power
    operand    = number | name | name "(" arguments ")" | "(" expression ")" | sign expression
    postfix    = expression "%"                      a percentage, where no operand follows the sign

Values are `fractions.Fraction`, so ``0.1 + 0.2`` is ``0.3`` and ``7 / 7`` is ``1``; only roots, logarithms and
fractional powers go through floats. Parsing and computing are one pass; there is no tree to keep.
Method: V. Pratt, "Top down operator precedence", POPL 1973.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Annotated, Any, Final, NamedTuple

from pydantic import Field

from agentflow import Tool, tool

_MAX_LENGTH: Final = 1_000
"""Characters of an expression."""
_MAX_DEPTH: Final = 50
"""Nested parentheses, signs and powers."""
_MAX_BITS: Final = 4_096
"""Bits of a numerator or denominator: about 1,200 decimal digits."""
_MAX_EXPONENT: Final = 1_000
"""Decimal exponent of a literal such as ``1e9``."""
_SIGNIFICANT_DIGITS: Final = 12
"""Digits kept of a result that is no integer."""

_TOKEN = re.compile(
    r"\s*(?:(?P<number>(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)"
    r"|(?P<name>[A-Za-z_][A-Za-z_0-9]*)|(?P<sign>\*\*|//|[-+*/%^(),×÷−·]))",  # noqa: RUF001 - what people type
)
_SYNONYMS: Final = {"^": "**", "×": "*", "·": "*", "÷": "/", "−": "-", "of": "*"}  # noqa: RUF001 - what people type
_CONSTANTS: Final = {"pi": Fraction(math.pi), "e": Fraction(math.e)}

_ADDITION, _PRODUCT, _SIGN, _POWER = 10, 20, 30, 40  # binding powers; a sign binds less than a power: -2**2 is -4
_BINDING: Final = {"+": _ADDITION, "-": _ADDITION, "*": _PRODUCT, "/": _PRODUCT, "//": _PRODUCT, "%": _PRODUCT}


_Expression = Annotated[str, Field(json_schema_extra={"x-grounded": False, "maxLength": 100})]
"""An expression is often made of numbers from several places, so it need not stand anywhere as it is."""


def calculate(expression: _Expression) -> dict[str, int | float]:
    """Compute an arithmetic expression.

    Args:
        expression: For example (2 + 3) * 4.
    """
    return {"value": _to_number(_Parser(expression).parse())}


def calculator() -> list[Tool[..., Any]]:
    """Make the calculator tool: ``calculate(expression)``."""
    return [tool(is_idempotent=True)(calculate)]


class _Token(NamedTuple):
    kind: str  # number, name, sign or end
    text: str
    position: int  # characters before it


def _tokenize(expression: str) -> list[_Token]:
    """Cut the expression into tokens, an ``end`` token last."""
    if len(expression) > _MAX_LENGTH:
        raise ValueError(f"the expression has {len(expression)} characters; write at most {_MAX_LENGTH}")
    text = expression.rstrip()
    tokens, position = [], 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None or match.lastgroup is None:
            rest = text[position:].lstrip()
            raise ValueError(
                f"cannot read {rest[0]!r} in the expression; use numbers, + - * / // % **, parentheses and {_names()}"
            )
        word = match[match.lastgroup]
        kind = "sign" if word in _SYNONYMS else match.lastgroup
        tokens.append(_Token(kind, _SYNONYMS.get(word, word), match.start(match.lastgroup)))
        position = match.end()
    return [*tokens, _Token("end", "", len(text))]


class _Parser:
    """Reads one expression and computes it on the way."""

    def __init__(self, expression: str) -> None:
        self._text = expression
        self._tokens = _tokenize(expression)
        self._index = 0
        self._depth = 0

    def parse(self) -> Fraction:
        """Compute the whole expression.

        Raises:
            ValueError: It is no expression, or its value cannot be told; the message says why.
        """
        if self._next.kind == "end":
            raise ValueError("the expression is empty; write one such as (2 + 3) * 4")
        value = self._expression(0)
        if self._next.kind != "end":
            raise ValueError(self._unexpected("an operator"))
        return value

    @property
    def _next(self) -> _Token:
        return self._tokens[self._index]

    def _take(self) -> _Token:
        token = self._tokens[self._index]
        self._index += 1
        return token

    def _takes(self, sign: str) -> bool:
        """Take the next token if it is `sign`."""
        is_there = self._next.kind == "sign" and self._next.text == sign
        self._index += is_there
        return is_there

    def _expression(self, min_binding: int) -> Fraction:
        """Read operands joined by operators that bind more than `min_binding`."""
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise ValueError(f"the expression is nested more than {_MAX_DEPTH} deep; split it into several")
        value = self._operand()
        while self._next.kind == "sign":
            if self._is_percentage():
                self._take()
                value /= 100
            elif self._next.text == "**" and min_binding <= _POWER:  # binds to the right: 2**3**2 is 2**9
                self._take()
                value = _power(value, self._expression(_SIGN))
            elif _BINDING.get(self._next.text, 0) > min_binding:
                operator = self._take().text
                value = _checked(_OPERATORS[operator](value, self._expression(_BINDING[operator])))
            else:
                break
        self._depth -= 1
        return value

    def _is_percentage(self) -> bool:
        """Whether the next token is a per cent sign with no operand behind it.

        Before another sign, spaces tell: ``10% - 3`` subtracts from a percentage, ``10 % -3`` is a remainder.
        """
        if self._next.text != "%":
            return False
        after = self._tokens[self._index + 1]
        if after.text in {"+", "-"}:
            position = self._next.position
            return self._text[position + 1].isspace() and not self._text[position - 1].isspace()
        return after.kind == "end" or (after.kind == "sign" and after.text != "(")

    def _operand(self) -> Fraction:
        token = self._next
        if token.kind == "number":
            return _literal(self._take().text)
        if token.kind == "name":
            return self._named(self._take().text)
        if self._takes("("):
            value = self._expression(0)
            self._close()
            return value
        if self._takes("-"):
            return -self._expression(_SIGN)
        if self._takes("+"):
            return self._expression(_SIGN)
        raise ValueError(self._unexpected("a number"))

    def _named(self, name: str) -> Fraction:
        """Read a constant, or a function and its arguments."""
        if name in _CONSTANTS:
            return _CONSTANTS[name]
        if name not in _FUNCTIONS:
            raise ValueError(f"unknown name {name!r}; known are {_names()}")
        if not self._takes("("):
            raise ValueError(f"{name!r} needs its argument in parentheses, as in {name}(2)")
        arguments = [self._expression(0)]
        while self._takes(","):
            arguments.append(self._expression(0))
        self._close()
        function = _FUNCTIONS[name]
        if not function.min_arguments <= len(arguments) <= function.max_arguments:
            raise ValueError(f"{name}() got {len(arguments)} arguments; write {function.example}")
        return _checked(function.compute(*arguments))

    def _close(self) -> None:
        if not self._takes(")"):
            hint = "; write thousands without commas" if self._next.text == "," else ""
            raise ValueError(self._unexpected("')'") + hint)

    def _unexpected(self, wanted: str) -> str:
        token = self._next
        if token.kind == "end":
            return f"the expression ends where {wanted} should stand"
        if token.text == ",":
            return f"expected {wanted} at character {token.position + 1}, found ','; write numbers without commas"
        return f"expected {wanted} at character {token.position + 1}, found {token.text!r}"


# ---------------------------------------------------------------- arithmetic


class _Function(NamedTuple):
    compute: Callable[..., Fraction]
    min_arguments: int
    max_arguments: int
    example: str


def _literal(text: str) -> Fraction:
    exponent = re.split("[eE]", text)[1:]
    if exponent and (len(exponent[0]) > len(str(_MAX_EXPONENT)) + 1 or abs(int(exponent[0])) > _MAX_EXPONENT):
        raise ValueError(f"the number {text!r} is too large or too small; its exponent may be at most {_MAX_EXPONENT}")
    return _checked(Fraction(text))


def _checked(value: Fraction) -> Fraction:
    """Return the value, unless it has grown past the limit."""
    if value.numerator.bit_length() > _MAX_BITS or value.denominator.bit_length() > _MAX_BITS:
        raise ValueError("the result has more than 1,200 digits; use smaller numbers")
    return value


def _non_zero(value: Fraction) -> Fraction:
    if value == 0:
        raise ValueError("division by zero; change the divisor")
    return value


def _power(base: Fraction, exponent: Fraction) -> Fraction:
    if exponent.denominator != 1:
        return _through_float(lambda: float(base) ** float(exponent), f"{_shown(base)} ** {_shown(exponent)}")
    if exponent < 0:
        _non_zero(base)
    num_bits = max(base.numerator.bit_length(), base.denominator.bit_length())
    if abs(base) not in {0, 1} and (num_bits - 1) * abs(exponent) > _MAX_BITS:
        raise ValueError(f"the power with exponent {_shown(exponent)} has more than 1,200 digits; use smaller numbers")
    return _checked(_integer_power(base, int(exponent)))


def _integer_power(base: Fraction, exponent: int) -> Fraction:
    if abs(base) in {0, 1}:  # the exponent may be huge: its parity is enough
        exponent = exponent % 2 or (2 if exponent else 0)
    return Fraction(base**exponent)


def _square_root(value: Fraction) -> Fraction:
    if value < 0:
        raise ValueError(f"sqrt({_shown(value)}) is no real number; give a number of at least 0")
    numerator, denominator = math.isqrt(value.numerator), math.isqrt(value.denominator)
    if numerator**2 == value.numerator and denominator**2 == value.denominator:
        return Fraction(numerator, denominator)
    return _through_float(lambda: math.sqrt(value), f"sqrt({_shown(value)})")


def _logarithm(value: Fraction, base: Fraction = _CONSTANTS["e"]) -> Fraction:
    if value <= 0 or base <= 0 or base == 1:
        raise ValueError(f"log({_shown(value)}) does not exist for this base; give positive numbers, base not 1")
    if base == _CONSTANTS["e"]:
        return _through_float(lambda: math.log(value), f"log({_shown(value)})")
    return _through_float(lambda: math.log(value) / math.log(base), f"log({_shown(value)})")


def _rounded(value: Fraction, num_digits: Fraction = Fraction(0)) -> Fraction:
    """Round half away from zero, as taught at school (Python's `round` goes to the even neighbour)."""
    if num_digits.denominator != 1 or abs(num_digits) > _MAX_EXPONENT:
        raise ValueError(f"round() needs a whole number of digits up to {_MAX_EXPONENT}, got {_shown(num_digits)}")
    scale = Fraction(10) ** int(num_digits)
    magnitude = math.floor(abs(value) * scale + Fraction(1, 2)) / scale
    return magnitude if value >= 0 else -magnitude


def _through_float(compute: Callable[[], complex], shown: str) -> Fraction:
    """Take the value of a float computation, exactly as the float stands."""
    try:
        value = compute()
    except (OverflowError, ZeroDivisionError, ValueError) as error:
        raise ValueError(f"{shown} cannot be computed: {error}") from error
    if isinstance(value, complex) or not math.isfinite(value):
        raise ValueError(f"{shown} is no real number; change the expression")
    return Fraction(value)


def _shown(value: Fraction) -> str:
    """Write a value for a message, briefly."""
    return str(value)[:30] if value.denominator == 1 else f"{_to_number(value):.6g}"


def _to_number(value: Fraction) -> int | float:
    """Turn a value into a JSON number: integers stay exact, others keep 12 significant digits."""
    if value.denominator == 1:
        return value.numerator
    try:
        rounded = float(f"{float(value):.{_SIGNIFICANT_DIGITS - 1}e}")
    except OverflowError as error:
        raise ValueError("the result is above 1e308 and no integer; use smaller numbers") from error
    return int(rounded) if rounded.is_integer() and abs(rounded) < 10**_SIGNIFICANT_DIGITS else rounded


_OPERATORS: Final[Mapping[str, Callable[[Fraction, Fraction], Fraction]]] = {
    "+": lambda left, right: left + right,
    "-": lambda left, right: left - right,
    "*": lambda left, right: left * right,
    "/": lambda left, right: left / _non_zero(right),
    "//": lambda left, right: Fraction(left // _non_zero(right)),
    "%": lambda left, right: left % _non_zero(right),
}
_FUNCTIONS: Final[Mapping[str, _Function]] = {
    "abs": _Function(abs, 1, 1, "abs(-2)"),
    "ceil": _Function(lambda value: Fraction(math.ceil(value)), 1, 1, "ceil(2.1)"),
    "floor": _Function(lambda value: Fraction(math.floor(value)), 1, 1, "floor(2.9)"),
    "log": _Function(_logarithm, 1, 2, "log(100, 10)"),
    "max": _Function(max, 2, _MAX_LENGTH, "max(1, 2)"),
    "min": _Function(min, 2, _MAX_LENGTH, "min(1, 2)"),
    "round": _Function(_rounded, 1, 2, "round(2.345, 2)"),
    "sqrt": _Function(_square_root, 1, 1, "sqrt(16)"),
}


def _names() -> str:
    return ", ".join(sorted([*_FUNCTIONS, *_CONSTANTS]))
