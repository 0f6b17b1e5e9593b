"""unevaluatedProperties and unevaluatedItems: which part of a value no other keyword speaks of.

What a schema speaks of depends on which of its parts hold. So a schema is written as cases, each a formula and what
is evaluated wherever the formula holds:

    {"properties": {"a": {}}, "anyOf": [B, C]}     cases  a, B     evaluates a and what B evaluates
                                                          a, C     evaluates a and what C evaluates
                                                          a, B, C  evaluates all of these

The cases need not exclude each other: where B and C hold, the third allows whatever the first two do. So
``unevaluated...`` is exactly "one of the cases holds, and what it does not evaluate satisfies the literal".
(JSON Schema 2020-12, Core, 11.2 and 11.3.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from typing import Any

from agentflow.constraint.formula import FALSE, TRUE, Atom, Formula, Literal, both, either, has
from agentflow.constraint.limits import current, spend
from agentflow.constraint.reader import Ask, Reader
from agentflow.constraint.resources import Resources
from agentflow.errors import InvalidSchemaError, UnsupportedSchemaError

RESTS = {"array": "unevaluatedItems", "object": "unevaluatedProperties"}
_MAX_COMBINED = 5


@dataclass(frozen=True)
class Evaluated:
    """What a schema speaks of.

    Attributes:
        names: Properties by name.
        patterns: Properties by pattern.
        num_first: How many of the first items.
        matching: Items that satisfy one of these (``contains``).
        is_all: Everything.
    """

    names: frozenset[str] = frozenset()
    patterns: frozenset[str] = frozenset()
    num_first: int = 0
    matching: frozenset[Literal] = frozenset()
    is_all: bool = False

    def join(self, other: Evaluated) -> Evaluated:
        """Give what either speaks of."""
        if self.is_all or other.is_all:
            return ALL
        return Evaluated(
            self.names | other.names,
            self.patterns | other.patterns,
            max(self.num_first, other.num_first),
            self.matching | other.matching,
        )


NOTHING = Evaluated()
ALL = Evaluated(is_all=True)


@dataclass(frozen=True)
class Case:
    """A way for a schema to hold, and what it evaluates then."""

    formula: Formula
    evaluated: Evaluated = NOTHING


def read_rest(reader: Reader) -> Formula:
    """Read unevaluatedProperties or unevaluatedItems where it must not hold; `Cases` reads the others.

    Raises:
        UnsupportedSchemaError: Always, but for ``true``.
    """
    if reader.value is True:
        return TRUE if reader.is_positive else FALSE
    raise reader.refuse("its negation depends on which other parts of the schema a value satisfies")


class Cases:
    """Writes the schemas of a document as cases.

    Args:
        kind: The type of the values: ``"array"`` or ``"object"``.
        resources: The document.
        ask: Gives the formula of a literal.
        read: Gives the formula of one keyword.
        names: Gives the keywords that count in a schema.
        exclude: Says that the other options of a ``oneOf`` do not hold.
    """

    def __init__(  # noqa: PLR0917 - made in one place
        self,
        kind: str,
        resources: Resources,
        ask: Callable[[Literal, str], Formula],
        read: Callable[..., Formula],
        names: Callable[[Mapping[str, Any]], list[str]],
        exclude: Callable[[Literal, tuple[Literal, ...], str], Formula],
    ) -> None:
        self._kind = kind
        self._resources = resources
        self._ask: Ask = ask
        self._read = read
        self._names = names
        self._exclude = exclude
        self._open: set[int] = set()

    def of(self, number: int) -> list[Case]:
        """Give the cases of a schema.

        Raises:
            InvalidSchemaError: The schema refers to itself without a value in between.
            UnsupportedSchemaError: There are more cases than `CompileLimits.max_alternatives`.
        """
        schema = self._resources.contents(number)
        if isinstance(schema, bool):
            return [Case(TRUE)] if schema else []
        if number in self._open:
            raise InvalidSchemaError(
                "the schema refers to itself without a value in between", pointer=self._resources.pointer(number)
            )
        self._open.add(number)
        try:
            return self._of_mapping(number, schema)
        finally:
            self._open.remove(number)

    def _of_mapping(self, number: int, schema: Mapping[str, Any]) -> list[Case]:
        names = self._names(schema)
        rest = RESTS[self._kind]
        found = [Case(TRUE)]
        for name in names:
            if name != rest:
                found = self._combine([found, self._of_keyword(number, schema, name)], number)
        if rest in names:
            literal = Literal(self._resources.child(number, schema[rest], rest), True)
            found = [Case(both([case.formula, *self._hold_rest(number, case.evaluated, literal)]), ALL)
                     for case in found]  # fmt: skip
        return [case for case in found if case.formula != FALSE]

    def _of_keyword(self, number: int, schema: Mapping[str, Any], name: str) -> list[Case]:
        """Give the cases of one keyword."""
        joining = _JOINING.get(name)
        if joining is not None:
            reader = Reader(self._resources, self._ask, number, schema, self._kind, name, True)
            return joining(self, reader)
        formula = self._read(number, schema, self._kind, name, is_positive=True)
        return [Case(formula, self._evaluated_by(number, schema, name))]

    def _evaluated_by(self, number: int, schema: Mapping[str, Any], name: str) -> Evaluated:
        """Give what a keyword speaks of that joins no schemas."""
        value = schema[name]
        if self._kind == "object":
            names = frozenset(value if name == "properties" else ())
            patterns = frozenset(value if name == "patternProperties" else ())
            return Evaluated(names, patterns, is_all=name == "additionalProperties")
        if name == "contains" and self._resources.has_evaluating_contains:
            return Evaluated(matching=frozenset({Literal(self._resources.child(number, value, name), True)}))
        if name in ("prefixItems", "items") and isinstance(value, list):
            is_open = name == "prefixItems" or "additionalItems" not in schema
            return Evaluated(num_first=len(value)) if is_open else ALL
        return ALL if name == "items" else NOTHING

    # ------------------------------------------------------------ keywords that join schemas

    def _under(self, literal: Literal) -> list[Case]:
        """Give the cases of another schema; one case where none of them evaluates anything."""
        found = self.of(literal.schema)
        if all(case.evaluated == NOTHING for case in found):
            return [Case(self._ask(literal, self._kind))]
        return found

    def _all(self, reader: Reader) -> list[Case]:
        parts = [self._under(literal) for literal in reader.subschemas()]
        return self._combine(parts, reader.number)

    def _any(self, reader: Reader) -> list[Case]:
        options = [self._under(literal) for literal in reader.subschemas()]
        plain = [case for cases in options for case in cases if len(cases) == 1 and case.evaluated == NOTHING]
        telling = [cases for cases in options if len(cases) > 1 or any(case.evaluated != NOTHING for case in cases)]
        largest = len(telling) if len(telling) <= _MAX_COMBINED else 2
        found = [Case(either(case.formula for case in plain))]
        for size in range(1, largest + 1):
            for chosen in combinations(telling, size):
                found += self._combine(list(chosen), reader.number)
        return self._limited(found, reader.number)

    def _one(self, reader: Reader) -> list[Case]:
        options = tuple(reader.subschemas())
        found = []
        for option in options:
            alone = self._exclude(option, options, self._kind)
            found += [Case(both([case.formula, alone]), case.evaluated) for case in self._under(option)]
        return self._limited(found, reader.number)

    def _if(self, reader: Reader) -> list[Case]:
        condition = reader.literal(reader.value, "if")
        holds = self._under(condition)
        fails = [Case(self._ask(condition.negate(), self._kind))]
        if "then" in reader.schema:
            then = self._under(reader.literal(reader.schema["then"], "then"))
            holds = self._combine([holds, then], reader.number)
        if "else" in reader.schema:
            otherwise = self._under(reader.literal(reader.schema["else"], "else"))
            fails = self._combine([fails, otherwise], reader.number)
        return [*holds, *fails]

    def _reference(self, reader: Reader) -> list[Case]:
        target = self._resources.refer(reader.number, reader.value, reader.name)
        return self._under(Literal(target, True))

    def _dependent(self, reader: Reader) -> list[Case]:
        if self._kind != "object":
            return [Case(TRUE)]
        rules = []
        for name, demand in reader.mapping(reader.name).items():
            if isinstance(demand, list):
                there = [Case(both([has(name), *(has(other) for other in demand)]))]
            else:
                under = self._under(reader.literal(demand, reader.name, name))
                there = [Case(both([has(name), case.formula]), case.evaluated) for case in under]
            rules.append([Case(has(name, is_present=False)), *there])
        return self._combine(rules, reader.number)

    # ------------------------------------------------------------ helpers

    def _combine(self, parts: Sequence[list[Case]], number: int) -> list[Case]:
        """Let all parts hold at once."""
        found = [Case(TRUE)]
        for cases in parts:
            pairs = product(found, cases)
            found = [Case(both([a.formula, b.formula]), a.evaluated.join(b.evaluated)) for a, b in pairs]
            found = self._limited(found, number)
        return found

    def _limited(self, cases: Iterable[Case], number: int) -> list[Case]:
        found = [case for case in dict.fromkeys(cases) if case.formula != FALSE]
        spend(len(found))
        limit = current().max_alternatives
        if len(found) > limit:
            raise UnsupportedSchemaError(
                RESTS[self._kind], pointer=self._resources.pointer(number),
                reason=f"what is evaluated differs in more than {limit} cases",
                hint="simplify the schema, or raise CompileLimits.max_alternatives",
            )  # fmt: skip
        return found

    def _hold_rest(self, number: int, evaluated: Evaluated, literal: Literal) -> list[Formula]:
        """Hold what is not evaluated to a literal."""
        if evaluated.is_all or self._resources.contents(literal.schema) is True:
            return []
        anything = Literal(self._resources.constant_true, True)
        if self._kind == "array":
            return [Atom("items", ((anything,) * evaluated.num_first, self._or_matching(number, evaluated, literal)))]
        named = tuple((name, anything) for name in sorted(evaluated.names))
        matched = tuple((pattern, anything) for pattern in sorted(evaluated.patterns))
        return [Atom("fields", (named, matched, literal))]

    def _or_matching(self, number: int, evaluated: Evaluated, literal: Literal) -> Literal:
        """Let items pass that one of the ``contains`` has evaluated."""
        if not evaluated.matching:
            return literal
        options = [self._resources.contents(lit.schema) for lit in (*sorted(evaluated.matching), literal)]
        return Literal(self._resources.any_of(number, options), True)


_JOINING: dict[str, Callable[[Cases, Reader], list[Case]]] = {
    "$ref": Cases._reference,  # noqa: SLF001 - the table of this class
    "$dynamicRef": Cases._reference,  # noqa: SLF001
    "$recursiveRef": Cases._reference,  # noqa: SLF001
    "allOf": Cases._all,  # noqa: SLF001
    "anyOf": Cases._any,  # noqa: SLF001
    "oneOf": Cases._one,  # noqa: SLF001
    "if": Cases._if,  # noqa: SLF001
    "dependentSchemas": Cases._dependent,  # noqa: SLF001
    "dependencies": Cases._dependent,  # noqa: SLF001
}
