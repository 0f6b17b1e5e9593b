"""Keywords: what each says about values of one type, as a formula.

Kinds of atoms, with their payloads:

    number   (set of numbers as a CharDfa over their text, whether inside it, their text if it is one)
    string   a set of strings (Strings)                        format   (its name, whether inside it)
    is       the boolean that the value is                     one      (schema, its options, whether exactly one holds)
    items    (literals of the first items, literal of the rest or None)
    item     (index, literal of an item, if there is one)
    length   (fewest, most) items                              unique   ()
    some     (first index, literal, fewest, most)              how many items satisfy the literal
    has      (name, whether it is present)
    fields   (literal by name, literal by pattern, literal of the others or None)
    some_field (names, patterns, pattern or None, literal)     a property satisfies the literal: one that matches
             the pattern, or (without a pattern) one that is neither named nor matched
    names    literal that every name satisfies                 some_name  literal that a name satisfies
    count    (fewest, most) properties

A keyword that no atom can express raises `UnsupportedSchemaError`; an annotation says nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, TypeAlias

from agentflow.constraint import numbers, strings
from agentflow.constraint.automaton import CharDfa
from agentflow.constraint.formats import format_dfa
from agentflow.constraint.formula import FALSE, TRUE, Atom, Formula, Literal, alternatives, both, either, has
from agentflow.constraint.limits import at_keyword
from agentflow.constraint.regex import pattern_dfa
from agentflow.constraint.regex_syntax import RegexError
from agentflow.constraint.resources import Resources
from agentflow.errors import InvalidSchemaError, UnsupportedSchemaError

TYPES = ("null", "boolean", "number", "string", "array", "object")
_UNEVALUATED = {"array": "unevaluatedItems", "object": "unevaluatedProperties"}
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


class Keywords:
    """Reads one document's keywords."""

    def __init__(
        self,
        resources: Resources,
        ask: Ask,
        resolve: Callable[[Formula, str], Formula],
        unchecked: list[tuple[str, str]] | None,
    ) -> None:
        """Take the document.

        Args:
            resources: The document.
            ask: Gives the formula of a literal.
            resolve: Writes the choices of ``oneOf`` as alternatives.
            unchecked: Where to note unsupported keywords that a check after decoding covers; ``None``: raise.
        """
        self._resources = resources
        self._ask = ask
        self._resolve = resolve
        self._unchecked = unchecked

    def formula(self, number: int, kind: str, *, is_positive: bool) -> Formula:
        """Give what a schema says about values of type `kind`, or the opposite."""
        schema = self._resources.contents(number)
        if isinstance(schema, bool):
            return TRUE if schema == is_positive else FALSE
        names = self._names(schema)
        rest = _UNEVALUATED.get(kind)
        if rest in names and is_positive and schema[rest] is not True and not _mentions(schema, ("not", "contains")):
            names.remove(rest)
            parts = [self._own(number, schema, kind, name, is_positive=True) for name in names]
            literal = Literal(self._resources.child(number, schema[rest], rest), True)
            return self._evaluate_rest(number, both(parts), kind, rest, literal)
        parts = [self._own(number, schema, kind, name, is_positive=is_positive) for name in names]
        return both(parts) if is_positive else either(parts)

    def _evaluate_rest(self, number: int, formula: Formula, kind: str, keyword: str, literal: Literal) -> Formula:
        """Hold what no other part of the schema speaks of to a literal, alternative by alternative.

        Parts that happen to hold beside the chosen alternative evaluate more than is counted here: sound, and
        narrower than the specification.
        """
        pointer = self._resources.pointer(number)
        chosen = alternatives(self._resolve(formula, kind), lambda _: True, keyword, pointer)
        closed = []
        for atoms in chosen:
            plain = [atom.payload if atom.kind == "presence" else atom for atom in atoms]
            closed.append(both([*plain, *_rest_of(atoms, kind, literal)]))
        return either(closed)

    def _names(self, schema: Mapping[str, Any]) -> list[str]:
        """Give the keywords that say something; in drafts up to 7 nothing counts beside a ``$ref``."""
        if self._resources.is_old and "$ref" in schema:
            return ["$ref"]
        return [name for name in _READERS if name in schema]

    def _own(self, number: int, schema: Mapping[str, Any], kind: str, name: str, *, is_positive: bool) -> Formula:
        types, reader = _READERS[name]
        if types and kind not in types:
            return TRUE if is_positive else FALSE
        with at_keyword(name, self._resources.pointer(number)):
            try:
                return reader(_Reader(self, number, schema, kind, name, is_positive))
            except UnsupportedSchemaError as error:
                if self._unchecked is None or not is_positive or error.keyword != name:
                    raise
                self._unchecked.append((name, self._resources.pointer(number)))
                return TRUE


