"""Keywords: what each says about values of one type, as a formula.

Kinds of atoms, with their payloads:

    number   (set of numbers as a CharDfa over their text, whether inside it, their text if it is one)
    string   a set of strings (Strings)                        format   (its name, whether inside it)
    is       the boolean that the value is                     one      (schema, its options, whether exactly one holds)
    items    (literals of the first items, literal of the rest or None)
    item     (index, literal of an item, if there is one)
    length   (fewest, most) items                              unique   its place
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
from typing import Any, TypeAlias

from agentflow.constraint import array_keywords, logic_keywords, object_keywords, scalar_keywords
from agentflow.constraint.formula import FALSE, TRUE, Formula, Literal, both, either
from agentflow.constraint.limits import at_keyword, num_states_left, restore_states
from agentflow.constraint.reader import Ask, Reader
from agentflow.constraint.resources import Resources
from agentflow.constraint.unevaluated import RESTS, Cases, read_rest
from agentflow.errors import UnsupportedSchemaError

Exclude: TypeAlias = Callable[[Literal, tuple[Literal, ...], str], Formula]
"""Say, for one option of a ``oneOf``, that no other option holds for a type."""

_REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")


class Keywords:
    """Reads one document's keywords.

    Args:
        resources: The document.
        ask: Gives the formula of a literal.
        exclude: Says that the other options of a ``oneOf`` do not hold.
        unchecked: Where to note unsupported keywords that a check after decoding covers; ``None``: raise.
    """

    def __init__(
        self, resources: Resources, ask: Ask, exclude: Exclude, unchecked: list[tuple[str, str]] | None
    ) -> None:
        self._resources = resources
        self._ask = ask
        self._unchecked = unchecked
        self._cases = {kind: Cases(kind, resources, ask, self.read, self.names, exclude) for kind in RESTS}

    def formula(self, number: int, kind: str, *, is_positive: bool) -> Formula:
        """Give what a schema says about values of type `kind`, or the opposite."""
        schema = self._resources.contents(number)
        if isinstance(schema, bool):
            return TRUE if schema == is_positive else FALSE
        names = self.names(schema)
        rest = RESTS.get(kind)
        if rest in names and is_positive:
            states = num_states_left()
            try:
                return either(case.formula for case in self._cases[kind].of(number))
            except UnsupportedSchemaError as error:
                if not self._is_left_to_check(error, number, rest):
                    raise
                restore_states(states)
            names.remove(rest)
        parts = [self.read(number, schema, kind, name, is_positive=is_positive) for name in names]
        return both(parts) if is_positive else either(parts)

    def names(self, schema: Mapping[str, Any]) -> list[str]:
        """Give the keywords that say something; in drafts up to 7 nothing counts beside a ``$ref``."""
        if self._resources.is_old and "$ref" in schema:
            return ["$ref"]
        return [name for name in _READERS if name in schema]

    def read(self, number: int, schema: Mapping[str, Any], kind: str, name: str, *, is_positive: bool) -> Formula:
        """Give what one keyword says, or the opposite.

        Raises:
            UnsupportedSchemaError: The keyword cannot be expressed, and is not left to a check.
        """
        types, reader = _READERS[name]
        if types and kind not in types:
            return TRUE if is_positive else FALSE
        states = num_states_left()
        with at_keyword(name, self._resources.pointer(number)):
            try:
                return reader(Reader(self._resources, self._ask, number, schema, kind, name, is_positive))
            except UnsupportedSchemaError as error:
                if not self._is_left_to_check(error, number, name):
                    raise
                restore_states(states)
                return TRUE

    def _is_left_to_check(self, error: UnsupportedSchemaError, number: int, name: str) -> bool:
        """Note a keyword for the check after decoding, if the caller allows it.

        A reference that leads out of the document is none: the check could not follow it either.
        """
        if self._unchecked is None or error.keyword != name or name in _REFERENCES:
            return False
        self._unchecked.append((name, self._resources.pointer(number)))
        return True


_NUMBER, _STRING, _ARRAY, _OBJECT = ({"number"}, {"string"}, {"array"}, {"object"})
_READERS: dict[str, tuple[set[str], Callable[[Reader], Formula]]] = {
    "type": (set(), logic_keywords.read_type),
    "enum": (set(), logic_keywords.read_enum),
    "const": (set(), logic_keywords.read_enum),
    "$ref": (set(), logic_keywords.read_reference),
    "minimum": (_NUMBER, scalar_keywords.read_bound),
    "maximum": (_NUMBER, scalar_keywords.read_bound),
    "exclusiveMinimum": (_NUMBER, scalar_keywords.read_bound),
    "exclusiveMaximum": (_NUMBER, scalar_keywords.read_bound),
    "multipleOf": (_NUMBER, scalar_keywords.read_multiple),
    "minLength": (_STRING, scalar_keywords.read_length),
    "maxLength": (_STRING, scalar_keywords.read_length),
    "pattern": (_STRING, scalar_keywords.read_pattern),
    "format": (_STRING, scalar_keywords.read_format),
    "prefixItems": (_ARRAY, array_keywords.read_items),
    "items": (_ARRAY, array_keywords.read_items),
    "minItems": (_ARRAY, array_keywords.read_item_count),
    "maxItems": (_ARRAY, array_keywords.read_item_count),
    "contains": (_ARRAY, array_keywords.read_contains),
    "uniqueItems": (_ARRAY, array_keywords.read_unique),
    "properties": (_OBJECT, object_keywords.read_fields),
    "patternProperties": (_OBJECT, object_keywords.read_fields),
    "additionalProperties": (_OBJECT, object_keywords.read_fields),
    "required": (_OBJECT, object_keywords.read_required),
    "minProperties": (_OBJECT, object_keywords.read_field_count),
    "maxProperties": (_OBJECT, object_keywords.read_field_count),
    "propertyNames": (_OBJECT, object_keywords.read_names),
    "dependentRequired": (_OBJECT, object_keywords.read_dependent),
    "dependentSchemas": (_OBJECT, object_keywords.read_dependent),
    "dependencies": (_OBJECT, object_keywords.read_dependent),
    "allOf": (set(), logic_keywords.read_all),
    "anyOf": (set(), logic_keywords.read_any),
    "oneOf": (set(), logic_keywords.read_one),
    "not": (set(), logic_keywords.read_not),
    "if": (set(), logic_keywords.read_if),
    "$dynamicRef": (set(), logic_keywords.read_reference),
    "$recursiveRef": (set(), logic_keywords.read_reference),
    "unevaluatedItems": (_ARRAY, read_rest),
    "unevaluatedProperties": (_OBJECT, read_rest),
}
