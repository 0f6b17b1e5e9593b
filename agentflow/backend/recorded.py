"""A backend that keeps what a model wrote, and says it again: tests that need a real model once and never again.

    RecordedBackend("weather.jsonl", model.backend)     asks the model what is not recorded, and records it
    RecordedBackend("weather.jsonl")                    says only what is recorded

The file holds one turn a line, found again by everything that the model was shown. A request that was changed since is
an error that says where, so that a recording cannot go stale unnoticed.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict, deque
from pathlib import Path
from typing import Any

from pydantic_core import to_json

from agentflow.backend.base import Backend, DraftObserver
from agentflow.errors import BackendError, ConfigurationError
from agentflow.journal.codec import decode_messages, encode_messages
from agentflow.types import AssistantMessage, Generation, GenerationRequest, Usage

_PARTS = ("messages", "tools", "tool_choice", "output_schema", "settings")


class RecordedBackend:
    """Says what is recorded; with a backend behind it, asks it for the rest and records that.

    Equal requests get the recorded turns in the order in which they were recorded.
    """

    def __init__(self, path: str | Path, backend: Backend | None = None) -> None:
        """Open a recording, or begin one.

        Args:
            path: The file.
            backend: Who is asked what is not recorded.

        Raises:
            ConfigurationError: There is no such file and no backend, or it holds something else.
        """
        self._path, self._backend = Path(path), backend
        self._turns: defaultdict[str, deque[Generation]] = defaultdict(deque)
        self._recorded: list[dict[str, str]] = []
        if self._path.exists():
            self._read()
        elif backend is None:
            raise ConfigurationError(f"there is no recording {path}", hint="record it once with a backend")

    @property
    def name(self) -> str:
        """Name of the model behind it, or of the file."""
        return self._path.stem if self._backend is None else self._backend.name

    async def generate(self, request: GenerationRequest, *, on_draft: DraftObserver | None = None) -> Generation:
        """Say the turn that is recorded for this request.

        Raises:
            BackendError: None is, and there is no backend to ask.
        """
        parts = {part: _digest(getattr(request, part)) for part in _PARTS}
        if turns := self._turns.get(_key(parts)):
            return turns.popleft()
        if self._backend is None:
            raise BackendError(f"{self._path} holds no turn for this request: {self._explain(parts)}")
        generation = await self._backend.generate(request, on_draft=on_draft)
        self._write(parts, generation)
        return generation

    async def aclose(self) -> None:
        """Close the backend behind it."""
        if self._backend is not None:
            await self._backend.aclose()

    def _write(self, parts: dict[str, str], generation: Generation) -> None:
        line = {
            "request": parts,
            "message": json.loads(encode_messages((generation.message,))),
            "finish_reason": generation.finish_reason,
            "usage": json.loads(to_json(generation.usage)),
        }
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        self._recorded.append(parts)

    def _read(self) -> None:
        try:
            for text in self._path.read_text(encoding="utf-8").splitlines():
                line = json.loads(text)
                (message,) = decode_messages(json.dumps(line["message"]))
                generation = Generation(_as_turn(message), line["finish_reason"], Usage(**line["usage"]))
                self._turns[_key(line["request"])].append(generation)
                self._recorded.append(line["request"])
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigurationError(f"{self._path} is no recording: {error!r}") from error

    def _explain(self, parts: dict[str, str]) -> str:
        """Say which part of the request differs from the recorded request that is most like it."""
        if _key(parts) in self._turns:
            return "it was asked more often than it was recorded"
        differences = [[part for part in _PARTS if parts[part] != known.get(part)] for known in self._recorded]
        if not differences:
            return "the file is empty"
        fewest: list[str] = min(differences, key=len)
        return f"its {' and '.join(fewest)} changed since the recording; delete the file and record again"


def _as_turn(message: Any) -> AssistantMessage:
    if not isinstance(message, AssistantMessage):
        raise TypeError(f"{type(message).__name__} is no turn of a model")
    return message


def _digest(part: Any) -> str:
    return hashlib.blake2b(to_json(part, fallback=repr), digest_size=8).hexdigest()


def _key(parts: dict[str, str]) -> str:
    return " ".join(parts[part] for part in _PARTS)