def _rest_of(atoms: tuple[Atom, ...], kind: str, literal: Literal) -> list[Formula]:
    """Give what holds for the items or properties that the atoms do not speak of."""
    if kind == "array":
        lists = [atom.payload for atom in atoms if atom.kind == "items"]
        if any(rest is not None for _, rest in lists):
            return []
        count = max((len(first) for first, _ in lists), default=0)
        first = next((first for first, _ in lists if len(first) == count), ())
        return [Atom("items", (first, literal))]
    fields = [atom.payload for atom in atoms if atom.kind == "fields"]
    if any(others is not None for _, _, others in fields):
        return []
    named = tuple(dict.fromkeys(entry for names, _, _ in fields for entry in names if entry[1].is_positive))
    matched = tuple(dict.fromkeys(entry for _, patterns, _ in fields for entry in patterns))
    return [Atom("fields", (named, matched, literal))]


def _mentions(value: Any, keywords: tuple[str, ...]) -> bool:
    """Say whether any of the keywords stands anywhere in a schema."""
    if isinstance(value, Mapping):
        return any(name in value for name in keywords) or any(_mentions(v, keywords) for v in value.values())
    return isinstance(value, list) and any(_mentions(v, keywords) for v in value)


class _Reader:
    """One keyword of one schema, asked about one type."""

    def __init__(  # noqa: PLR0917 - made in one place
        self,
        keywords: Keywords,
        number: int,
        schema: Mapping[str, Any],
        kind: str,
        name: str,
        is_positive: bool,
    ) -> None:
        self._ask = keywords._ask  # noqa: SLF001 - one class in two parts
        self._resources = keywords._resources  # noqa: SLF001
        self.number = number
        self.schema = schema
        self.kind = kind
        self.name = name
        self.value = schema[name]
        self.is_positive = is_positive
        self.pointer = self._resources.pointer(number)

    # ------------------------------------------------------------ helpers

    def literal(self, contents: Any, *path: str | int, is_positive: bool = True) -> Literal:
        return Literal(self._resources.child(self.number, contents, *path), is_positive)

    def ask(self, literal: Literal) -> Formula:
        return self._ask(literal, self.kind)

    def refuse(self, reason: str) -> UnsupportedSchemaError:
        return UnsupportedSchemaError(self.name, pointer=self.pointer, reason=reason)

    def invalid(self, expected: str, value: Any = None) -> InvalidSchemaError:
        shown = repr(self.value if value is None else value)
        return InvalidSchemaError(f"{self.name} must be {expected}, got {shown[:200]}", pointer=self.pointer)

    def count(self, name: str | None = None, default: int = 0) -> int:
        value = self.schema.get(name or self.name, default)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise self.invalid("a non-negative integer", value)
        return min(value, _MAX_COUNT)

    def mapping(self, name: str) -> Mapping[str, Any]:
        value = self.schema.get(name, {})
        if not isinstance(value, Mapping):
            raise self.invalid("an object of schemas", value)
        return value

    def signed(self, positive: Callable[[], Formula], negative: Callable[[], Formula]) -> Formula:
        return positive() if self.is_positive else negative()

    def pattern(self, pattern: Any) -> CharDfa:
        if not isinstance(pattern, str):
            raise self.invalid("a regular expression", pattern)
        try:
            return pattern_dfa(pattern)
        except RegexError as error:
            raise self.refuse(str(error)) from error

    def subschemas(self) -> list[Literal]:
        if not isinstance(self.value, list) or not self.value:
            raise self.invalid("a list of schemas")
        return [self.literal(sub, self.name, i) for i, sub in enumerate(self.value)]

    # ------------------------------------------------------------ any type

    def read_type(self) -> Formula:
        names = [self.value] if isinstance(self.value, str) else self.value
        known = {*TYPES, "integer", "any"}
        if not isinstance(names, list) or not all(isinstance(name, str) and name in known for name in names):
            raise self.invalid("a JSON type or a list of them")
        if self.kind in names or "any" in names:
            return TRUE if self.is_positive else FALSE
        if self.kind == "number" and "integer" in names:
            return self.number_set(numbers.whole_numbers())
        return FALSE if self.is_positive else TRUE

    def read_enum(self) -> Formula:
        values = [self.value] if self.name == "const" else self.value
        if not isinstance(values, list):
            raise self.invalid("a list of values")
        values = [value for value in values if type_of(value) == self.kind]
        if self.kind == "string":
            return self.string_set(strings.of_values(values))
        if self.kind in ("null", "boolean"):
            options = [Atom("is", value) for value in values] if self.kind == "boolean" else [TRUE] * bool(values)
            found = either(options)
            return found if self.is_positive else _flip(found)
        exact = [self.equal(value) for value in values]
        return either(exact) if self.is_positive else both(exact)

    def equal(self, value: Any) -> Formula:
        """Say that the value is (or is not) `value`: a number, an array or an object."""
        if self.kind == "number":
            return self.number_set(numbers.equal_to(numbers.exact(value)), text=numbers.number_text(value))
        if self.kind == "array":
            parts = tuple(Literal(self._resources.constant(item), True) for item in value)
            if self.is_positive:
                return both([Atom("items", (parts, None)), Atom("length", (len(parts), len(parts)))])
            differs = [_item_at(i, part.negate()) for i, part in enumerate(parts)]
            return either([*differs, *_length_outside(len(parts), len(parts))])
        fields = tuple((name, Literal(self._resources.constant(item), True)) for name, item in value.items())
        if self.is_positive:
            present = [has(name) for name, _ in fields]
            return both([Atom("fields", (fields, (), None)), *present, Atom("count", (len(fields), len(fields)))])
        lacks = [has(name, is_present=False) for name, _ in fields]
        differs = [both([has(name), Atom("fields", (((name, lit.negate()),), (), None))]) for name, lit in fields]
        return either([*lacks, *differs, Atom("count", (len(fields) + 1, None))])

    def read_reference(self) -> Formula:
        return self.ask(Literal(self._resources.refer(self.number, self.value), self.is_positive))

    def read_all(self) -> Formula:
        parts = [self.ask(Literal(lit.schema, self.is_positive)) for lit in self.subschemas()]
        return both(parts) if self.is_positive else either(parts)

    def read_any(self) -> Formula:
        parts = [self.ask(Literal(lit.schema, self.is_positive)) for lit in self.subschemas()]
        return either(parts) if self.is_positive else both(parts)

    def read_one(self) -> Formula:
        return Atom("one", (self.number, tuple(self.subschemas()), self.is_positive))

    def read_not(self) -> Formula:
        return self.ask(self.literal(self.value, "not", is_positive=not self.is_positive))

    def read_if(self) -> Formula:
        condition = self.literal(self.value, "if")
        branches = []
        for name, test in (("then", condition), ("else", condition.negate())):
            if name in self.schema:
                branch = self.literal(self.schema[name], name, is_positive=self.is_positive)
                branches.append(both([self.ask(test), self.ask(branch)]))
            elif self.is_positive:
                branches.append(self.ask(test))
        return either(branches)

    # ------------------------------------------------------------ numbers and strings

    def number_set(self, dfa: CharDfa, text: str | None = None) -> Formula:
        return Atom("number", (dfa, self.is_positive, text))

    def string_set(self, members: strings.Strings) -> Formula:
        return Atom("string", members if self.is_positive else strings.negate(members))

    def bound(self) -> Decimal:
        value = self.value
        if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
            raise self.invalid("a number")
        return numbers.exact(value)

    def read_bound(self) -> Formula:
        if isinstance(self.value, bool):  # draft 4: a flag beside the bound
            return TRUE if self.is_positive else FALSE
        is_lower = self.name.lower().endswith("minimum")
        is_exclusive = (
            self.name.startswith("exclusive")
            or self.schema.get("exclusive" + self.name[0].upper() + self.name[1:]) is True
        )
        compare = numbers.at_least if is_lower else numbers.at_most
        return self.number_set(compare(self.bound(), is_exclusive=is_exclusive))

    def read_multiple(self) -> Formula:
        divisor = self.bound()
        if divisor <= 0:
            raise self.invalid("a number above 0")
        return self.number_set(numbers.multiple_of(divisor))

    def read_length(self) -> Formula:
        count = self.count()
        return self.string_set(strings.of_length(*((count, None) if self.name == "minLength" else (0, count))))

    def read_pattern(self) -> Formula:
        return self.string_set(strings.Strings(None, self.pattern(self.value)))

    def read_format(self) -> Formula:
        if not isinstance(self.value, str):
            raise self.invalid("a name")
        dfa = format_dfa(self.value)
        if dfa is None:
            return TRUE if self.is_positive else FALSE
        return Atom("format", (self.value, self.is_positive))

    # ------------------------------------------------------------ arrays

    def read_items(self) -> Formula:
        """Read items, prefixItems and additionalItems together, at the first that is there."""
        schema = self.schema
        first: list[Literal] = []
        rest: Literal | None = None
        items = schema.get("items")
        if isinstance(schema.get("prefixItems"), list) and not self._resources.is_old:
            first = [self.literal(sub, "prefixItems", i) for i, sub in enumerate(schema["prefixItems"])]
        if isinstance(items, list):
            first = [self.literal(sub, "items", i) for i, sub in enumerate(items)]
            if "additionalItems" in schema:
                rest = self.literal(schema["additionalItems"], "additionalItems")
        elif items is not None:
            rest = self.literal(items, "items")
        if self.is_positive:
            return Atom("items", (tuple(first), rest))
        bad = [_item_at(i, literal.negate()) for i, literal in enumerate(first)]
        if rest is not None:
            bad.append(Atom("some", (len(first), rest.negate(), 1, None)))
        return either(bad)

    def read_item_count(self) -> Formula:
        count = self.count()
        inside, outside = (count, None), (0, count - 1)
        if self.name.startswith("max"):
            inside, outside = (0, count), (count + 1, None)  # type: ignore[assignment]  # a pair of bounds either way
        if self.is_positive:
            return Atom("length", inside)
        return Atom("length", outside) if outside[1] is None or outside[1] >= 0 else FALSE

    def read_contains(self) -> Formula:
        literal = self.literal(self.value, "contains")
        fewest = self.count("minContains", 1) if not self._resources.is_old else 1
        most = self.count("maxContains") if "maxContains" in self.schema and not self._resources.is_old else None
        if self.is_positive:
            return Atom("some", (0, literal, fewest, most))
        outside: list[Formula] = [Atom("some", (0, literal, 0, fewest - 1))] if fewest else []
        if most is not None:
            outside.append(Atom("some", (0, literal, most + 1, None)))
        return either(outside)

    def read_unique(self) -> Formula:
        if not isinstance(self.value, bool):
            raise self.invalid("true or false")
        if not self.value:
            return TRUE if self.is_positive else FALSE
        if not self.is_positive:
            raise self.refuse("the negation of uniqueItems is not regular")
        return Atom("unique", self.pointer)

    # ------------------------------------------------------------ objects

    def read_fields(self) -> Formula:
        """Read properties, patternProperties and additionalProperties together, at the first that is there."""
        named = tuple((name, self.literal(sub, "properties", name)) for name, sub in self.mapping("properties").items())
        matched = tuple(
            (pattern, self.literal(sub, "patternProperties", pattern))
            for pattern, sub in self.mapping("patternProperties").items()
        )
        for pattern, _ in matched:
            self.pattern(pattern)
        others = None
        if "additionalProperties" in self.schema:
            others = self.literal(self.schema["additionalProperties"], "additionalProperties")
        if self.is_positive:
            return Atom("fields", (named, matched, others))
        names, patterns = tuple(name for name, _ in named), tuple(pattern for pattern, _ in matched)
        bad: list[Formula] = [
            both([has(name), Atom("fields", (((name, literal.negate()),), (), None))]) for name, literal in named
        ]
        bad += [Atom("some_field", (names, (), pattern, literal.negate())) for pattern, literal in matched]
        if others is not None:
            bad.append(Atom("some_field", (names, patterns, None, others.negate())))
        return either(bad)

    def read_required(self) -> Formula:
        if isinstance(self.value, bool):  # draft 3: a flag of the property
            return TRUE if self.is_positive else FALSE
        if not isinstance(self.value, list) or not all(isinstance(name, str) for name in self.value):
            raise self.invalid("a list of names")
        parts = [has(name, is_present=self.is_positive) for name in self.value]
        return both(parts) if self.is_positive else either(parts)

    def read_field_count(self) -> Formula:
        formula = self.read_item_count()
        return Atom("count", formula.payload) if isinstance(formula, Atom) else formula

    def read_names(self) -> Formula:
        literal = self.literal(self.value, "propertyNames", is_positive=self.is_positive)
        return Atom("names" if self.is_positive else "some_name", literal)

    def read_dependent(self) -> Formula:
        """Read dependencies, dependentRequired and dependentSchemas: if a property is there, then something holds."""
        rules = []
        for name, demand in self.mapping(self.name).items():
            if isinstance(demand, list):
                met = [has(other, is_present=self.is_positive) for other in demand]
                then = both(met) if self.is_positive else either(met)
            else:
                then = self.ask(self.literal(demand, self.name, name, is_positive=self.is_positive))
                then = both([has(name), then]) if self.is_positive else then
            rules.append(either([has(name, is_present=False), then]) if self.is_positive else both([has(name), then]))
        return both(rules) if self.is_positive else either(rules)

    def read_unsupported(self) -> Formula:
        if self.name.startswith("unevaluated") and self.value is True:
            return TRUE if self.is_positive else FALSE
        raise self.refuse("it depends on which other parts of the schema a value satisfies")


