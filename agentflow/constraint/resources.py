"""The schema document: its dialect, its subschemas as numbers, and its references.

References are resolved by the `referencing` library, against the document itself and the published meta-schemas;
nothing is fetched.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
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
_DYNAMIC_MARKS = ('"$dynamicRef"', '"$recursiveRef"', '"https://json-schema.org/draft/20')
_NO_IDENTIFIER = "urn:agentflow:schema"
"""Base URI of a document that names none: it must have one to count as a dynamic scope."""


class Resources:
    """The subschemas of one document, each with a number."""

    def __init__(self, root: Any) -> None:
        """Take the document.

        Raises:
            InvalidSchemaError: It is no schema.
        """
        text = _check_document(root)
        self._is_dynamic = any(mark in text for mark in _DYNAMIC_MARKS)
        dialect = root.get("$schema") if isinstance(root, Mapping) else None
        self.specification = _DIALECTS.get(str(dialect).rstrip("#"), specs.DRAFT202012)
        self.is_old = self.specification in (specs.DRAFT7, specs.DRAFT6, specs.DRAFT4)
        resource: Any = Resource(contents=root, specification=self.specification)  # type: ignore[call-arg]  # attrs
        identifier = resource.id() or _NO_IDENTIFIER
        try:
            registry = REGISTRY.with_resource(identifier, resource)
            self._resolver = registry.resolver(base_uri=identifier)
        except Exception as error:  # a malformed $id surfaces as many kinds of error
            raise InvalidSchemaError(f"the schema's $id {identifier!r} cannot be used: {error}") from error
        self._contents: list[Any] = []
        self._resolvers: list[Any] = []
        self._pointers: list[str] = []
        self._numbers: dict[tuple[int, tuple[str, ...]], int] = {}
        self._unions: dict[tuple[int, ...], int] = {}
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

    @cached_property
    def constant_true(self) -> int:
        """The number of the schema that everything satisfies."""
        return self._add(True, self._resolver, "")

    def any_of(self, parent: int, options: Sequence[Any]) -> int:
        """Give the number of a schema that takes what one of some subschemas of `parent`'s resource takes."""
        key = (parent, *map(id, options))
        if key not in self._unions:
            contents = {"anyOf": list(options)}
            self._unions[key] = self._add(contents, self._resolvers[parent], self._pointers[parent])
        return self._unions[key]

    @property
    def has_evaluating_contains(self) -> bool:
        """Whether ``contains`` speaks of the items that it matches, for ``unevaluatedItems``."""
        return bool(self.specification is specs.DRAFT202012)

    def refer(self, parent: int, reference: Any, keyword: str = "$ref") -> int:
        """Follow a ``$ref``, a ``$dynamicRef`` or a ``$recursiveRef``.

        A dynamic reference depends on the way that led to it, so the numbers of such a document stand for a schema and
        the resources around it (see `_scope`).

        Raises:
            InvalidSchemaError: It is no string, or points nowhere in the document.
            UnsupportedSchemaError: It points to another document.
        """
        pointer = self._pointers[parent]
        if not isinstance(reference, str):
            raise InvalidSchemaError(f"a {keyword} is a string, got {reference!r}", pointer=pointer)
        try:
            resolver = self._resolvers[parent]
            resolved = (
                specs.lookup_recursive_ref(resolver) if keyword == "$recursiveRef" else resolver.lookup(reference)
            )
        except Unresolvable as error:
            if reference.startswith("#"):
                raise InvalidSchemaError(f"the {keyword} {reference!r} points nowhere", pointer=pointer) from error
            raise UnsupportedSchemaError(
                keyword, pointer=pointer, reason=f"{reference!r} is not in this document",
                hint="put the schema that it points to under $defs",
            ) from error  # fmt: skip
        except (ValueError, TypeError, AttributeError, LookupError) as error:
            raise InvalidSchemaError(f"the {keyword} {reference!r} cannot be followed", pointer=pointer) from error
        if not isinstance(resolved.contents, bool | Mapping):
            raise InvalidSchemaError(f"the {keyword} {reference!r} points to no schema", pointer=pointer)
        target = self._places.get(id(resolved.contents)) if isinstance(resolved.contents, Mapping) else None
        return self._add(resolved.contents, resolved.resolver, reference.lstrip("#") if target is None else target)

    def _add(self, contents: Any, resolver: Any, pointer: str) -> int:
        key = (id(contents), self._scope(resolver)) if isinstance(contents, Mapping) else None
        number = self._numbers.get(key) if key is not None else None
        if number is None:
            number = len(self._contents)
            self._contents.append(contents)
            self._resolvers.append(resolver)
            self._pointers.append(pointer)
            if key is not None:
                self._numbers[key] = number
        return number

    def _scope(self, resolver: Any) -> tuple[str, ...]:
        """Give the resources that lead to a place, the outermost first, each once; nothing where it does not matter.

        A dynamic reference goes to the outermost resource with its anchor, so later visits to a resource do not count
        and there are finitely many scopes.
        """
        if not self._is_dynamic:
            return ()
        around = [str(uri) for uri, _ in resolver.dynamic_scope()]
        here = str(resolver._base_uri)  # noqa: SLF001 - the library does not say it otherwise
        return tuple(dict.fromkeys([*reversed(around), here]))

    @cached_property
    def _places(self) -> dict[int, str]:
        """JSON pointer of every object in the document, by its identity."""
        places: dict[int, str] = {}
        todo: list[tuple[Any, str]] = [(self._contents[self.root], "")]
        while todo:
            value, pointer = todo.pop()
            if isinstance(value, Mapping):
                places.setdefault(id(value), pointer)
                todo += [(child, f"{pointer}/{_escape(str(name))}") for name, child in value.items()]
            elif isinstance(value, list | tuple):
                todo += [(child, f"{pointer}/{i}") for i, child in enumerate(value)]
        return places


def _check_document(root: Any) -> str:
    """Make sure that a schema is JSON of a bearable size, and give it as JSON."""
    if not isinstance(root, bool | Mapping):
        raise InvalidSchemaError(f"a schema is an object or a boolean, got {type(root).__name__}")
    try:
        text = json.dumps(root, ensure_ascii=False, allow_nan=False)
        size = len(text.encode())
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
    return text


def _escape(part: str) -> str:
    return part.replace("~", "~0").replace("/", "~1")
