"""`Journal`: runs and their events in one SQLite file.

    runs(run_id, agent, task, model, messages, num_history, settings, started_at, reason, parent_id, forked_from)
    events(run_id, number, kind, body)      numbered over all runs, in order; RunFinished ends a run

The file is written ahead (WAL). With the default settings a record survives the death of the process at any moment;
with ``is_power_safe`` it survives the death of the machine too, at the price of one disk flush per record.
"""

from __future__ import annotations

import sqlite3
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from agentflow.errors import JournalError
from agentflow.events import (
    CallProgressed,
    CallReady,
    DraftUpdated,
    Event,
    OutputDrafted,
    RunFinished,
    TurnStarted,
    UsageUpdated,
)
from agentflow.journal.codec import decode_event, encode_event
from agentflow.journal.record import RunRecord, read_record, write_record

_VERSION: Final = 1
_SCHEMA: Final = (
    """CREATE TABLE runs (
    run_id TEXT PRIMARY KEY, agent TEXT NOT NULL, task TEXT NOT NULL, model TEXT NOT NULL, messages TEXT NOT NULL,
    num_history INTEGER NOT NULL, settings TEXT NOT NULL, started_at REAL NOT NULL, reason TEXT, parent_id TEXT,
    forked_from TEXT
) WITHOUT ROWID""",
    """CREATE TABLE events (
    run_id TEXT NOT NULL REFERENCES runs(run_id) ON DELETE CASCADE, number INTEGER NOT NULL,
    kind TEXT NOT NULL, body TEXT NOT NULL, PRIMARY KEY (run_id, number)
) WITHOUT ROWID""",
    f"PRAGMA user_version = {_VERSION}",
)
_BUSY_TIMEOUT_S: Final = 10.0

_DEFERRED: Final = (TurnStarted, UsageUpdated, CallReady, CallProgressed)
"""Events that nothing depends on: written together with the next one that something does."""


