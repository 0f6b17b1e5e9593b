"""Long conversations, shortened for the model; the transcript itself keeps everything.

From the least to the most that is lost, until the conversation fits:

1. old results that no later call refers to are replaced by a note of their length,
2. old results that later calls do refer to are replaced too,
3. the oldest exchanges are left out whole, so that every call keeps its result.

System message, the latest request of the user and the newest exchanges always stay as they are.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from agentflow.errors import ConfigurationError
from agentflow.executor.results import show
from agentflow.types import (
    AssistantMessage,
    JsonValue,
    Message,
    SystemMessage,
    ToolMessage,
    ToolResult,
    UserMessage,
)

_MIN_CHARS = 200
"""Results up to this length stay: a note would save little."""

_MIN_WORD = 3
"""Shortest text in an argument that counts as a reference to a result."""


@dataclass(frozen=True, kw_only=True)
class Compaction:
    """When and how far conversations are shortened.

    Attributes:
        max_chars: Longest conversation that the model is shown, in characters of text and JSON.
        target: Part of `max_chars` to which it is shortened; the more room, the seldomer the model's
            prefix changes.
        num_recent: Exchanges at the end that stay as they are.
    """

    max_chars: int
    target: float = 0.6
    num_recent: int = 2

    def __post_init__(self) -> None:
        """Check the bounds.

        Raises:
            ConfigurationError: A number is out of its range.
        """
        if self.max_chars < 1 or not 0 < self.target <= 1 or self.num_recent < 0:
            raise ConfigurationError(
                f"max_chars={self.max_chars!r} must be at least 1, target={self.target!r} in (0, 1], "
                f"num_recent={self.num_recent!r} at least 0"
            )

    def compact(self, messages: Sequence[Message]) -> tuple[Message, ...]:
        """Shorten a conversation to the target, or as far as its fixed parts allow."""
        old, recent = _split(messages, self.num_recent)
        max_chars = int(self.max_chars * self.target) - sum(map(num_chars, recent))
        later = _words_of_calls(messages)
        for is_spared in (lambda text: any(word in text for word in later), lambda _: False):
            old = _shorten_results(old, max_chars, is_spared)
        return (*_leave_out(old, max_chars), *recent)


@dataclass
class Window:
    """What the model sees of one growing conversation: the same beginning until it must be shortened again.

    Attributes:
        compaction: When and how far.
    """

    compaction: Compaction
    _shown: tuple[Message, ...] = ()
    _num_seen: int = field(default=0)

    def show(self, messages: tuple[Message, ...]) -> tuple[Message, ...]:
        """Get the conversation as the model shall see it."""
        shown = (*self._shown, *messages[self._num_seen :])
        if sum(map(num_chars, shown)) > self.compaction.max_chars:
            shown = self.compaction.compact(shown)
        self._shown, self._num_seen = shown, len(messages)
        return shown


def num_chars(message: Message) -> int:
    """Count the characters that a message takes, control tokens aside."""
    if isinstance(message, ToolMessage):
        return sum(len(show(result.content)) for result in message.results)
    if isinstance(message, AssistantMessage):
        return len(message.text) + sum(len(call.name) + len(json.dumps(call.arguments)) for call in message.tool_calls)
    return len(message.text)


def _split(messages: Sequence[Message], num_recent: int) -> tuple[list[Message], list[Message]]:
    """Cut before the last `num_recent` turns of the model; calls and their results stay on one side."""
    turns = [i for i, message in enumerate(messages) if isinstance(message, AssistantMessage)]
    cut = turns[-num_recent] if 0 < num_recent <= len(turns) else 0 if num_recent else len(messages)
    return list(messages[:cut]), list(messages[cut:])


def _words_of_calls(messages: Sequence[Message]) -> set[str]:
    """Collect the strings that calls were given: what a result shares with a later call mattered."""
    calls = (call for message in messages if isinstance(message, AssistantMessage) for call in message.tool_calls)
    return {word for call in calls for word in _strings(call.arguments) if len(word) >= _MIN_WORD}


def _strings(value: JsonValue) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _strings(item)
    elif isinstance(value, Sequence):
        for item in value:
            yield from _strings(item)


def _shorten_results(messages: list[Message], max_chars: int, is_spared: Callable[[str], bool]) -> list[Message]:
    """Replace long results, the oldest first, until the rest fits."""
    excess = sum(map(num_chars, messages)) - max_chars
    shortened: list[Message] = []
    for message in messages:
        if excess > 0 and isinstance(message, ToolMessage):
            before = num_chars(message)
            message = ToolMessage(tuple(_shorten(result, is_spared) for result in message.results))  # noqa: PLW2901 # the new one
            excess -= before - num_chars(message)
        shortened.append(message)
    return shortened


def _shorten(result: ToolResult, is_spared: Callable[[str], bool]) -> ToolResult:
    text = show(result.content)
    if len(text) <= _MIN_CHARS or is_spared(text):
        return result
    return replace(result, content=f"[{len(text)} characters, left out to save room]")


def _leave_out(messages: list[Message], max_chars: int) -> list[Message]:
    """Leave out the oldest exchanges, up to the latest request of the user, until the rest fits."""
    system = [message for message in messages[:1] if isinstance(message, SystemMessage)]
    groups = list(_group(messages[len(system) :]))
    requests = [i for i, group in enumerate(groups) if isinstance(group[0], UserMessage)]
    keep = requests[-1] if requests else -1
    num_chars_left = sum(map(num_chars, messages))
    kept: list[list[Message]] = []
    for i, group in enumerate(groups):
        if i == keep or num_chars_left <= max_chars:
            kept.append(group)
        else:
            num_chars_left -= sum(map(num_chars, group))
    return [*system, *(message for group in kept for message in group)]


def _group(messages: Sequence[Message]) -> Iterator[list[Message]]:
    """Put calls and their results together."""
    group: list[Message] = []
    for message in messages:
        if group and not isinstance(message, ToolMessage):
            yield group
            group = []
        group.append(message)
    if group:
        yield group
