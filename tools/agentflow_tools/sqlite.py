"""One SQLite database, read-only unless asked.

Every call opens its own connection and holds it in four ways: the file is opened ``mode=ro`` (and ``query_only``);
an authorizer allows reading, and with `is_writable` changing tables, and nothing else (no ``ATTACH``, no ``VACUUM``, no
extension, no setting); SQLite's own limits bound the size of statements and values; and a progress handler
stops a statement at its time limit. One statement a call; a statement that fails changes nothing.
Follows "Defense Against The Dark Arts", https://www.sqlite.org/security.html.
"""

from __future__ import annotations

import math
import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeAlias

from agentflow import Tool, ToolDeniedError, tool
from agentflow.errors import ConfigurationError

_Value: TypeAlias = int | float | str | None

_MAX_SQL_LENGTH: Final = 10_000
_MAX_SHOWN_LENGTH: Final = 2_000
"""Characters of a text value that are given back; the rest is counted."""
_MAX_VALUE_BYTES: Final = 200_000
"""Largest value that a statement may read or compute."""
_STEPS_BETWEEN_CHECKS: Final = 100
"""Instructions of SQLite's machine between two looks at the time."""
_LIMITS: Final = {
    sqlite3.SQLITE_LIMIT_LENGTH: _MAX_VALUE_BYTES,
    sqlite3.SQLITE_LIMIT_SQL_LENGTH: _MAX_SQL_LENGTH * 4,
    sqlite3.SQLITE_LIMIT_COLUMN: 200,
    sqlite3.SQLITE_LIMIT_EXPR_DEPTH: 100,
    sqlite3.SQLITE_LIMIT_COMPOUND_SELECT: 50,
    sqlite3.SQLITE_LIMIT_VDBE_OP: 50_000,
    sqlite3.SQLITE_LIMIT_FUNCTION_ARG: 50,
    sqlite3.SQLITE_LIMIT_ATTACHED: 0,
    sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH: 100,
    sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER: 0,
    sqlite3.SQLITE_LIMIT_TRIGGER_DEPTH: 20,
    sqlite3.SQLITE_LIMIT_WORKER_THREADS: 0,
}
_READING: Final = frozenset(
    {
        sqlite3.SQLITE_SELECT,
        sqlite3.SQLITE_READ,
        sqlite3.SQLITE_FUNCTION,
        sqlite3.SQLITE_RECURSIVE,
    }
)
_WRITING: Final = frozenset(
    {
        sqlite3.SQLITE_INSERT,
        sqlite3.SQLITE_UPDATE,
        sqlite3.SQLITE_DELETE,
        sqlite3.SQLITE_REINDEX,
        sqlite3.SQLITE_CREATE_TABLE,
        sqlite3.SQLITE_CREATE_INDEX,
        sqlite3.SQLITE_CREATE_VIEW,
        sqlite3.SQLITE_ALTER_TABLE,
        sqlite3.SQLITE_DROP_TABLE,
        sqlite3.SQLITE_DROP_INDEX,
        sqlite3.SQLITE_DROP_VIEW,
    }
)
_PRAGMAS: Final = frozenset({"table_info", "table_xinfo", "table_list", "index_list", "index_info", "foreign_key_list"})
"""Settings that only describe tables."""
_FUNCTIONS_DENIED: Final = frozenset({"load_extension", "fts3_tokenizer", "readfile", "writefile", "edit"})


def sqlite(
    path: str | os.PathLike[str],
    *,
    is_writable: bool = False,
    columns: bool = False,
    max_rows: int = 100,
    timeout_s: float = 5.0,
) -> list[Tool[..., Any]]:
    """Make the tools ``list_tables`` and ``run_query``.

    Args:
        path: The database file; it must be there.
        is_writable: Allow statements that change tables.
        columns: Give the names of the columns beside the rows.
        max_rows: Most rows of one result; a query with more is an error that asks for LIMIT.
        timeout_s: Seconds after which a statement is stopped.

    Raises:
        ConfigurationError: There is no such database, or a limit is not positive.
    """
    if max_rows < 1 or not timeout_s > 0:
        raise ConfigurationError(f"max_rows={max_rows} and timeout_s={timeout_s} must be positive")
    database = _Database(
        Path(path), is_writable=is_writable, has_columns=columns, max_rows=max_rows, timeout_s=timeout_s
    )
    return [tool(is_idempotent=True)(database.list_tables), tool(is_idempotent=not is_writable)(database.run_query)]


