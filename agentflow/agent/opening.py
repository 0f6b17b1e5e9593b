"""Setting up a run: a new one, or one that goes on from its journal."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from agentflow.agent.compaction import Compaction, Window
from agentflow.agent.job import Job
from agentflow.agent.loop import Loop
from agentflow.agent.observer import Observer
from agentflow.agent.options import Instructions, RunOptions, resolve_instructions
from agentflow.agent.resuming import restore
from agentflow.agent.transcript import Transcript
from agentflow.journal import RunRecord


async def open_loop(
    job: Job, options: RunOptions[Any], *, instructions: Instructions, compaction: Compaction | None
) -> Loop[Any]:
    """Set up the run that `job` describes.

    Args:
        job: What does not change during the run.
        options: The run's; history and observer are taken from them.
        instructions: The agent's; a run that goes on keeps the ones that it began with.
        compaction: The agent's.

    Raises:
        ConfigurationError: The journal has a run of this id, of another agent or task.
        JournalError: The journal cannot be written or read.
    """
    window = Window(compaction) if compaction is not None else None
    if job.journal is not None and (record := job.journal.find(job.run_id)):
        return replace(restore(job, record, options.get("on_event")), window=window)
    text = await resolve_instructions(instructions, job.make_context())
    transcript = Transcript(options.get("history", ()), instructions=text, task=job.task)
    if job.journal is not None:
        job.journal.begin(_describe(job, transcript))
    observer = Observer(options.get("on_event"), agent=job.agent, run_id=job.run_id, recorder=job.journal)
    return Loop(job=job, transcript=transcript, observer=observer, window=window)


def _describe(job: Job, transcript: Transcript) -> RunRecord:
    """Say what a journal must know of a run before it starts."""
    return RunRecord(
        run_id=job.run_id,
        agent=job.agent,
        task=job.task,
        model=job.backend.name,
        messages=transcript.show(),
        num_history=transcript.num_history,
        settings=job.settings,
        started_at=time.time(),
        parent_id=job.run_id.rpartition(".")[0] if job.depth else None,
    )
