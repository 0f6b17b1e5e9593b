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
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias

from agentflow import Tool, ToolDeniedError, tool
from agentflow.errors import ConfigurationError

_Value: TypeAlias = int | float | str | None

_MAX_SQL_LENGTH: Final = 10_000
_MAX_SHOWN_LENGTH: Final = 2_000
"""Characters of a text value that are given back; the rest is counted."""
_MAX_RESULT_LENGTH: Final = 200_000
"""Characters of all values of a result."""
_MAX_VALUE_BYTES: Final = 100_000
"""Largest value that a statement may read or compute."""
_MAX_FUNCTIONS: Final = 20
"""Functions that a statement may name: SQLite looks at the time between rows only, not between calls in one row."""
_STEPS_BETWEEN_CHECKS: Final = 50
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
        sqlite3.SQLITE_DROP_TABLE,
        sqlite3.SQLITE_DROP_INDEX,
        sqlite3.SQLITE_DROP_VIEW,
    }
)
_PRAGMAS: Final = frozenset({"table_info", "table_xinfo", "table_list", "index_list", "index_info", "foreign_key_list"})
"""Settings that only describe tables."""
_DENIAL_SIGNS: Final = ("not authorized", "unsafe use of", "may not be modified", "vtable constructor failed")
"""What stands in SQLite's messages when the authorizer or its own defences refuse."""
_FUNCTION_GROUPS: Final = (
    "abs char coalesce hex ifnull iif instr length like glob likely lower ltrim nullif quote random replace round",
    "rtrim sign substr substring trim typeof unicode unlikely upper",
    "current_date current_time current_timestamp date datetime julianday strftime time timediff unixepoch",
    "acos asin atan atan2 ceil ceiling cos degrees exp floor ln log log10 log2 mod pi pow power radians sin sqrt tan",
    "trunc avg count group_concat max median min string_agg sum total",
    "cume_dist dense_rank first_value lag last_value lead nth_value ntile percent_rank rank row_number",
    "-> ->> json json_array json_array_length json_extract json_group_array json_group_object json_object json_type",
    "json_valid changes last_insert_rowid total_changes",
)
_FUNCTIONS: Final = frozenset(name for group in _FUNCTION_GROUPS for name in group.split())
"""Functions that neither reach outside nor take long on short arguments (``printf('%.*c', 1e9, 'x')`` does)."""


def sqlite(
    path: str | os.PathLike[str],
    *,
    is_writable: bool = False,
    columns: bool = False,
    max_rows: int = 100,
    timeout_s: float = 5.0,
    max_size_bytes: int = 100_000_000,
) -> list[Tool[..., Any]]:
    """Make the tools ``list_tables`` and ``run_query``.

    Args:
        path: The database file; it must be there.
        is_writable: Allow statements that change tables.
        columns: Give the names of the columns beside the rows.
        max_rows: Most rows of one result; a query with more is an error that asks for LIMIT.
        timeout_s: Seconds after which a statement is stopped.
        max_size_bytes: Size up to which a writable database may grow.

    Raises:
        ConfigurationError: There is no such database, or a limit is not positive.
    """
    if max_rows < 1 or not timeout_s > 0 or max_size_bytes < 1:
        raise ConfigurationError(f"{max_rows=}, {timeout_s=} and {max_size_bytes=} must be positive")
    database = _Database(Path(path).absolute(), _Options(is_writable, columns, max_rows, timeout_s, max_size_bytes))
    return [tool(is_idempotent=True)(database.list_tables), tool(is_idempotent=not is_writable)(database.run_query)]


class _Options(NamedTuple):
    is_writable: bool
    has_columns: bool
    max_rows: int
    timeout_s: float
    max_size_bytes: int


