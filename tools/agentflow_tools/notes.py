"""Notes and a to-do list, in memory or in one JSON file.

    {"notes": {"Title": "text", …}, "todos": ["open item", …]}

Titles and items are found with no regard to case and surrounding space. The file is read before every call and
replaced as a whole after every change, so a crash leaves the old or the new state. Calls within one process take
turns; two processes must not share a file.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Self

from agentflow import Tool, tool
from agentflow.errors import ConfigurationError

_MAX_TITLE_LENGTH: Final = 200
"""Characters of a title or to-do item."""
_MAX_TEXT_LENGTH: Final = 100_000
"""Characters of a note."""
_MAX_SHOWN: Final = 20
"""Titles listed in a message."""

_TURN = threading.RLock()  # one for all notebooks: two of them may stand on the same file


def notes(path: str | os.PathLike[str] | None = None, *, max_entries: int = 1_000) -> list[Tool[..., Any]]:
    """Make the tools ``add_note``, ``read_note``, ``list_notes``, ``add_todo``, ``list_todos`` and ``complete_todo``.

    Args:
        path: JSON file that keeps them, made when first written; ``None`` keeps them in memory.
        max_entries: Most notes, and most to-do items.

    Raises:
        ConfigurationError: The file is there and holds something else, or its folder is missing.
    """
    if max_entries < 1:
        raise ConfigurationError(f"max_entries must be at least 1, got {max_entries}")
    book = _Notebook(None if path is None else Path(path).absolute(), max_entries)
    methods = (book.add_note, book.read_note, book.list_notes, book.add_todo, book.list_todos, book.complete_todo)
    return [tool(is_idempotent=True)(method) for method in methods]


class _State:
    """What is kept: texts by title, and the open to-do items, oldest first."""

    def __init__(self, notes: dict[str, str], todos: list[str]) -> None:
        self.notes = notes
        self.todos = todos

    @classmethod
    def from_file(cls, path: Path) -> Self:
        """Read a state; a missing file is an empty one.

        Raises:
            ConfigurationError: The file holds something else.
        """
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return cls({}, [])
        except (OSError, ValueError, RecursionError) as error:
            raise ConfigurationError(f"{str(path)!r} cannot be read as notes: {error}") from error
        is_ours = isinstance(value, dict) and value.keys() == {"notes", "todos"}
        if not is_ours or not _are_strings(value["todos"], list) or not _are_strings(value["notes"], dict):
            raise ConfigurationError(f"{str(path)!r} does not hold notes; give another path")
        return cls(value["notes"], value["todos"])

    def write(self, path: Path) -> None:
        """Replace the file by this state, all or nothing."""
        text = json.dumps({"notes": self.notes, "todos": self.todos}, ensure_ascii=False, indent=1)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            if path.exists():
                shutil.copymode(path, temporary)
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise


class _Notebook:
    """The tools over one state."""

    def __init__(self, path: Path | None, max_entries: int) -> None:
        if path is not None and not path.parent.is_dir():
            raise ConfigurationError(f"the folder of {str(path)!r} does not exist; make it first")
        self._path = path
        self._max_entries = max_entries
        self._memory = _State({}, [])
        self._read()

    def add_note(self, title: str, text: str) -> dict[str, str]:
        """Save a note; an old one of that title is replaced.

        Args:
            title: Title of the note.
            text: Text of the note.
        """
        title = _line("title", title)
        text = _checked("text", text, _MAX_TEXT_LENGTH)

        def save(state: _State) -> dict[str, str]:
            old = _find(title, state.notes)
            if old is None:
                self._require_room("notes", len(state.notes))
            else:
                del state.notes[old]
            state.notes[title] = text
            return {"saved": title}

        return self._change(save)

    def read_note(self, title: str) -> dict[str, str]:
        """Read a note.

        Args:
            title: Title of the note.
        """
        state = self._read()
        return {"text": state.notes[_find_or_raise("note", title, list(state.notes))]}

    def list_notes(self) -> dict[str, list[str]]:
        """List the titles of all notes."""
        return {"notes": list(self._read().notes)}

    def add_todo(self, item: str) -> dict[str, str]:
        """Add an item to the to-do list.

        Args:
            item: What is to be done.
        """
        item = _line("item", item)

        def add(state: _State) -> dict[str, str]:
            if _find(item, state.todos) is None:  # adding twice is harmless, so that a call can be made again
                self._require_room("to-do items", len(state.todos))
                state.todos.append(item)
            return {"added": item}

        return self._change(add)

    def list_todos(self) -> dict[str, list[str]]:
        """List the open to-do items."""
        return {"todos": list(self._read().todos)}

    def complete_todo(self, item: str) -> dict[str, str]:
        """Mark a to-do item as done.

        Args:
            item: The item as it stands on the list.
        """

        def complete(state: _State) -> dict[str, str]:
            found = _find_or_raise("to-do item", item, state.todos)
            state.todos.remove(found)
            return {"done": found}

        return self._change(complete)

    def _require_room(self, name: str, num_entries: int) -> None:
        if num_entries >= self._max_entries:
            raise ValueError(f"there are {num_entries} {name}, which is the limit; complete or replace some")

    def _read(self) -> _State:
        with _TURN:
            return self._memory if self._path is None else _State.from_file(self._path)

    def _change(self, change: Callable[[_State], dict[str, str]]) -> dict[str, str]:
        """Change the state and keep it; an error inside `change` keeps the old one."""
        with _TURN:
            state = self._read()
            result = change(state)
            if self._path is not None:
                state.write(self._path)
            return result


def _are_strings(value: object, kind: type[list[object] | dict[object, object]]) -> bool:
    if not isinstance(value, kind):
        return False
    return all(isinstance(entry, str) for entry in (value.values() if isinstance(value, dict) else value))


def _line(name: str, value: str) -> str:
    """Check a title or an item: one line that is not empty."""
    line = " ".join(_checked(name, value, _MAX_TITLE_LENGTH).split())
    if not line:
        raise ValueError(f"the {name} is empty; give it some words")
    return line


def _checked(name: str, value: str, max_length: int) -> str:
    if len(value) > max_length:
        raise ValueError(f"the {name} has {len(value)} characters; write at most {max_length}")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"the {name} holds half of a character pair at {error.start}; write valid Unicode") from error
    return value


def _key(name: str) -> str:
    return " ".join(name.split()).casefold()


def _find(name: str, entries: list[str] | dict[str, str]) -> str | None:
    """Find an entry as written, or else with no regard to case and space."""
    if name in entries:
        return name
    key = _key(name)
    return next((entry for entry in entries if _key(entry) == key), None)


def _find_or_raise(kind: str, name: str, entries: list[str]) -> str:
    found = _find(name, entries)
    if found is None:
        shown = ", ".join(repr(entry) for entry in entries[:_MAX_SHOWN]) or "none"
        raise ValueError(f"there is no {kind} {name[:_MAX_TITLE_LENGTH]!r}; there are: {shown}")
    return found
