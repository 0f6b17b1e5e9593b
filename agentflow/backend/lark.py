"""A turn as a grammar for llguidance, the mask that left-to-right decoding is measured with.

The grammar says what our own automaton says: a final answer as compact JSON in the schema's order of keys, calls in
the protocol's syntax with sorted keys, grounded slots as spans of the conversation. It knows the schema keywords
that tools and outputs commonly use; others are refused. Source of the syntax: llguidance, `docs/syntax.md`.
"""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Mapping, Sequence
from typing import Any

from agentflow.constraint.formats import format_pattern
from agentflow.errors import UnsupportedSchemaError
from agentflow.types import GenerationRequest, JsonSchema, ToolSpec

_NUMBER = r"/-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?/"
_INTEGER = r"/-?(0|[1-9][0-9]*)/"
_JSON_TEXT = r'/([^"\\\x00-\x1f\x7f]|\\(["\\\/bfnrt]|u[0-9a-fA-F]{4}))*/'
_CALL_TEXT = r"/(.|\n)*/"
_NUMBER_IN_TEXT = re.compile(r"(?<![\w.])-?(?:0|[1-9]\d*)(?:\.\d+)?(?![\w.]*\d)")
_ANNOTATIONS = frozenset({
    "$defs", "$id", "$schema", "default", "definitions", "deprecated", "description", "examples", "title",
    "additionalProperties", "x-grounded",
})  # fmt: skip
_BOUNDS = {
    "minimum": operator.ge,
    "maximum": operator.le,
    "exclusiveMinimum": operator.gt,
    "exclusiveMaximum": operator.lt,
}
_KEYWORDS = _ANNOTATIONS | set(_BOUNDS) | {
    "$ref", "anyOf", "oneOf", "const", "enum", "type", "properties", "required", "items", "minItems", "maxItems",
    "minLength", "maxLength", "pattern", "format",
}  # fmt: skip


def turn_lark(request: GenerationRequest, *, control_ids: Mapping[str, int], texts: Sequence[str] | None) -> str:
    """The grammar of the turn that `request` asks for, in llguidance's Lark syntax.

    Args:
        request: The request.
        control_ids: Token id of each control token.
        texts: What grounded slots may quote; ``None`` leaves all slots free.

    Raises:
        UnsupportedSchemaError: A schema uses a keyword that this grammar does not know.
    """
    writer = _Writer(control_ids, texts)
    options: list[str] = []
    tools = [tool for tool in request.tools if request.tool_choice in ("auto", "required", tool.name)]
    if tools:
        repeat = "+" if request.settings.is_parallel else ""
        options.append(f"calls{repeat} {writer.control('<|tool_response>')}")
        writer.rules["calls"] = writer.call(tools)
    if request.tool_choice in ("auto", "none") or not request.tools:
        answer = writer.answer(request.output_schema)
        options.append(f"{answer} {writer.control('<turn|>')}")
    writer.rules["start"] = " | ".join(options)
    return "".join(f"{name}: {body}\n" for name, body in writer.rules.items())


