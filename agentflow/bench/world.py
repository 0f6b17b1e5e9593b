"""A fresh world for one task: a folder with files, notes and a database, and the ready-made tools that act on it.

The tools are found through the entry-point group ``agentflow.tools``, as any user's tools would be; this package
never imports them.
"""

from __future__ import annotations

import json
import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Final

from agentflow.bench.task import Table, WorldState
from agentflow.errors import ConfigurationError, MissingDependencyError
from agentflow.tool import Tool

TOOL_GROUP: Final = "agentflow.tools"

ToolFactory = Callable[..., list[Tool[..., Any]]]


@cache
def tool_factory(name: str) -> ToolFactory:
    """Find what makes the tools called `name`.

    Raises:
        MissingDependencyError: No installed distribution offers them.
    """
    found = {point.name: point for point in entry_points(group=TOOL_GROUP)}
    if name not in found:
        raise MissingDependencyError(
            f"no installed package offers the tools {name!r} (found: {', '.join(sorted(found)) or 'none'})",
            hint="install agentflow itself: pip install agentflow-diffusion, or pip install . in a checkout",
        )
    factory: ToolFactory = found[name].load()
    return factory


class World:
    """A folder on disk that tools act on."""

    def __init__(self, folder: Path) -> None:
        """Use `folder`, which must be empty."""
        self._files = folder / "files"
        self._notes = folder / "notes.json"
        self._database = folder / "data.sqlite"

    @classmethod
    @contextmanager
    def opened(cls, state: WorldState) -> Iterator[World]:
        """Make a world in a temporary folder, in `state`; it vanishes when the context ends."""
        with tempfile.TemporaryDirectory(prefix="agentflow-") as folder:
            world = cls(Path(folder))
            world.write(state)
            yield world

    def write(self, state: WorldState) -> None:
        """Put the world into `state`."""
        self._files.mkdir()
        for path, text in state.files.items():
            target = self._files / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")
        notes = {"notes": dict(state.notes), "todos": list(state.todos)}
        self._notes.write_text(json.dumps(notes), encoding="utf-8")
        with closing(sqlite3.connect(self._database)) as connection, connection:
            connection.execute("PRAGMA user_version = 1")  # an empty file is no database yet
            for name, table in state.tables.items():
                _write_table(connection, name, table)

    def read(self) -> WorldState:
        """Read the world as it is now; the database is read-only and left out."""
        paths = sorted(path for path in self._files.rglob("*") if path.is_file())
        kept = json.loads(self._notes.read_text(encoding="utf-8"))
        return WorldState(
            files={str(path.relative_to(self._files)): path.read_text(encoding="utf-8") for path in paths},
            notes=kept["notes"],
            todos=tuple(kept["todos"]),
        )

    def tools(self, names: Sequence[str]) -> list[Tool[..., Any]]:
        """Give the named tools, acting on this world, in the order of `names`.

        Raises:
            ConfigurationError: A name is not among the ready-made tools.
            MissingDependencyError: The ready-made tools are not installed.
        """
        offered = {tool.name: tool for tool in self._all_tools()}
        missing = [name for name in names if name not in offered]
        if missing:
            raise ConfigurationError(f"there are no tools {missing}; there are {sorted(offered)}")
        return [offered[name] for name in names]

    def _all_tools(self) -> Iterator[Tool[..., Any]]:
        yield from tool_factory("calculator")()
        yield from tool_factory("clock")()
        yield from tool_factory("files")(self._files)
        yield from tool_factory("notes")(self._notes)
        yield from tool_factory("sqlite")(self._database)


def _write_table(connection: sqlite3.Connection, name: str, table: Table) -> None:
    columns = ", ".join(_quoted(column) for column in table.columns)
    connection.execute(f"CREATE TABLE {_quoted(name)} ({columns})")
    places = ", ".join("?" for _ in table.columns)
    connection.executemany(f"INSERT INTO {_quoted(name)} VALUES ({places})", table.rows)  # noqa: S608 - names are quoted


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
