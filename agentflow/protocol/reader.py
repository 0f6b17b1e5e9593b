"""Reading a turn that a model wrote.

The reader takes what the constraint makes certain, and also the slips that unconstrained models were seen
to make: ``call:f(...)``, a missing ``call:``, plain quotes, bare words as strings, a call that
is closed by the end of the turn. Anything else is a `MalformedOutputError` that carries the text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import NoReturn

from agentflow.errors import MalformedOutputError
from agentflow.protocol.control import Control, Segment, join_text
from agentflow.types import AssistantMessage, JsonValue, ToolCall

_NAME = re.compile(r"\s*(?:call:)?\s*([A-Za-z_][\w.\-]*)\s*")
_KEY = re.compile(r"\s*([^\s:{}\[\],\"']+)\s*[:=]")
_BARE = re.compile(r"\s*([^,{}\[\]()]*)")
_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?")
_WORDS: dict[str, JsonValue] = {"true": True, "false": False, "null": None, "True": True, "False": False, "None": None}
_ENDS = frozenset({"<turn|>", "<|tool_response>", "<eos>"})
_PAIRS = {"{": "}", "(": ")", "[": "]"}
_MAX_DEPTH = 64
_MAX_DIGITS = 400


def parse_turn(segments: Sequence[Segment], *, num_earlier_calls: int = 0) -> AssistantMessage:
    """Read one turn: an optional thought, then text or tool calls, up to the first end token.

    Args:
        segments: What the model wrote.
        num_earlier_calls: Calls in the conversation before; the ids of new calls count on from it.

    Raises:
        MalformedOutputError: A call cannot be read; the error carries the turn as text.
    """
    text, thought = "", ""
    calls: list[ToolCall] = []
    rest = list(join_text(segments))
    while rest:
        segment = rest.pop(0)
        if isinstance(segment, str):
            text += segment
        elif segment.text in _ENDS:
            break
        elif segment.text == "<|channel>":
            thought += _take_text(rest, "<channel|>").removeprefix("thought").strip()
        elif segment.text == "<|tool_call>":
            reader = _CallReader(_take_call(rest), whole=segments)
            calls.append(ToolCall(f"call_{num_earlier_calls + len(calls)}", *reader.read_call()))
    return AssistantMessage(text=text.strip(), tool_calls=tuple(calls), thought=thought)


def show(segments: Sequence[Segment]) -> str:
    """Write segments as one string, for people."""
    return "".join(s.text if isinstance(s, Control) else s for s in segments)


def _take_text(rest: list[Segment], end: str) -> str:
    """Take the text up to the control token `end`, which is dropped."""
    taken = ""
    while rest:
        segment = rest.pop(0)
        if isinstance(segment, str):
            taken += segment
        elif segment.text == end:
            break
    return taken


def _take_call(rest: list[Segment]) -> list[Segment]:
    """Take the segments of a call; the end of the turn also ends it, and stays."""
    taken: list[Segment] = []
    while rest:
        if isinstance(rest[0], Control) and rest[0].text in _ENDS:
            break
        segment = rest.pop(0)
        if isinstance(segment, Control) and segment.text == "<tool_call|>":
            break
        taken.append(segment)
    return taken


class _CallReader:
    r"""Recursive descent over the text of a call, in which each quoted string is one placeholder.

    The placeholder is ``\x00`` and stands for the next string of `_strings`; so no brace or comma
    inside a string is ever taken for structure.
    """

    def __init__(self, segments: Sequence[Segment], *, whole: Sequence[Segment]) -> None:
        self._whole = whole
        self._strings: list[str] = []
        self._text = self._lift_strings(segments)
        self._at = 0

    def read_call(self) -> tuple[str, dict[str, JsonValue]]:
        """Read ``call:name{...}``."""
        name = _NAME.match(self._text)
        if not name:
            self._fail("a call begins with 'call:' and a tool's name")
        self._at = name.end()
        if self._peek() not in ("{", "("):
            self._fail(f"the call of {name[1]!r} has no arguments in braces")
        arguments = self._read_mapping(depth=0)
        if self._text[self._at :].strip(" \n})"):
            self._fail(f"something follows the arguments of {name[1]!r}")
        return name[1], arguments

    def _lift_strings(self, segments: Sequence[Segment]) -> str:
        text, rest = "", list(segments)
        while rest:
            segment = rest.pop(0)
            if isinstance(segment, str):
                text += segment.replace("\x00", "")
            elif segment.text == '<|"|>':
                text += "\x00"
                self._strings.append(_take_text(rest, '<|"|>'))
        return text

    def _read_value(self, depth: int) -> JsonValue:
        if depth > _MAX_DEPTH:
            self._fail(f"the arguments nest deeper than {_MAX_DEPTH}")
        head = self._peek()
        if head == "\x00":
            self._at += 1
            return self._strings.pop(0)
        if head == "{":
            return self._read_mapping(depth)
        if head == "[":
            return self._read_sequence(depth)
        if head and head in "\"'":
            return self._read_plain_string(head)
        return self._read_bare()

    def _read_mapping(self, depth: int) -> dict[str, JsonValue]:
        close = self._open()
        values: dict[str, JsonValue] = {}
        while not self._closes(close):
            key = self._read_key()
            values[key] = self._read_value(depth + 1)
        return values

    def _read_sequence(self, depth: int) -> list[JsonValue]:
        close = self._open()
        values: list[JsonValue] = []
        while not self._closes(close):
            values.append(self._read_value(depth + 1))
        return values

    def _read_key(self) -> str:
        head = self._peek()
        if head == "\x00" or (head and head in "\"'"):
            key = str(self._read_value(0))
            if self._peek() not in (":", "="):
                self._fail(f"no ':' after the key {key!r}")
            self._at += 1
            return key
        match = _KEY.match(self._text, self._at)
        if not match:
            self._fail("a key and ':' were expected")
        self._at = match.end()
        return match[1]

    def _read_plain_string(self, mark: str) -> str:
        end = self._at + 1
        while end < len(self._text) and self._text[end] != mark:
            end += 2 if self._text[end] == "\\" else 1
        if end >= len(self._text):
            self._fail("a quoted string has no end")
        raw, self._at = self._text[self._at + 1 : end], end + 1
        try:
            return str(json.loads(f'"{raw}"')) if mark == '"' else raw.replace("\\'", "'")
        except ValueError:
            return raw

    def _read_bare(self) -> JsonValue:
        match = _BARE.match(self._text, self._at)
        word = match[1].strip() if match else ""
        if not match or not word:
            self._fail("a value was expected")
        self._at = match.end()
        if word in _WORDS:
            return _WORDS[word]
        if _NUMBER.fullmatch(word):
            if len(word) > _MAX_DIGITS:
                self._fail(f"a number has more than {_MAX_DIGITS} characters")
            number: JsonValue = json.loads(word)
            return number
        return word

    def _peek(self) -> str:
        while self._at < len(self._text) and self._text[self._at] in " \n\t":
            self._at += 1
        return self._text[self._at : self._at + 1]

    def _open(self) -> str:
        close = _PAIRS[self._peek()]
        self._at += 1
        return close

    def _closes(self, close: str) -> bool:
        """Step over a comma or the closing mark; say whether it was the closing mark."""
        head = self._peek()
        if not head:
            self._fail(f"{close!r} is missing")
        if head == ",":
            self._at += 1
            head = self._peek()
        if head != close:
            return False
        self._at += 1
        return True

    def _fail(self, reason: str) -> NoReturn:
        raise MalformedOutputError(
            f"the call cannot be read: {reason}, at character {self._at} of {self._text!r}", text=show(self._whole)
        )
