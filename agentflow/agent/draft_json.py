"""What a draft already says of a JSON answer.

    {"city":"Oslo","sky":"ra▒▒▒▒▒▒▒,"celsius":4,▒▒▒        ▒ is still open

    settled beginning          {"city": "Oslo", "sky": "ra"}
    members behind a gap       {"celsius": 4}

A canvas settles in any order. The settled beginning can be read as it stands. Behind a gap a member is read only if its
name occurs once in the schema and in no array, so that there is no doubt where it belongs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic_core import from_json

from agentflow.types import Draft, JsonSchema

_OPEN: Final = "\uffff"
"""Stands for an open position; no text holds it, because Unicode gives it to nobody."""

_THOUGHT: Final = re.compile(r"\s*<\|channel>.*?<channel\|>", re.DOTALL)
_ESCAPE: Final = re.compile(r"\\.", re.DOTALL)
_UNENDED_NUMBER: Final = re.compile(r"[-+.0-9eE]+$")
_DECODER: Final = json.JSONDecoder()

Path = tuple[str, ...]
"""Names of members, from the outermost to the innermost."""


@dataclass
class DraftReader:
    """Reads the drafts of one turn.

    Attributes:
        places: Where the members belong whose names leave no doubt; see `find_places`.
    """

    places: Mapping[str, Path]
    _committed: dict[int, str] = field(default_factory=dict)

    def read(self, draft: Draft) -> Any:
        """Get what is settled; `None` while there is nothing."""
        shown = "".join(
            piece if state != "open" else _OPEN for piece, state in zip(draft.pieces, draft.states, strict=True)
        )
        if draft.is_committed:
            shown = self._committed[draft.canvas_index] = draft.text
        earlier = "".join(self._committed.get(i, "") for i in range(draft.canvas_index))
        return read_settled(earlier + shown, self.places)


def read_settled(shown: str, places: Mapping[str, Path]) -> Any:
    """Read JSON in which open positions are written as U+FFFF."""
    shown = shown[thought.end() :] if (thought := _THOUGHT.match(shown)) else shown
    beginning, _, rest = shown.partition(_OPEN)
    value = _read_beginning(beginning, is_whole=_OPEN not in shown)
    if isinstance(value, dict) and rest:
        for name, path in places.items():
            _put(value, (*path, name), _read_member(rest, name))
    return value


def _read_beginning(text: str, *, is_whole: bool) -> Any:
    """Read a value that may not be finished; a string may be unfinished, a number may not."""
    if not is_whole and _ESCAPE.sub("", text).count('"') % 2 == 0:
        text = _UNENDED_NUMBER.sub("", text)
    try:
        return _DECODER.raw_decode(text.lstrip())[0] if is_whole else from_json(text, allow_partial="trailing-strings")
    except (ValueError, RecursionError):
        return _read_beginning(text, is_whole=False) if is_whole else None


def _read_member(text: str, name: str) -> Any:
    """Find ``"name":`` and read the value behind it, if it is finished; `_OPEN` if it is not."""
    key = f"{json.dumps(name, ensure_ascii=False)}:"
    start = text.find(key)
    if start < 0 or text[start - 1 : start] == "\\":
        return _OPEN
    settled, gap, _ = text[start + len(key) :].lstrip().partition(_OPEN)
    try:
        value, end = _DECODER.raw_decode(settled)
    except (ValueError, RecursionError):
        return _OPEN
    is_ended = end < len(settled) or isinstance(value, (str, dict, list)) or not gap
    return value if is_ended else _OPEN


def _put(value: dict[str, Any], path: Path, member: Any) -> None:
    """Put a member where it belongs, unless something is there already."""
    if member == _OPEN:
        return
    for name in path[:-1]:
        inner = value.setdefault(name, {})
        if not isinstance(inner, dict):
            return
        value = inner
    value.setdefault(path[-1], member)


def find_places(schema: JsonSchema) -> dict[str, Path]:
    """Find the members whose names occur once in a schema, and in no array or choice: name -> path of their object."""
    found: dict[str, list[Path | None]] = {}
    for name, path in _members(schema, schema, ()):
        found.setdefault(name, []).append(path)
    return {name: paths[0] for name, paths in found.items() if len(paths) == 1 and paths[0] is not None}


_MAX_DEPTH: Final = 8


def _members(schema: Any, root: JsonSchema, path: Path | None, depth: int = 0) -> Iterator[tuple[str, Path | None]]:
    """Give the members of all objects in `schema`; the path is `None` where it is not certain."""
    if not isinstance(schema, Mapping) or depth > _MAX_DEPTH:
        return
    if isinstance(reference := schema.get("$ref"), str) and reference.startswith("#/$defs/"):
        target = root.get("$defs", {}).get(reference.removeprefix("#/$defs/"))
        yield from _members(target, root, path, depth + 1)
    for name, member in schema.get("properties", {}).items():
        yield name, path
        yield from _members(member, root, None if path is None else (*path, name), depth + 1)
    for keyword, member in schema.items():
        if keyword not in ("properties", "$defs", "$ref"):
            for item in member if isinstance(member, list) else [member]:
                yield from _members(item, root, None, depth + 1)
