"""The one form in which a grammar takes a value: compact JSON, keys in the order of the schema."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

MAX_REFERENCES = 64
"""References followed from one place before a schema counts as going round in circles."""


def canonical_json(value: Any, schema: Any) -> str:
    """Write a value as a grammar of `schema` would.

    Args:
        value: A JSON value, valid or not; keys that the schema does not name come last, in the value's own order.
        schema: The JSON Schema.

    Returns:
        Compact JSON.
    """
    return json.dumps(_ordered(value, [schema], schema), ensure_ascii=False, separators=(",", ":"))


def _ordered(value: Any, schemas: Sequence[Any], root: Any) -> Any:
    """Put the keys of objects in order, all the way down; `schemas` are those that speak about `value`."""
    found = [part for schema in schemas for part in _parts(schema, root, MAX_REFERENCES)]
    if isinstance(value, Mapping):
        names = dict.fromkeys(name for part in found for name in _mapping(part, "properties"))
        keys = [name for name in names if name in value] + [key for key in value if key not in names]
        return {key: _ordered(value[key], [*_property_schemas(found, key)], root) for key in keys}
    if isinstance(value, list):
        return [_ordered(item, [*_item_schemas(found, i)], root) for i, item in enumerate(value)]
    return value


def _parts(schema: Any, root: Any, num_left: int) -> Iterator[Mapping[str, Any]]:
    """Give a schema and those that it is made of: references, alternatives, conjunctions."""
    if not isinstance(schema, Mapping) or not num_left:
        return
    yield schema
    if isinstance(reference := schema.get("$ref"), str):
        yield from _parts(_resolve(reference, root), root, num_left - 1)
    for keyword in ("allOf", "anyOf", "oneOf"):
        for part in schema.get(keyword, ()):
            yield from _parts(part, root, num_left - 1)


def _resolve(reference: str, root: Any) -> Any:
    """Follow a local reference; ``None`` where it leads nowhere."""
    found = root
    for part in reference.removeprefix("#").split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        if isinstance(found, list) and key.isdigit() and int(key) < len(found):
            found = found[int(key)]
        else:
            found = found.get(key) if isinstance(found, Mapping) else None
    return found if reference.startswith("#") else None


def _property_schemas(parts: Sequence[Mapping[str, Any]], key: str) -> Iterator[Any]:
    for part in parts:
        properties = _mapping(part, "properties")
        yield properties[key] if key in properties else part.get("additionalProperties")


def _item_schemas(parts: Sequence[Mapping[str, Any]], index: int) -> Iterator[Any]:
    for part in parts:
        prefix = part.get("prefixItems", ())
        yield prefix[index] if index < len(prefix) else part.get("items")


def _mapping(schema: Mapping[str, Any], keyword: str) -> Mapping[str, Any]:
    found = schema.get(keyword)
    return found if isinstance(found, Mapping) else {}
