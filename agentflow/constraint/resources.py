"""The schema document: its dialect, its subschemas as numbers, and its references.

References are resolved by the `referencing` library, against the document itself and the published meta-schemas;
nothing is fetched.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import referencing.jsonschema as specs
from jsonschema_specifications import REGISTRY  # type: ignore[import-untyped]  # ships no types
from referencing import Resource
from referencing.exceptions import Unresolvable

from agentflow.constraint.limits import current
from agentflow.errors import InvalidSchemaError, UnsupportedSchemaError

_DIALECTS = {
    "https://json-schema.org/draft/2020-12/schema": specs.DRAFT202012,
    "https://json-schema.org/draft/2019-09/schema": specs.DRAFT201909,
    "http://json-schema.org/draft-07/schema": specs.DRAFT7,
    "http://json-schema.org/draft-06/schema": specs.DRAFT6,
    "http://json-schema.org/draft-04/schema": specs.DRAFT4,
    "http://json-schema.org/draft-03/schema": specs.DRAFT4,
}
_MAX_NESTING = 300


class Resources:
    """The subschemas of one document, each with a number."""

    def __init__(self, root: Any) -> None:
        """Take the document.

        Raises:
            InvalidSchemaError: It is no schema.
        """
        _check_document(root)
        dialect = root.get("$schema") if isinstance(root, Mapping) else None
        self.specification = _DIALECTS.get(str(dialect).rstrip("#"), specs.DRAFT202012)
        self.is_old = self.specification in (specs.DRAFT7, specs.DRAFT6, specs.DRAFT4)
        resource: Any = Resource(contents=root, specification=self.specification)  # type: ignore[call-arg]  # attrs
        identifier = resource.id() or ""
        try:
            registry = REGISTRY.with_resource(identifier, resource)
            self._resolver = registry.resolver(base_uri=identifier)
        except Exception as error:  # a malformed $id surfaces as many kinds of error
            raise InvalidSchemaError(f"the schema's $id {identifier!r} cannot be used: {error}") from error
        self._contents: list[Any] = []
        self._resolvers: list[Any] = []
        self._pointers: list[str] = []
        self._numbers: dict[int, int] = {}
        self._constants: dict[str, int] = {}
        self.root = self._add(root, self._resolver, "")

    def contents(self, number: int) -> Any:
        """Give a subschema."""
        return self._contents[number]

    def pointer(self, number: int) -> str:
        """Give the JSON pointer of a subschema."""
        return self._pointers[number]

    def child(self, parent: int, contents: Any, *path: str | int) -> int:
        """Give the number of a subschema of `parent`.

        Raises:
            InvalidSchemaError: It is neither an object nor a boolean.
        """
        pointer = self._pointers[parent] + "".join("/" + _escape(str(part)) for part in path)
        if not isinstance(contents, bool | Mapping):
            raise InvalidSchemaError(f"a schema is an object or a boolean, got {contents!r}", pointer=pointer)
        resolver = self._resolvers[parent]
        has_base = isinstance(contents, Mapping) and any(isinstance(contents.get(n), str) for n in ("$id", "id"))
        if isinstance(contents, Mapping) and has_base and not (self.is_old and "$ref" in contents):
            resolver = resolver.in_subresource(self.specification.create_resource(contents))
        return self._add(contents, resolver, pointer)

    def constant(self, value: Any) -> int:
        """Give the number of the schema that one value alone satisfies."""
        key = json.dumps(value, sort_keys=True)
        if key not in self._constants:
            self._constants[key] = self._add({"const": value}, self._resolver, "")
        return self._constants[key]

    def refer(self, parent: int, reference: Any) -> int:
        """Follow a ``$ref``.

        Raises:
            InvalidSchemaError: It is no string, or points nowhere in the document.
            UnsupportedSchemaError: It points to another document.
        """
        pointer = self._pointers[parent]
        if not isinstance(reference, str):
            raise InvalidSchemaError(f"a $ref is a string, got {reference!r}", pointer=pointer)
        try:
            resolved = self._resolvers[parent].lookup(reference)
        except Unresolvable as error:
            if reference.startswith("#"):
                raise InvalidSchemaError(f"the $ref {reference!r} points nowhere", pointer=pointer) from error
            raise UnsupportedSchemaError(
                "$ref", pointer=pointer, reason=f"{reference!r} is not in this document",
                hint="put the schema that it points to under $defs",
            ) from error  # fmt: skip
        except (ValueError, TypeError, AttributeError, LookupError) as error:
            raise InvalidSchemaError(f"the $ref {reference!r} cannot be followed", pointer=pointer) from error
        if not isinstance(resolved.contents, bool | Mapping):
            raise InvalidSchemaError(f"the $ref {reference!r} points to no schema", pointer=pointer)
        target = reference[1:] if reference.startswith("#/") else reference
        return self._add(resolved.contents, resolved.resolver, target)

    def _add(self, contents: Any, resolver: Any, pointer: str) -> int:
        number = self._numbers.get(id(contents)) if isinstance(contents, Mapping) else None
        if number is None:
            number = len(self._contents)
            self._contents.append(contents)
            self._resolvers.append(resolver)
            self._pointers.append(pointer)
            if isinstance(contents, Mapping):
                self._numbers[id(contents)] = number
        return number


def _check_document(root: Any) -> None:
    if not isinstance(root, bool | Mapping):
        raise InvalidSchemaError(f"a schema is an object or a boolean, got {type(root).__name__}")
    try:
        size = len(json.dumps(root))
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidSchemaError(f"the schema is not JSON: {error}") from error
    limit = current().max_schema_bytes
    if size > limit:
        raise UnsupportedSchemaError(
            "schema", reason=f"it has {size} bytes, the limit is {limit}", hint="raise CompileLimits.max_schema_bytes"
        )
    todo = [(root, 0)]
    while todo:
        value, depth = todo.pop()
        if depth > _MAX_NESTING:
            raise UnsupportedSchemaError("schema", reason=f"it nests deeper than {_MAX_NESTING}")
        if isinstance(value, Mapping):
            todo += [(child, depth + 1) for child in value.values()]
        elif isinstance(value, list | tuple):
            todo += [(child, depth + 1) for child in value]


def _escape(part: str) -> str:
    return part.replace("~", "~0").replace("/", "~1")