class Journal:
    """A file of runs. It may be shared by many runs, tasks and threads of one process, and read by others."""

    def __init__(self, path: str | Path, *, is_power_safe: bool = False) -> None:
        """Open the file, or make it.

        Args:
            path: The file; ``":memory:"`` keeps the journal in memory, for tests.
            is_power_safe: Flush every record to the disk.

        Raises:
            JournalError: The file cannot be opened, or is no journal.
        """
        self.path = str(path)
        self._lock = threading.Lock()
        self._deferred: list[tuple[str, int, str, str]] = []
        self._last_number: int | None = None
        self._known_runs: set[str] = set()
        with self._failing("opened"):
            self._db = sqlite3.connect(
                self.path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
            )
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute(f"PRAGMA synchronous = {'FULL' if is_power_safe else 'NORMAL'}")
            self._db.execute("PRAGMA foreign_keys = ON")
            self._create_tables()

    def _create_tables(self) -> None:
        if self._has_tables():
            return
        with self._transaction():  # killed at any moment, the file is either empty or whole
            if not self._has_tables():  # nobody else was faster
                for statement in _SCHEMA:
                    self._db.execute(statement)

    def _has_tables(self) -> bool:
        version, num_tables = self._db.execute(
            "SELECT user_version, (SELECT count(*) FROM sqlite_master) FROM pragma_user_version"
        ).fetchone()
        if version != _VERSION and num_tables:
            raise JournalError(
                f"{self.path} is no journal of this version (it says {version}, this is {_VERSION})",
                hint="choose another file",
            )
        return bool(num_tables)

    def begin(self, record: RunRecord) -> None:
        """Write down a new run.

        Raises:
            JournalError: There is a run of this id, or the file cannot be written.
        """
        row = write_record(record)
        with self._lock, self._failing("written"):
            self._db.execute(f"INSERT INTO runs VALUES ({', '.join('?' * len(row))})", row)  # noqa: S608 # no values

    def append(self, event: Event) -> None:
        """Write down an event; when this returns it is safe. Drafts are not kept.

        Raises:
            JournalError: The file cannot be written. The event must then have no effect.
        """
        if isinstance(event, (DraftUpdated, OutputDrafted)):
            return
        kind, body = encode_event(event)
        with self._lock, self._failing("written"):
            self._deferred.append((event.run_id, self._next_number(event.run_id), kind, body))
            if isinstance(event, _DEFERRED):
                return
            try:
                self._flush(event)
            except sqlite3.Error:  # it will have no effect, so it must not be written later either
                self._deferred.pop()
                raise

    def _flush(self, event: Event | None = None) -> None:
        with self._transaction():
            self._db.executemany("INSERT INTO events VALUES (?, ?, ?, ?)", self._deferred)
            if isinstance(event, RunFinished):
                self._db.execute("UPDATE runs SET reason = ? WHERE run_id = ?", (event.reason, event.run_id))
        self._deferred.clear()

    def _next_number(self, run_id: str) -> int:
        if self._last_number is None:
            self._last_number = int(self._db.execute("SELECT coalesce(max(number), 0) FROM events").fetchone()[0])
        if run_id not in self._known_runs:  # another process may have written to it since
            row = self._db.execute("SELECT coalesce(max(number), 0) FROM events WHERE run_id = ?", (run_id,)).fetchone()
            self._last_number = max(self._last_number, row[0])
            self._known_runs.add(run_id)
        self._last_number += 1
        return self._last_number

    def runs(self) -> tuple[RunRecord, ...]:
        """List all runs, oldest first."""
        with self._lock, self._failing("read"):
            rows = self._db.execute("SELECT * FROM runs ORDER BY started_at, run_id").fetchall()
        return tuple(read_record(row) for row in rows)

    def find(self, run_id: str) -> RunRecord | None:
        """Get a run, or `None` if there is no such run."""
        with self._lock, self._failing("read"):
            row = self._db.execute("SELECT * FROM runs WHERE run_id = ?", (run_id,)).fetchone()
        return None if row is None else read_record(row)

    def get(self, run_id: str) -> RunRecord:
        """Get a run.

        Raises:
            JournalError: There is no such run.
        """
        record = self.find(run_id)
        if record is None:
            raise JournalError(f"{self.path} holds no run {run_id!r}", hint="list them with Journal.runs()")
        return record

    def events(self, run_id: str) -> tuple[Event, ...]:
        """Get the events of a run in order: feed them to an observer to replay it without touching model or tools."""
        query = "SELECT kind, body FROM events WHERE run_id = ? ORDER BY number"
        with self._lock, self._failing("read"):
            rows = self._db.execute(query, (run_id,)).fetchall()
        return tuple(decode_event(kind, body) for kind, body in rows)

    def replay(self, run_id: str) -> tuple[Event, ...]:
        """Tell a run again with everything nested in it, in the order in which it happened.

        Neither model nor tools are touched. A planner's questions to the model are the nested runs that they are.

        Raises:
            JournalError: There is no such run.
        """
        self.get(run_id)
        query = "SELECT kind, body FROM events WHERE run_id = ? OR (run_id > ? AND run_id < ?) ORDER BY number"
        with self._lock, self._failing("read"):  # nested runs are called RUN.CALL, and "/" comes after "."
            rows = self._db.execute(query, (run_id, f"{run_id}.", f"{run_id}/")).fetchall()
        return tuple(decode_event(kind, body) for kind, body in rows)

    def fork(self, run_id: str, *, after_turn: int, new_id: str | None = None) -> str:
        """Copy a run up to the end of one of its turns, to go on from there another way.

        Args:
            run_id: The run.
            after_turn: Last turn to keep; 0 keeps only the start.
            new_id: Id of the copy; made up if not given.

        Returns:
            The id of the copy, which can be resumed.

        Raises:
            JournalError: There is no such run, or the id is taken.
        """
        record = self.get(run_id)
        kept = [e for e in self.events(run_id) if e.turn <= after_turn and not isinstance(e, RunFinished)]
        copy_id = new_id or uuid.uuid4().hex
        self.begin(replace(record, run_id=copy_id, started_at=time.time(), reason=None, forked_from=run_id))
        self._append_all([replace(event, run_id=copy_id) for event in kept])
        return copy_id

    def _append_all(self, events: Sequence[Event]) -> None:
        rows = [(event.run_id, i, *encode_event(event)) for i, event in enumerate(events, 1)]
        with self._lock, self._failing("written"), self._transaction():
            self._db.executemany("INSERT INTO events VALUES (?, ?, ?, ?)", rows)

    def delete(self, run_id: str) -> None:
        """Forget a run."""
        with self._lock, self._failing("written"):
            self._db.execute("DELETE FROM runs WHERE run_id = ?", (run_id,))

    def close(self) -> None:
        """Close the file. Closing twice is harmless."""
        with self._lock, self._failing("written"):
            if self._deferred:
                self._flush()
            self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    @contextmanager
    def _failing(self, verb: str) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise JournalError(f"the journal {self.path} cannot be {verb}: {error}") from error
