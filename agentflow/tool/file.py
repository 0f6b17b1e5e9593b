"""`File`: a file that a tool made and gives as its result."""

from __future__ import annotations

import mimetypes
from dataclasses import dataclass
from pathlib import Path

from agentflow.types import JsonValue

_TEXT_TYPES = ("application/json", "application/xml", "application/javascript", "application/sql", "application/toml")
_OTHER = "application/octet-stream"


@dataclass(frozen=True)
class File:
    """A result that is a file. The model is told its name, type and size, and its text if it is one.

    The caller of the run finds it in `ToolResult.file` and `RunResult.files`.

    Attributes:
        path: Where it is.
        media_type: What it is; guessed from the name if not given.
    """

    path: str | Path
    media_type: str | None = None

    def describe(self) -> dict[str, JsonValue]:
        """Read the file and say what a model should know of it. Waits for the disk.

        Raises:
            OSError: There is no such file, or it cannot be read.
        """
        path = Path(self.path)
        media_type = self.media_type or mimetypes.guess_type(path.name)[0] or _OTHER
        told: dict[str, JsonValue] = {
            "file": path.name,
            "media_type": media_type,
            "size_bytes": path.stat().st_size,
        }
        if media_type.startswith("text/") or media_type in _TEXT_TYPES:
            told["text"] = path.read_text(encoding="utf-8", errors="replace")
        return told
