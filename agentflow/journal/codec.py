"""Events and messages as JSON and back, without pickle.

Every value is written with the name of its class where more than one class can stand. Outputs of runs may be of
any type: they are written as the JSON that they make, and read back as that.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Final

from pydantic_core import PydanticSerializationError, to_json, to_jsonable_python

from agentflow import events as words
from agentflow.errors import JournalError
from agentflow.events import Event
from agentflow.types import (
    AssistantMessage,
    GenerationSettings,
    Message,
    Plan,
    PlanStep,
    SystemMessage,
    ToolCall,
    ToolMessage,
    ToolResult,
    Usage,
    UserMessage,
)

_EVENTS: Final[dict[str, type[Any]]] = {
    kind.__name__: kind
    for kind in (
        words.RunStarted,
        words.TurnStarted,
        words.TurnWritten,
        words.UsageUpdated,
        words.CallReady,
        words.CallRunning,
        words.CallProgressed,
        words.CallFinished,
        words.OutputRejected,
        words.OutputReady,
        words.PlanUpdated,
        words.RunFinished,
    )
}
_MESSAGES: Final[dict[str, type[Any]]] = {
    kind.__name__: kind for kind in (SystemMessage, UserMessage, AssistantMessage, ToolMessage)
}


def encode_event(event: Event) -> tuple[str, str]:
    """Write an event as the name of its class and a JSON object.

    Raises:
        JournalError: It is a draft, which no journal keeps.
    """
    kind = type(event).__name__
    if kind not in _EVENTS:
        raise JournalError(f"a journal keeps no {kind}", hint="pass only what tells the course of a run")
    members = {field.name: getattr(event, field.name) for field in fields(event)}
    return kind, _encode(members)


def decode_event(kind: str, body: str) -> Event:
    """Read an event that `encode_event` wrote.

    Raises:
        JournalError: It is none.
    """
    try:
        members = json.loads(body)
        for name, read in _MEMBERS.items():
            if name in members:
                members[name] = read(members[name])
        event: Event = _EVENTS[kind](**members)
    except (KeyError, TypeError, ValueError) as error:
        raise JournalError(f"the journal holds a {kind!r} that cannot be read: {error!r}") from error
    return event


def encode_messages(messages: tuple[Message, ...]) -> str:
    """Write a conversation as a JSON array."""
    return _encode([{"kind": type(message).__name__, "body": message} for message in messages])


def decode_messages(text: str) -> tuple[Message, ...]:
    """Read a conversation that `encode_messages` wrote."""
    return tuple(_read_message(entry["kind"], entry["body"]) for entry in json.loads(text))


def encode_settings(settings: GenerationSettings) -> str:
    """Write settings as a JSON object."""
    return _encode(settings)


def decode_settings(text: str) -> GenerationSettings:
    """Read settings that `encode_settings` wrote."""
    return GenerationSettings(**json.loads(text))


def _encode(value: Any) -> str:
    try:
        return to_json(value, fallback=repr, inf_nan_mode="constants").decode()
    except (PydanticSerializationError, UnicodeError):  # lone surrogates, which only ASCII escapes can carry
        return json.dumps(to_jsonable_python(value, fallback=repr))


def _read_message(kind: str, body: Mapping[str, Any]) -> Message:
    members = dict(body)
    if kind == "AssistantMessage":
        members["tool_calls"] = tuple(_read_call(call) for call in body["tool_calls"])
    if kind == "ToolMessage":
        members["results"] = tuple(_read_result(result) for result in body["results"])
    message: Message = _MESSAGES[kind](**members)
    return message


def _read_call(body: Mapping[str, Any]) -> ToolCall:
    return ToolCall(**body)


def _read_result(body: Mapping[str, Any]) -> ToolResult:
    return ToolResult(**body)


def _read_usage(body: Mapping[str, Any]) -> Usage:
    return Usage(**body)


def _read_plan(body: Mapping[str, Any]) -> Plan:
    steps = (PlanStep(**{**step, "needs": tuple(step["needs"])}) for step in body["steps"])
    return Plan(task=body["task"], steps=tuple(steps))


def _read_turn(body: Mapping[str, Any] | str) -> Any:
    """Read the member `message`: a turn of the model, or, in a progress report, what the tool says."""
    return body if isinstance(body, str) else _read_message("AssistantMessage", body)


_MEMBERS: Final[dict[str, Any]] = {
    "call": _read_call,
    "message": _read_turn,
    "plan": _read_plan,
    "result": _read_result,
    "turn_usage": _read_usage,
    "unsettled": tuple,
    "usage": _read_usage,
}
