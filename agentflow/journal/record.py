"""`RunRecord`: what a journal knows of a run before its first event, and how it ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

from agentflow.journal.codec import decode_messages, decode_settings, encode_messages, encode_settings
from agentflow.types import GenerationSettings, Message

Row: TypeAlias = tuple[Any, ...]
"""The columns of the table ``runs``, in order."""


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """A run as the journal knows it.

    Attributes:
        run_id: Unique.
        agent: Name of the agent.
        task: What the user asked for.
        model: Name of the model.
        messages: The conversation at its start, the task included.
        num_history: How many of them are history.
        settings: How it generates.
        started_at: Unix time of its start.
        reason: How it ended; `None` while it runs and after its process died.
        parent_id: The run in which it is nested, if it is.
        forked_from: The run that it was forked from, if it was.
    """

    run_id: str
    agent: str
    task: str
    model: str
    messages: tuple[Message, ...]
    num_history: int
    settings: GenerationSettings
    started_at: float
    reason: str | None = None
    parent_id: str | None = None
    forked_from: str | None = None

    @property
    def is_resumable(self) -> bool:
        """Whether it has not reached its output."""
        return self.reason != "output"


def write_record(record: RunRecord) -> Row:
    """Write a record as a row."""
    return (
        record.run_id,
        record.agent,
        record.task,
        record.model,
        encode_messages(record.messages),
        record.num_history,
        encode_settings(record.settings),
        record.started_at,
        record.reason,
        record.parent_id,
        record.forked_from,
    )


def read_record(row: Row) -> RunRecord:
    """Read a row that `write_record` wrote."""
    return RunRecord(
        run_id=row[0],
        agent=row[1],
        task=row[2],
        model=row[3],
        messages=decode_messages(row[4]),
        num_history=row[5],
        settings=decode_settings(row[6]),
        started_at=row[7],
        reason=row[8],
        parent_id=row[9],
        forked_from=row[10],
    )
