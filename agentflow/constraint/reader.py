"""One keyword of one schema, asked about one JSON type: what the readers of keywords share.

The readers themselves are functions, by what they speak of: `agentflow.constraint.logic_keywords`,
`agentflow.constraint.scalar_keywords`, `agentflow.constraint.array_keywords`, `agentflow.constraint.object_keywords`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, TypeAlias

from agentflow.constraint import numbers, strings
from agentflow.constraint.automaton import CharDfa
from agentflow.constraint.formula import Atom, Formula, Literal, both
from agentflow.constraint.regex import pattern_dfa
from agentflow.constraint.regex_syntax import RegexError
from agentflow.constraint.resources import Resources
from agentflow.errors import InvalidSchemaError, UnsupportedSchemaError

TYPES = ("null", "boolean", "number", "string", "array", "object")
_MAX_COUNT = 10**9
Ask: TypeAlias = Callable[[Literal, str], Formula]
"""Give the formula of another schema for a type."""


def type_of(value: Any) -> str:
    """Give the JSON type of a Python value."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float | Decimal):
        return "number"
    if isinstance(value, str):
        return "string"
    return "object" if isinstance(value, Mapping) else "array"


class Reader:
    """One keyword of one schema, asked about one type.

    Attributes:
        resources: The document.
        number: The schema.
        schema: Its contents.
        kind: The type.
        name: The keyword.
        value: The keyword's value.
        is_positive: Whether the keyword must hold, or must not.
        pointer: JSON pointer of the schema.
    """

    def __init__(  # noqa: PLR0917 - made in one place
        self,
        resources: Resources,
        ask: Ask,
        number: int,
        schema: Mapping[str, Any],
        kind: str,
        name: str,
        is_positive: bool,
    ) -> None:
        self._ask = ask
        self.resources = resources
        self.number = number
        self.schema = schema
        self.kind = kind
        self.name = name
        self.value = schema[name]
        self.is_positive = is_positive
        self.pointer = resources.pointer(number)

    def literal(self, contents: Any, *path: str | int, is_positive: bool = True) -> Literal:
        """Give a subschema of this one."""
        return Literal(self.resources.child(self.number, contents, *path), is_positive)

    def ask(self, literal: Literal) -> Formula:
        """Give what another schema says about the type."""
        return self._ask(literal, self.kind)

    def refuse(self, reason: str) -> UnsupportedSchemaError:
        """Make the error that refuses the keyword."""
        return UnsupportedSchemaError(self.name, pointer=self.pointer, reason=reason)

    def invalid(self, expected: str, value: Any = None) -> InvalidSchemaError:
        """Make the error for a value that the keyword cannot have."""
        shown = repr(self.value if value is None else value)
        return InvalidSchemaError(f"{self.name} must be {expected}, got {shown[:200]}", pointer=self.pointer)

    def count(self, name: str | None = None, default: int = 0) -> int:
        """Give a count; it must be a non-negative integer."""
        value = self.schema.get(name or self.name, default)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise self.invalid("a non-negative integer", value)
        return min(value, _MAX_COUNT)

    def mapping(self, name: str) -> Mapping[str, Any]:
        """Give an object of schemas by name."""
        value = self.schema.get(name, {})
        if not isinstance(value, Mapping):
            raise self.invalid("an object of schemas", value)
        return value

    def pattern(self, pattern: Any) -> CharDfa:
        """Give the strings that a pattern is found in."""
        if not isinstance(pattern, str):
            raise self.invalid("a regular expression", pattern)
        try:
            return pattern_dfa(pattern, is_wide=not self.is_positive)
        except RegexError as error:
            raise self.refuse(str(error)) from error

    def subschemas(self) -> list[Literal]:
        """Give the schemas of a list."""
        if not isinstance(self.value, list) or not self.value:
            raise self.invalid("a list of schemas")
        return [self.literal(sub, self.name, i) for i, sub in enumerate(self.value)]

    def bound(self) -> Decimal:
        """Give a number."""
        value = self.value
        if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
            raise self.invalid("a number")
        return numbers.exact(value)

    def number_set(self, dfa: CharDfa, text: str | None = None) -> Formula:
        """Say that a number is (or is not) in a set; `text` is its only member."""
        return Atom("number", (dfa, self.is_positive, text))

    def string_set(self, members: strings.Strings) -> Formula:
        """Say that a string is (or is not) in a set."""
        return Atom("string", members if self.is_positive else strings.negate(members))


def item_at(index: int, literal: Literal) -> Formula:
    """Say that there is an item at `index`, and that it satisfies the literal."""
    return both([Atom("item", (index, literal)), Atom("length", (index + 1, None))])