def _flip(formula: Formula) -> Formula:
    """Negate a formula about a boolean."""
    if isinstance(formula, Atom):
        return Atom("is", not formula.payload)
    return FALSE if formula == TRUE else TRUE if formula == FALSE else FALSE


def _item_at(index: int, literal: Literal) -> Formula:
    """Say that there is an item at `index`, and that it satisfies the literal."""
    return both([Atom("item", (index, literal)), Atom("length", (index + 1, None))])


def _length_outside(fewest: int, most: int) -> list[Formula]:
    outside: list[Formula] = [Atom("length", (most + 1, None))]
    if fewest:
        outside.append(Atom("length", (0, fewest - 1)))
    return outside


_NUMBER, _STRING, _ARRAY, _OBJECT = ({"number"}, {"string"}, {"array"}, {"object"})
_READERS: dict[str, tuple[set[str], Callable[[_Reader], Formula]]] = {
    "type": (set(), _Reader.read_type),
    "enum": (set(), _Reader.read_enum),
    "const": (set(), _Reader.read_enum),
    "$ref": (set(), _Reader.read_reference),
    "minimum": (_NUMBER, _Reader.read_bound),
    "maximum": (_NUMBER, _Reader.read_bound),
    "exclusiveMinimum": (_NUMBER, _Reader.read_bound),
    "exclusiveMaximum": (_NUMBER, _Reader.read_bound),
    "multipleOf": (_NUMBER, _Reader.read_multiple),
    "minLength": (_STRING, _Reader.read_length),
    "maxLength": (_STRING, _Reader.read_length),
    "pattern": (_STRING, _Reader.read_pattern),
    "format": (_STRING, _Reader.read_format),
    "prefixItems": (_ARRAY, _Reader.read_items),
    "items": (_ARRAY, _Reader.read_items),
    "minItems": (_ARRAY, _Reader.read_item_count),
    "maxItems": (_ARRAY, _Reader.read_item_count),
    "contains": (_ARRAY, _Reader.read_contains),
    "uniqueItems": (_ARRAY, _Reader.read_unique),
    "unevaluatedItems": (_ARRAY, _Reader.read_unsupported),
    "properties": (_OBJECT, _Reader.read_fields),
    "patternProperties": (_OBJECT, _Reader.read_fields),
    "additionalProperties": (_OBJECT, _Reader.read_fields),
    "required": (_OBJECT, _Reader.read_required),
    "minProperties": (_OBJECT, _Reader.read_field_count),
    "maxProperties": (_OBJECT, _Reader.read_field_count),
    "propertyNames": (_OBJECT, _Reader.read_names),
    "dependentRequired": (_OBJECT, _Reader.read_dependent),
    "dependentSchemas": (_OBJECT, _Reader.read_dependent),
    "dependencies": (_OBJECT, _Reader.read_dependent),
    "unevaluatedProperties": (_OBJECT, _Reader.read_unsupported),
    "allOf": (set(), _Reader.read_all),
    "anyOf": (set(), _Reader.read_any),
    "oneOf": (set(), _Reader.read_one),
    "not": (set(), _Reader.read_not),
    "if": (set(), _Reader.read_if),
    "$dynamicRef": (set(), _Reader.read_unsupported),
    "$recursiveRef": (set(), _Reader.read_unsupported),
}