class _Writer:
    """Collects grammar rules; a method that writes an expression gives it as text."""

    def __init__(self, control_ids: Mapping[str, int], texts: Sequence[str] | None) -> None:
        self.rules: dict[str, str] = {}
        self._control_ids = control_ids
        self._texts = texts
        self._is_call = False
        self._root: JsonSchema = {}
        self._num_roots = 0

    def control(self, text: str) -> str:
        return f"<[{self._control_ids[text]}]>"

    def call(self, tools: Sequence[ToolSpec]) -> str:
        self._is_call = True
        options = []
        for tool in tools:
            self._enter(tool.parameters)
            options.append(f"{_literal('call:' + tool.name)} {self.value(tool.parameters, f'/{tool.name}')}")
        return f"{self.control('<|tool_call>')} ({' | '.join(options)}) {self.control('<tool_call|>')}"

    def answer(self, schema: JsonSchema | None) -> str:
        if schema is None:
            return self._named("TEXT", _CALL_TEXT)
        self._is_call = False
        self._enter(schema)
        return self.value(schema, "")

    def _enter(self, root: JsonSchema) -> None:
        """Begin a schema of its own, with its own references."""
        self._root = root
        self._num_roots += 1

    def value(self, schema: Any, pointer: str) -> str:
        if schema is True or schema == {}:
            raise UnsupportedSchemaError("{}", pointer=pointer, reason="a value of any type")
        unknown = sorted(set(schema) - _KEYWORDS)
        if unknown:
            raise UnsupportedSchemaError(unknown[0], pointer=pointer)
        if "$ref" in schema:
            return self._reference(schema["$ref"], pointer)
        if "const" in schema or "enum" in schema:
            values = [schema["const"]] if "const" in schema else schema["enum"]
            return _either([self._constant(value) for value in values])
        for keyword in ("anyOf", "oneOf"):
            if keyword in schema:
                return _either([self.value(s, f"{pointer}/{keyword}/{i}") for i, s in enumerate(schema[keyword])])
        types = schema.get("type", "object" if "properties" in schema else None)
        if types is None:
            raise UnsupportedSchemaError("type", pointer=pointer, reason="a value of any type")
        return _either([self._typed(kind, schema, pointer) for kind in ([types] if isinstance(types, str) else types)])

    def _reference(self, reference: str, pointer: str) -> str:
        name = "ref_" + re.sub(r"\W", "_", f"{self._num_roots}{reference}").lower()
        if name not in self.rules:
            target: Any = self._root
            for part in reference.removeprefix("#").strip("/").split("/"):
                target = target[part.replace("~1", "/").replace("~0", "~")]
            self.rules[name] = ""  # known from here on, so that a schema may refer to itself
            self.rules[name] = self.value(target, pointer)
        return name

    def _typed(self, kind: str, schema: JsonSchema, pointer: str) -> str:
        if kind == "object":
            return self._object(schema, pointer)
        if kind == "array":
            return self._array(schema, pointer)
        if kind == "string":
            return self._string(schema)
        if kind in ("number", "integer"):
            return self._number(kind, schema)
        return {"boolean": '("true" | "false")', "null": '"null"'}[kind]

    def _object(self, schema: JsonSchema, pointer: str) -> str:
        properties = schema.get("properties", {})
        names = sorted(properties, key=str.lower) if self._is_call else list(properties)
        first, more = "", ""  # what may follow when no property, or some property, stands before
        for name in reversed(names):
            member = f"{self._key(name)} {self.value(properties[name], f'{pointer}/properties/{name}')}"
            is_required = name in schema.get("required", ())
            tail = self._rule(more)
            more, first = (
                self._rule(f'"," {member} {tail}' + ("" if is_required else f" | {tail or _EMPTY}")),
                self._rule(f"{member} {tail}" + ("" if is_required else f" | {first or _EMPTY}")),
            )
        return f'"{{" {first} "}}"'

    def _array(self, schema: JsonSchema, pointer: str) -> str:
        item = self._rule(self.value(schema.get("items", True), f"{pointer}/items"))
        low, high = schema.get("minItems", 0), schema.get("maxItems")
        if high == 0:
            return '"[" "]"'
        repeat = f"{{{max(low - 1, 0)},{'' if high is None else high - 1}}}"
        body = f'{item} ("," {item}){repeat}'
        return f'"[" {body} "]"' if low else f'"[" ({body})? "]"'

    def _string(self, schema: JsonSchema) -> str:
        in_format = format_pattern(schema.get("format", ""))
        if "pattern" in schema:
            body = _regex(_anchor(schema["pattern"]))
        elif in_format is not None:
            body = _regex(in_format)
        elif "minLength" in schema or "maxLength" in schema:
            counts = f"{{{schema.get('minLength', 0)},{schema.get('maxLength', '')}}}"
            body = rf"/(.|\n){counts}/" if self._is_call else rf'/[^"\\\x00-\x1f\x7f]{counts}/'
        elif self._texts and schema.get("x-grounded", True):
            body = self._named("CALL_SPAN" if self._is_call else "JSON_SPAN", self._spans())
        else:
            body = self._named("CALL_TEXT", _CALL_TEXT) if self._is_call else self._named("JSON_TEXT", _JSON_TEXT)
        return self._quoted(body)

    def _number(self, kind: str, schema: JsonSchema) -> str:
        bounds = {keyword: schema[keyword] for keyword in _BOUNDS if keyword in schema}
        numbers = self._numbers_in_texts(kind, bounds) if schema.get("x-grounded", True) else []
        if numbers:
            return _either([_literal(number) for number in numbers])
        if bounds:  # a number is the same in both syntaxes
            return self._rule(f"%json {json.dumps({'type': kind, **bounds})}")
        return self._named(kind.upper(), _INTEGER if kind == "integer" else _NUMBER)

    def _numbers_in_texts(self, kind: str, bounds: Mapping[str, float]) -> list[str]:
        found = [number for text in self._texts or () for number in _NUMBER_IN_TEXT.findall(text)]
        return [
            number
            for number in dict.fromkeys(found)
            if (kind == "number" or "." not in number)
            and all(_BOUNDS[keyword](float(number), bound) for keyword, bound in bounds.items())
        ]

    def _spans(self) -> str:
        texts = self._texts or ()
        if not self._is_call:
            texts = [json.dumps(text, ensure_ascii=False)[1:-1] for text in texts]
        return " | ".join(f"%regex {json.dumps({'substring_words': text})}" for text in texts)

    def _key(self, name: str) -> str:
        return _literal(f"{name}:" if self._is_call else f"{json.dumps(name, ensure_ascii=False)}:")

    def _constant(self, value: Any) -> str:
        if isinstance(value, str):
            return self._quoted(_literal(value if self._is_call else json.dumps(value, ensure_ascii=False)[1:-1]))
        return _literal(json.dumps(value, separators=(",", ":"), ensure_ascii=False))

    def _quoted(self, body: str) -> str:
        quote = self.control('<|"|>') if self._is_call else r'"\""'
        return f"{quote} {body if body != _literal('') else ''} {quote}"

    def _named(self, name: str, body: str) -> str:
        self.rules[name] = body
        return name

    def _rule(self, body: str) -> str:
        """Give a long expression a name; the empty one stays empty."""
        if not body:
            return ""
        name = f"r{len(self.rules)}"
        self.rules[name] = body
        return name


_EMPTY = '""'


def _regex(pattern: str) -> str:
    return "/" + re.sub(r"(?<!\\)/", r"\/", pattern) + "/"


def _literal(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _either(options: Sequence[str]) -> str:
    return options[0] if len(options) == 1 else f"({' | '.join(options)})"


def _anchor(pattern: str) -> str:
    """The pattern of a whole string for a pattern that JSON Schema looks for anywhere in it."""
    start = "" if pattern.startswith("^") else r"(.|\n)*"
    end = "" if pattern.endswith("$") else r"(.|\n)*"
    return f"{start}({pattern.removeprefix('^').removesuffix('$')}){end}"
