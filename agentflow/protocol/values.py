"""Values and schemas as Gemma 4 writes them.

Strings stand between two ``<|"|>`` tokens, keys are bare, numbers, booleans and null are bare,
mappings are sorted by key without regard to case (Jinja's ``dictsort``, which the published chat
template uses).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from agentflow.protocol.control import Control, Segment
from agentflow.types import JsonSchema, JsonValue, ToolSpec

QUOTE = Control('<|"|>')
_DROPPED_KEYWORDS = frozenset({"$schema", "$id", "title", "default", "examples"})
_NAME_MAPS = frozenset({"properties", "$defs", "definitions", "patternProperties", "dependentSchemas"})


def sort_keys(keys: Sequence[str]) -> list[str]:
    """Sort keys as ``dictsort`` does: without regard to case, stable otherwise."""
    return sorted(keys, key=str.lower)


def quote(text: str) -> Iterator[Segment]:
    """Write a string between two quote tokens."""
    yield from (QUOTE, text, QUOTE)


def format_value(value: JsonValue) -> Iterator[Segment]:
    """Write a JSON value in the call syntax."""
    if isinstance(value, str):
        yield from quote(value)
    elif isinstance(value, Mapping):
        yield from _format_mapping(value)
    elif isinstance(value, Sequence):
        yield from _format_sequence(value)
    else:
        yield json.dumps(value)


def _format_mapping(value: Mapping[str, JsonValue]) -> Iterator[Segment]:
    yield "{"
    for i, key in enumerate(sort_keys(list(value))):
        yield f",{key}:" if i else f"{key}:"
        yield from format_value(value[key])
    yield "}"


def _format_sequence(value: Sequence[JsonValue]) -> Iterator[Segment]:
    yield "["
    for i, item in enumerate(value):
        if i:
            yield ","
        yield from format_value(item)
    yield "]"


def format_declaration(tool: ToolSpec) -> Iterator[Segment]:
    """Write a tool's declaration, from ``declaration:`` to its closing brace."""
    yield f"declaration:{tool.name}{{description:"
    yield from quote(tool.description)
    root = tool.parameters
    yield ",parameters:{"
    if root.get("properties"):
        yield "properties:{"
        yield from _format_properties(root["properties"], root)
        yield "},"
    if root.get("required"):
        yield "required:"
        yield from format_value(list(root["required"]))
        yield ","
    yield "type:"
    yield from quote("OBJECT")
    yield "}}"


def _format_properties(properties: Mapping[str, Any], root: JsonSchema) -> Iterator[Segment]:
    for i, key in enumerate(sort_keys(list(properties))):
        yield f",{key}:{{" if i else f"{key}:{{"
        for entry in _describe(properties[key], root):
            yield from entry
            yield ","
        yield "type:"
        yield from quote(_type_name(_resolve(properties[key], root), root))
        yield "}"


def _describe(schema: Any, root: JsonSchema) -> Iterator[list[Segment]]:
    """Give the entries of a property that stand before its type, each as segments."""
    schema, is_nullable = _strip_null(_resolve(schema, root), root)
    if schema.get("description"):
        yield ["description:", *quote(schema["description"])]
    if "const" in schema or schema.get("enum"):
        yield ["enum:", *format_value([schema["const"]] if "const" in schema else schema["enum"])]
    if isinstance(schema.get("items"), Mapping) and schema["items"]:
        items = _resolve(schema["items"], root)
        inner: list[Segment] = []
        for entry in _describe(items, root):
            inner += [*entry, ","]
        yield ["items:{", *inner, "type:", *quote(_type_name(items, root)), "}"]
    if is_nullable:
        yield ["nullable:true"]
    if schema.get("properties"):
        yield ["properties:{", *_format_properties(schema["properties"], root), "}"]
        if schema.get("required"):
            yield ["required:", *format_value(list(schema["required"]))]


def _resolve(schema: Any, root: JsonSchema) -> JsonSchema:
    """Follow local references, so that a declaration reads without a ``$defs`` section."""
    seen = 0
    while isinstance(schema, Mapping) and isinstance(schema.get("$ref"), str) and seen < len(str(root)):
        target: Any = root
        for part in schema["$ref"].removeprefix("#").strip("/").split("/"):
            target = target.get(part.replace("~1", "/").replace("~0", "~"), {}) if part else target
        schema = {**target, **{k: v for k, v in schema.items() if k != "$ref"}}
        seen += 1
    return schema if isinstance(schema, Mapping) else {}


def _strip_null(schema: JsonSchema, root: JsonSchema) -> tuple[JsonSchema, bool]:
    """Split ``T | null`` into T and the fact that null is allowed."""
    options = [_resolve(s, root) for s in schema.get("anyOf", ())]
    others = [s for s in options if s.get("type") != "null"]
    if len(options) > len(others) == 1:
        rest = {k: v for k, v in schema.items() if k != "anyOf"}
        return {**others[0], **rest}, True
    types = schema.get("type")
    return schema, isinstance(types, list) and "null" in types


def _type_name(schema: JsonSchema, root: JsonSchema) -> str:
    """Name a schema's type in capitals; alternatives are joined by a bar."""
    schema, _ = _strip_null(schema, root)
    types = schema.get("type")
    if isinstance(types, str):
        return types.upper()
    if isinstance(types, list):
        return "|".join(t.upper() for t in types if t != "null")
    values = [schema["const"]] if "const" in schema else schema.get("enum", ())
    names = [_type_name(_resolve(s, root), root) for s in schema.get("anyOf", schema.get("oneOf", ()))]
    return "|".join(dict.fromkeys(names or [_value_type(v) for v in values])) or "ANY"


def _value_type(value: JsonValue) -> str:
    names = ((bool, "BOOLEAN"), (int, "INTEGER"), (float, "NUMBER"), (str, "STRING"), (Mapping, "OBJECT"))
    return next((name for kind, name in names if isinstance(value, kind)), "NULL" if value is None else "ARRAY")


def compact_schema(schema: JsonSchema) -> str:
    """Write a schema as compact JSON without what only a reader of documentation needs."""
    return json.dumps(_prune(schema), separators=(",", ":"), ensure_ascii=False)


def _prune(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_prune(item) for item in schema]
    if not isinstance(schema, Mapping):
        return schema
    pruned = {}
    for key, value in schema.items():
        if key in _DROPPED_KEYWORDS or key.startswith("x-") or (key == "additionalProperties" and value is False):
            continue
        if key in ("enum", "const"):
            pruned[key] = value
        elif key in _NAME_MAPS and isinstance(value, Mapping):
            pruned[key] = {name: _prune(sub) for name, sub in value.items()}
        else:
            pruned[key] = _prune(value)
    return pruned
