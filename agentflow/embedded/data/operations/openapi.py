"""Reads operations out of OpenAPI and Swagger descriptions."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from agentflow.embedded.data.operations.kinds import guess_kind
from agentflow.embedded.data.operations.wording import describe, function_name, summarize, words_of

_METHODS = ("get", "post", "put", "patch", "delete")
_MOST_ARGUMENTS = 5
_MOST_NAME = 28
_UNSAID = re.compile(
    r"api[_-]?key|key|access[_-]?token|.*token.*|auth.*|.*signature.*|fields|alt|prettyprint|quotauser|callback|userip|uploadtype|api[_-]?version|action|version|"
    r"\$.*|x-.*|format|.*secret.*|.*password.*|client[_-]?id|accept|.*jwt.*|nonce|if[_-]match|etag|expand|include|select|embed|dry_?run|method|callback|"
    r"subscription_?id|tenant_?id|.*cursor.*|.*content.?type.*|.*credential.*|hmac|timestamp|.*e?tag|pretty|debug|sig",
    re.IGNORECASE,
)  # fmt: skip
"""Names of arguments that people do not say."""
_PAGING = re.compile(r"page|limit|offset|skip|max_?results|(^|[^a-z])id$|count$")


@dataclass(frozen=True)
class Operation:
    """An operation as a function.

    Attributes:
        name: Name of the function.
        wish: How it is wished for.
        summary: What it does.
        arguments: Its arguments in the notation of the file.
    """

    name: str
    wish: str
    summary: str
    arguments: tuple[str, ...]

    @property
    def num_told(self) -> int:
        """How many arguments are what people tell, rather than identifiers, switches and numbers of pages."""
        return sum(map(_is_told, self.arguments))

    @property
    def line(self) -> str:
        """The line of the file; a wish that is the summary is left out."""
        plain = f"{self.wish[0].upper()}{self.wish[1:]}."
        wish = "" if plain == self.summary else self.wish
        return f"{self.name} :: {wish} :: {self.summary} :: {' ; '.join(self.arguments)}"


def read_operations(document: Mapping[str, Any]) -> Iterator[Operation]:
    """Give the operations of a description that can be told as functions, in its order."""
    for path, item in (document.get("paths") or {}).items():
        for method in _METHODS:
            operation = item.get(method) if isinstance(item, Mapping) else None
            if not isinstance(operation, Mapping) or operation.get("deprecated"):
                continue
            found = _read(document, path, method, operation, item.get("parameters") or [])
            if found is not None:
                yield found


def _read(
    document: Mapping[str, Any], path: str, method: str, operation: Mapping[str, Any], shared: list[Any]
) -> Operation | None:
    name = function_name(str(operation.get("operationId") or ""), method, path)
    said = summarize(str(operation.get("summary") or "")) or summarize(str(operation.get("description") or ""))
    if name is None or said is None:
        return None
    arguments = choose_arguments(_fields(document, [*shared, *(operation.get("parameters") or [])], operation))
    if not arguments:
        return None
    return Operation(name, said[1], said[0], arguments)


@dataclass(frozen=True)
class Field:
    """A parameter or a property of a body.

    Attributes:
        name: Its name.
        schema: Its schema.
        said: Its description.
        is_required: Whether it must be given.
    """

    name: str
    schema: Mapping[str, Any]
    said: str
    is_required: bool


def choose_arguments(fields: list[Field]) -> tuple[str, ...] | None:
    """Write up to five fields in the notation of the file, or give None if one that is needed cannot be."""
    required: list[str] = []
    optional: list[str] = []
    seen: set[str] = set()
    for field in fields:
        text = _notation(field)
        words = " ".join(words_of(field.name))
        if text is None and field.is_required and not _UNSAID.fullmatch(field.name):
            return None
        if text is not None and words not in seen:
            (required if field.is_required else optional).append(text)
            seen.add(words)
    if len(required) > _MOST_ARGUMENTS or not required + optional:
        return None
    optional.sort(key=lambda text: not _is_told(text))
    return tuple([*required, *optional][: max(len(required), 4)])


def _is_told(argument: str) -> bool:
    name, kind, *_ = argument.split(":")
    return kind not in ("b", "code", "uuid", "slug", "word", "datetime") and not _PAGING.search(name.lower())


def _notation(field: Field) -> str | None:
    name = field.name.replace("-", "_").replace(".", "_")
    words = words_of(name)
    is_odd = _UNSAID.fullmatch(field.name) or not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name) or len(name) > _MOST_NAME
    if is_odd or not words or any(len(word) == 1 for word in words if name not in ("q", "id")) or len(words) > 4:  # noqa: PLR2004
        return None
    kind = guess_kind(words, field.schema, field.said, is_required=field.is_required)
    if kind is None:
        return None
    return f"{'' if field.is_required else '?'}{name}:{kind}::{describe(field.said, words)}"


# ---------------------------------------------------------------- fields of an operation


def _fields(document: Mapping[str, Any], parameters: list[Any], operation: Mapping[str, Any]) -> list[Field]:
    fields: list[Field] = []
    body = operation.get("requestBody")
    for parameter in (_resolve(document, one) for one in parameters):
        place = parameter.get("in")
        if place in ("path", "query", "formData"):
            schema = _resolve(document, parameter.get("schema") or parameter)
            said = str(parameter.get("description") or schema.get("description") or "")
            fields.append(Field(str(parameter.get("name")), schema, said, is_required=bool(parameter.get("required"))))
        elif place == "body":
            fields += _properties(document, parameter.get("schema") or {})
    if isinstance(body, Mapping):
        contents = _resolve(document, body).get("content") or {}
        for content in list(contents.values())[:1]:
            fields += _properties(document, content.get("schema") or {})
    return fields


def _properties(document: Mapping[str, Any], schema: Any) -> list[Field]:
    schema = _resolve(document, schema)
    required = schema.get("required") if isinstance(schema.get("required"), list) else []
    found = []
    for name, one in (schema.get("properties") or {}).items():
        inner = _resolve(document, one)
        if not inner.get("readOnly"):
            found.append(Field(str(name), inner, str(inner.get("description") or ""), is_required=name in required))
    return found


def _resolve(document: Mapping[str, Any], node: Any) -> Mapping[str, Any]:
    """Follow a reference inside the document; what leads nowhere is empty."""
    for _ in range(5):
        if not isinstance(node, Mapping):
            return {}
        target = node.get("$ref")
        if not isinstance(target, str):
            return node
        node = document
        for step in target.removeprefix("#/").split("/"):
            node = node.get(step.replace("~1", "/").replace("~0", "~"), {}) if isinstance(node, Mapping) else {}
    return {}
