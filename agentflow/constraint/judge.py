"""The check after decoding: an independent validator's word on a value, formats included.

Grammars hold an output to its schema while it is written. What a grammar leaves out (``on_unsupported="check"``) is
judged here, by the `jsonschema` library, which shares no code with the rest of this room.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping
from threading import Lock
from typing import Any, Protocol

from agentflow.errors import InvalidSchemaError
from agentflow.types import JsonSchema, JsonValue

_MAX_CACHED = 64
_MAX_MESSAGE_CHARS = 400


class _Validator(Protocol):
    def iter_errors(self, instance: Any) -> Any: ...


def find_problem(value: JsonValue, schema: JsonSchema | bool) -> str | None:
    """Say how a value breaks a schema; ``None``: it is valid.

    Formats are checked. The dialect is the one that ``$schema`` names, else draft 2020-12.

    Args:
        value: A JSON value.
        schema: A JSON Schema.

    Returns:
        One line, such as ``'x' is too short (at $.name)``.

    Raises:
        InvalidSchemaError: The validator cannot work with the schema: a reference leads nowhere, or a pattern is none.
    """
    from referencing.exceptions import Unresolvable

    try:
        error = next(iter(_validator(schema).iter_errors(value)), None)
    except (re.error, Unresolvable, TypeError, ValueError, RecursionError) as problem:
        raise InvalidSchemaError(f"values cannot be checked against the schema: {problem}") from problem
    return None if error is None else f"{_shorten(error.message)} (at {error.json_path})"


def _shorten(message: str) -> str:
    if len(message) <= _MAX_MESSAGE_CHARS:
        return message
    half = _MAX_MESSAGE_CHARS // 2
    return f"{message[:half]} ... {message[-half:]}"


_CACHE: OrderedDict[int, tuple[Any, _Validator]] = OrderedDict()
_LOCK = Lock()


def _validator(schema: JsonSchema | bool) -> _Validator:
    """Give the validator of a schema; the same object's is made once."""
    key = id(schema)
    with _LOCK:
        known = _CACHE.get(key)
        if known is not None and known[0] is schema:
            _CACHE.move_to_end(key)
            return known[1]
    validator = _make_validator(schema)
    with _LOCK:
        _CACHE[key] = (schema, validator)  # keeps the schema, so that its id stays its own
        while len(_CACHE) > _MAX_CACHED:
            _CACHE.popitem(last=False)
    return validator


def _make_validator(schema: JsonSchema | bool) -> _Validator:
    from jsonschema import Draft202012Validator
    from jsonschema.validators import validator_for

    kind: Any = Draft202012Validator
    if isinstance(schema, Mapping):
        kind = validator_for(schema, default=Draft202012Validator)
    validator: _Validator = kind(schema, format_checker=kind.FORMAT_CHECKER)
    return validator
