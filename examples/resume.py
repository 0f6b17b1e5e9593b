"""A task of several steps that survives the death of its process: start it again, and it goes on where it was.

python examples/resume.py --die-after 2    # the process dies after two calls
python examples/resume.py                  # goes on: the calls that are done are not made again
"""

import os
from argparse import ArgumentParser
from collections.abc import Callable
from pathlib import Path

from pydantic import BaseModel

from agentflow import Agent, Backend
from agentflow.events import CallFinished, CallRunning, Event
from agentflow.journal import Journal
from agentflow_tools import calculator, clock, notes

TASK = "Work out 12.5 * 8, save the result in a note called Rent, and tell me the weekday of 2026-03-14."


class Report(BaseModel):
    total: float
    weekday: str


def watch(die_after: int | None) -> Callable[[Event], None]:
    """Print the calls as they are made; pull the plug after some of them."""
    done = []

    def tell(event: Event) -> None:
        if isinstance(event, CallRunning):
            print(f"call {event.call.name}({dict(event.call.arguments)})", flush=True)
        if isinstance(event, CallFinished):
            print(f"  -> {event.result.content}", flush=True)
            done.append(event)
            if len(done) == die_after:
                os._exit(9)  # nothing is cleaned up, as when the power fails

    return tell


def main(model: str | Backend = "embedded", *, folder: Path = Path(), die_after: int | None = None) -> Report:
    tools = [*calculator(), *notes(folder / "resume_notes.json"), *clock()]
    agent = Agent(
        model,
        instructions="Use the tools. Then answer.",
        tools=[tool for tool in tools if tool.name in ("calculate", "add_note", "read_note", "weekday", "add_days")],
        output_type=Report,
    )
    with Journal(folder / "resume_runs.sqlite") as journal:
        if record := journal.find("rent"):
            print(f"going on with {record.run_id!r}, which has {len(journal.events('rent'))} events")
        result = agent.run_sync(TASK, run_id="rent", journal=journal, on_event=watch(die_after))
    print(result.output, [call.name for call in result.calls])
    return result.output


if __name__ == "__main__":
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="embedded", help="'embedded', a folder or the name of a checkpoint")
    parser.add_argument("--folder", type=Path, default=Path(), help="where the journal and the notes are kept")
    parser.add_argument("--die-after", type=int, metavar="CALLS")
    options = parser.parse_args()
    main(options.model, folder=options.folder, die_after=options.die_after)