class _Database:
    """The tools over one database file."""

    def __init__(self, path: Path, options: _Options) -> None:
        self._path = path
        self._options = options
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
        if any("\ud800" <= character <= "\udfff" for character in sql):
            raise ValueError("the statement holds half of a character pair; write valid Unicode")
        if not sql.strip().strip(";"):
            raise ValueError("the statement is empty; write one such as SELECT name FROM people")
        with self._connect() as connection:
            cursor = connection.execute(sql)
            rows = self._plain_rows(cursor)
            names = [column[0] for column in cursor.description or ()]
            cursor.close()
            _commit(connection)
        result: dict[str, list[list[_Value]] | list[str]] = {"rows": rows}
        return {"columns": names, **result} if self._options.has_columns else result

    def _plain_rows(self, cursor: sqlite3.Cursor) -> list[list[_Value]]:
        """Take the rows as JSON values, no more than the limits allow."""
        rows: list[list[_Value]] = []
        max_rows = self._options.max_rows
        length = 0
        for row in cursor:
            rows.append([_plain(value) for value in row])
            length += sum(len(value) for value in rows[-1] if isinstance(value, str))
            if len(rows) > max_rows:
                raise ValueError(f"there are more than {max_rows} rows; add LIMIT {max_rows} or a WHERE")
            if length > _MAX_RESULT_LENGTH:
                raise ValueError(f"the rows hold over {_MAX_RESULT_LENGTH} characters; select fewer columns or rows")
        return rows

    @contextmanager
    def _connect(self) -> Iterator[sqlite3.Connection]:
        """Lend a connection that is held as the module says; its errors become sentences for the model."""
        mode = "rw" if self._options.is_writable else "ro"
        deadline = time.monotonic() + self._options.timeout_s
        connection: sqlite3.Connection | None = None
        try:
            connection = sqlite3.connect(
                f"{self._path.as_uri()}?mode={mode}", uri=True, isolation_level=None, timeout=self._options.timeout_s
            )
            self._hold(connection, deadline)
            yield connection
        except (sqlite3.Error, sqlite3.Warning, UnicodeEncodeError) as error:
            raise self._explained(error) from error
        finally:
            if connection is not None:
                connection.close()

    def _hold(self, connection: sqlite3.Connection, deadline: float) -> None:
        """Put the connection under its settings, limits, time limit and authorizer, in this order."""
        for setting in ("trusted_schema=OFF", "cell_size_check=ON", "mmap_size=0", "temp_store=FILE"):
            connection.execute(f"PRAGMA {setting}")
        if not self._options.is_writable:
            connection.execute("PRAGMA query_only=ON")
        for limit, value in _LIMITS.items():
            connection.setlimit(limit, value)
        connection.text_factory = _text
        for name, strip in _TRIMS.items():
            connection.create_function(name, 2, strip, deterministic=True)
        connection.set_progress_handler(lambda: time.monotonic() > deadline, _STEPS_BETWEEN_CHECKS)
        if self._options.is_writable:
            _begin(connection, self._options.max_size_bytes)
        connection.set_authorizer(_Authorizer(is_writable=self._options.is_writable))

    def _explained(self, error: Exception) -> Exception:
        """Turn an error of SQLite into one that the model can act on."""
        message = str(error)
        code = getattr(error, "sqlite_errorcode", None)
        if code == sqlite3.SQLITE_INTERRUPT:
            return ValueError(f"it took longer than {self._options.timeout_s:g} s; make it simpler or add a LIMIT")
        if "authorized to use function" in message:
            name = message.rsplit(" ", 1)[-1]
            if name.lower() in _FUNCTIONS:
                return ToolDeniedError(f"the statement uses more than {_MAX_FUNCTIONS} functions; make it simpler")
            return ToolDeniedError(f"the function {name}() is not allowed; compute it without")
        if code == sqlite3.SQLITE_AUTH or any(sign in message for sign in _DENIAL_SIGNS):
            allowed = "reading and changing tables is" if self._options.is_writable else "only reading (SELECT) is"
            return ToolDeniedError(f"the statement is not allowed ({message}); {allowed} allowed")
        if isinstance(error, sqlite3.Warning) or "one statement at a time" in message:
            return ValueError("there is more than one statement; run them one by one")
        return ValueError(f"SQLite says: {message[:300]}")


class _Authorizer:
    """Says whether a statement may do one thing; SQLite asks while it compiles the statement."""

    def __init__(self, *, is_writable: bool) -> None:
        self._allowed = _READING | _WRITING if is_writable else _READING
        self._num_functions = 0

    def __call__(self, action: int, first: str | None, second: str | None, schema: str | None, _by: str | None) -> int:
        if action == sqlite3.SQLITE_FUNCTION:
            self._num_functions += 1
            is_allowed = (second or "").lower() in _FUNCTIONS and self._num_functions <= _MAX_FUNCTIONS
        elif action == sqlite3.SQLITE_PRAGMA:
            is_allowed = (first or "").lower() in _PRAGMAS
        else:
            is_allowed = action in self._allowed and (schema != "temp" or action == sqlite3.SQLITE_READ)
        return sqlite3.SQLITE_OK if is_allowed else sqlite3.SQLITE_DENY


def _make_trim(strip: Callable[[str, str], str]) -> Callable[[Any, Any], str | None]:
    """Make a function for SQLite that takes characters off a text; it answers `NULL` with `NULL` as SQLite does."""

    def trim(value: Any, characters: Any) -> str | None:
        if value is None or characters is None:
            return None
        texts = [
            part.decode("utf-8", "replace") if isinstance(part, bytes) else str(part) for part in (value, characters)
        ]
        return strip(texts[0], texts[1])

    return trim


_TRIMS: Final = {"trim": _make_trim(str.strip), "ltrim": _make_trim(str.lstrip), "rtrim": _make_trim(str.rstrip)}
"""In place of SQLite's functions of two arguments, which try every character of the second one at every place of the
first: ten seconds for a hundred thousand characters, during which SQLite does not look at the time."""


def _begin(connection: sqlite3.Connection, max_size_bytes: int) -> None:
    """Open the transaction of a statement; without `_commit` it ends with the connection and changes nothing."""
    (page_size_bytes,) = connection.execute("PRAGMA page_size").fetchone()
    connection.execute(f"PRAGMA max_page_count={max(1, max_size_bytes // page_size_bytes)}")
    connection.execute("BEGIN IMMEDIATE")


def _commit(connection: sqlite3.Connection) -> None:
    """Keep what the statement has changed."""
    if connection.in_transaction:
        connection.set_authorizer(None)
        connection.execute("COMMIT")


def _text(content: bytes) -> str:
    return content.decode("utf-8", "replace")


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