class _Database:
    """The tools over one database file."""

    def __init__(self, path: Path, *, is_writable: bool, has_columns: bool, max_rows: int, timeout_s: float) -> None:
        self._path = path.absolute()
        self._is_writable = is_writable
        self._has_columns = has_columns
        self._max_rows = max_rows
        self._timeout_s = timeout_s
        if not self._path.is_file():
            raise ConfigurationError(f"there is no database {str(path)!r}; make the file first")
        try:
            self.list_tables()
        except (ValueError, ToolDeniedError) as error:
            raise ConfigurationError(f"{str(path)!r} cannot be used as a database: {error}") from error

    def list_tables(self) -> dict[str, list[str]]:
        """List the tables of the database."""
        sql = "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite!_%' ESCAPE '!'"
        with self._connect() as connection:
            return {"tables": sorted(str(name) for (name,) in connection.execute(sql))}

    def run_query(self, sql: str) -> dict[str, list[list[_Value]] | list[str]]:
        """Run one SQL statement.

        Args:
            sql: The SQL statement.
        """
        if len(sql) > _MAX_SQL_LENGTH:
            raise ValueError(f"the statement has {len(sql)} characters; write at most {_MAX_SQL_LENGTH}")
        if not sql.strip().strip(";"):
            raise ValueError("the statement is empty; write one such as SELECT name FROM people")
        with self._connect() as connection:
            cursor = connection.execute(sql)
            rows = cursor.fetchmany(self._max_rows + 1)
            names = [column[0] for column in cursor.description or ()]
            if len(rows) > self._max_rows:
                raise ValueError(f"there are more than {self._max_rows} rows; add LIMIT {self._max_rows} or a WHERE")
            cursor.close()
            _commit(connection)
        result: dict[str, list[list[_Value]] | list[str]] = {"rows": [_plain_row(row) for row in rows]}
        return {"columns": names, **result} if self._has_columns else result

    @contextmanager
    def _connect(self) -> Iterator[sqlite3.Connection]:
        """Lend a connection that is held as the module says; its errors become sentences for the model."""
        mode = "rw" if self._is_writable else "ro"
        deadline = time.monotonic() + self._timeout_s
        connection: sqlite3.Connection | None = None
        try:
            connection = sqlite3.connect(
                f"{self._path.as_uri()}?mode={mode}", uri=True, isolation_level=None, timeout=self._timeout_s
            )
            self._hold(connection, deadline)
            yield connection
        except (sqlite3.Error, sqlite3.Warning, UnicodeEncodeError) as error:
            raise self._explained(error, deadline) from error
        finally:
            if connection is not None:
                connection.close()

    def _hold(self, connection: sqlite3.Connection, deadline: float) -> None:
        """Put the connection under its settings, limits, time limit and authorizer, in this order."""
        for setting in ("trusted_schema=OFF", "cell_size_check=ON", "mmap_size=0", "temp_store=FILE"):
            connection.execute(f"PRAGMA {setting}")
        if not self._is_writable:
            connection.execute("PRAGMA query_only=ON")
        for limit, value in _LIMITS.items():
            connection.setlimit(limit, value)
        connection.text_factory = _text
        connection.set_progress_handler(lambda: time.monotonic() > deadline, _STEPS_BETWEEN_CHECKS)
        if (
            self._is_writable
        ):  # what the statement changes is kept by `_commit` alone, not when its connection is closed
            connection.execute("BEGIN IMMEDIATE")
        connection.set_authorizer(self._authorize)

    def _authorize(
        self, action: int, first: str | None, second: str | None, schema: str | None, _by: str | None
    ) -> int:
        """Say whether a statement may do one thing; SQLite asks while it compiles the statement."""
        if action == sqlite3.SQLITE_FUNCTION:
            is_allowed = (second or "").lower() not in _FUNCTIONS_DENIED
        elif action == sqlite3.SQLITE_PRAGMA:
            is_allowed = (first or "").lower() in _PRAGMAS
        else:
            is_allowed = action in _READING or (self._is_writable and action in _WRITING and schema != "temp")
        return sqlite3.SQLITE_OK if is_allowed else sqlite3.SQLITE_DENY

    def _explained(self, error: Exception, deadline: float) -> Exception:
        """Turn an error of SQLite into one that the model can act on."""
        message = str(error)
        code = getattr(error, "sqlite_errorcode", None)
        if code == sqlite3.SQLITE_INTERRUPT or (code == sqlite3.SQLITE_BUSY and time.monotonic() > deadline):
            return ValueError(f"the statement took longer than {self._timeout_s:g} s; make it simpler or add a LIMIT")
        if code == sqlite3.SQLITE_AUTH or "prohibited" in message or "not authorized" in message:
            allowed = "reading and changing tables is" if self._is_writable else "only reading (SELECT) is"
            return ToolDeniedError(f"the statement is not allowed ({message}); {allowed} allowed")
        if isinstance(error, sqlite3.Warning) or "one statement at a time" in message:
            return ValueError("there is more than one statement; run them one by one")
        return ValueError(f"SQLite says: {message[:300]}")


def _commit(connection: sqlite3.Connection) -> None:
    """Keep what the statement has changed."""
    if connection.in_transaction:
        connection.set_authorizer(None)
        connection.execute("COMMIT")


def _text(content: bytes) -> str:
    return content.decode("utf-8", "replace")


def _plain_row(row: Sequence[object]) -> list[_Value]:
    return [_plain(value) for value in row]


def _plain(value: object) -> _Value:
    """Turn a value of SQLite into a JSON value: bytes are described, long texts cut, infinities named."""
    if isinstance(value, bytes):
        return f"<{len(value)} bytes>"
    if isinstance(value, float) and not math.isfinite(value):
        return "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, str) and len(value) > _MAX_SHOWN_LENGTH:
        return f"{value[:_MAX_SHOWN_LENGTH]}… ({len(value) - _MAX_SHOWN_LENGTH} characters more)"
    assert value is None or isinstance(value, (int, float, str))  # noqa: S101 - SQLite has no other types
    return value
