"""pydantic's types as JSON Schemas for models, and its complaints as sentences for models."""

from __future__ import annotations

import reprlib
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic.json_schema import GenerateJsonSchema

_VALUE_KEYWORDS = frozenset({"default", "const", "enum", "examples"})  # their values are data, not schemas
_NAME_MAPS = frozenset({"properties", "$defs", "patternProperties"})  # their keys are names, not keywords
_MAX_PROBLEMS = 8
_MAX_SHOWN_CHARS = 80


_shorten = reprlib.Repr()
_shorten.maxlevel, _shorten.maxstring, _shorten.maxother = 3, _MAX_SHOWN_CHARS, _MAX_SHOWN_CHARS


class _PlainJsonSchema(GenerateJsonSchema):
    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 # the name is pydantic's
        return False


def plain_json_schema(adapter: TypeAdapter[Any]) -> dict[str, Any]:
    """Make the schema without titles: pydantic derives them from names; they cost tokens and say nothing.

    Raises:
        pydantic.errors.PydanticInvalidForJsonSchema: The type has no JSON form.
    """
    schema: dict[str, Any] = _without_titles(adapter.json_schema(schema_generator=_PlainJsonSchema))
    return schema


def _without_titles(schema: Any, *, is_name_map: bool = False) -> Any:
    if isinstance(schema, list):
        return [_without_titles(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: value
        if key in _VALUE_KEYWORDS and not is_name_map
        else _without_titles(value, is_name_map=key in _NAME_MAPS and not is_name_map)
        for key, value in schema.items()
        if is_name_map or key != "title"
    }


def describe_problems(error: ValidationError, *, root: str) -> str:
    """Say what is wrong in words that a model can use; `root` names the value as a whole."""
    details = error.errors(include_url=False, include_context=False)
    shown = "; ".join(_describe(detail, root) for detail in details[:_MAX_PROBLEMS])
    return shown if len(details) <= _MAX_PROBLEMS else f"{shown}; and {len(details) - _MAX_PROBLEMS} more"


def _describe(detail: Any, root: str) -> str:
    place = ".".join(str(part) for part in detail["loc"]) or root
    if detail["type"] == "missing":
        return f"{place} is required and missing"
    if detail["type"] == "extra_forbidden":
        return f"{place} is not known here"
    return f"{place}: {detail['msg']}, got {_shorten.repr(detail['input'])[: 2 * _MAX_SHOWN_CHARS]}"
