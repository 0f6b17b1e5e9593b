"""``agentflow runs``: what a journal holds - listed, shown, told again, and copied to go on another way."""

from __future__ import annotations

import dataclasses
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agentflow.cli.reading import find_run, open_journal
from agentflow.errors import ConfigurationError

if TYPE_CHECKING:
    from rich.console import Console

    from agentflow.journal import Journal, RunRecord

STATES = {"output": "done", "limit": "limit", "error": "failed", "cancelled": "stopped", None: "unfinished"}
"""How the end of a run reads; a run without one goes on somewhere, or its process died."""

SHORT_ID_LENGTH = 12

app = typer.Typer(help="Look at the runs of a journal, replay and fork them.", no_args_is_help=True)

JournalPath = Annotated[
    Path, typer.Option("--journal", metavar="FILE", envvar="AGENTFLOW_JOURNAL", help="The file that was recorded to.")
]
RunId = Annotated[str, typer.Argument(metavar="RUN_ID", help="The run; the start of its id will do.")]


@app.command("list")
def list_runs(
    journal: JournalPath,
    unfinished: Annotated[bool, typer.Option("--unfinished", help="Only those that can be resumed.")] = False,
    has_json: Annotated[bool, typer.Option("--json", help="One line of JSON for each.")] = False,
) -> None:
    """List the runs, oldest first: a table on a terminal, fields between tabs elsewhere."""
    with open_journal(journal, is_new=False) as opened:
        records = [record for record in opened.runs() if record.is_resumable or not unfinished]
    if has_json:
        for record in records:
            typer.echo(json.dumps(describe(record)))
        return
    from rich.console import Console

    console = Console()
    if console.is_terminal:
        _print_table(records, console)
    else:
        for record in records:
            typer.echo("\t".join(_fields(record)))


@app.command("show")
def show(
    run_id: RunId,
    journal: JournalPath,
    has_json: Annotated[
        bool, typer.Option("--json", help="One JSON object with the conversation and the end.")
    ] = False,
) -> None:
    """Show one run: where it comes from, its calls and results, how it ended and what it cost."""
    with open_journal(journal, is_new=False) as opened:
        record = find_run(opened, run_id)
        if has_json:
            typer.echo(json.dumps(_whole(record, opened)))
            return
        from rich.console import Console

        console = Console()
        _print_head(record, console)
        _tell_again(record, opened, console)


@app.command("replay")
def replay(
    run_id: RunId,
    journal: JournalPath,
    has_json: Annotated[bool, typer.Option("--json", help="Print every event as a line of JSON.")] = False,
) -> None:
    """Tell the events of a run and of those inside it again, as they happened, without touching model or tools."""
    with open_journal(journal, is_new=False) as opened:
        record = find_run(opened, run_id)
        if not has_json:
            from rich.console import Console

            _tell_again(record, opened, Console())
            return
        from agentflow.cli.views import JsonView

        view = JsonView()
        for event in opened.replay(record.run_id):
            view.show(event)


@app.command("fork")
def fork(
    run_id: RunId,
    journal: JournalPath,
    after_turn: Annotated[int, typer.Option(min=0, help="Last turn to keep; 0 keeps only the start.")],
    new_id: Annotated[str | None, typer.Option("--id", metavar="NEW_ID", help="Id of the copy.")] = None,
) -> None:
    """Copy a run up to the end of one of its turns, and print the id of the copy, which can be resumed."""
    with open_journal(journal, is_new=False) as opened:
        record = find_run(opened, run_id)
        num_turns = max((event.turn for event in opened.events(record.run_id)), default=0)
        if after_turn > num_turns:
            raise ConfigurationError(
                f"run {record.run_id!r} has {num_turns} turns, so nothing can be kept up to turn {after_turn}",
                hint=f"--after-turn 0 to {num_turns}",
            )
        if new_id is not None and opened.find(new_id) is not None:
            raise ConfigurationError(f"there is a run {new_id!r} already", hint="choose another --id")
        copy = opened.fork(record.run_id, after_turn=after_turn, new_id=new_id)
    typer.echo(copy)
    typer.echo(f"go on with it by: agentflow run MODULE:AGENT --journal {journal} --resume {copy}", err=True)


def describe(record: RunRecord) -> dict[str, Any]:
    """Write what a journal knows of a run, but its conversation, as plain JSON."""
    return {
        "run_id": record.run_id,
        "agent": record.agent,
        "state": STATES.get(record.reason, record.reason),
        "task": record.task,
        "model": record.model,
        "started_at": record.started_at,
        "seed": record.settings.seed,
        "parent_id": record.parent_id,
        "forked_from": record.forked_from,
        "is_resumable": record.is_resumable,
    }


def _fields(record: RunRecord) -> tuple[str, str, str, str, str]:
    """The columns of the list, each on one line."""
    started = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.started_at))
    state = str(STATES.get(record.reason, record.reason))
    return record.run_id, record.agent, state, started, " ".join(record.task.split())


def _print_table(records: list[RunRecord], console: Console) -> None:
    from rich.table import Table
    from rich.text import Text

    styles = {"done": "green", "unfinished": "yellow", "failed": "red", "limit": "red"}
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for name in ("run", "agent", "state", "started"):
        table.add_column(name, no_wrap=True)
    table.add_column("task", no_wrap=True, overflow="ellipsis", ratio=1)
    for record in records:
        run_id, agent, state, started, task = _fields(record)
        nested = "" if record.parent_id is None else "└ "
        short = run_id if len(run_id) <= SHORT_ID_LENGTH else f"{run_id[:SHORT_ID_LENGTH]}…"
        table.add_row(f"{nested}{short}", Text(agent), Text(state, styles.get(state, "")), started[5:16], Text(task))
    console.print(table if records else "the journal holds no such runs")


def _print_head(record: RunRecord, console: Console) -> None:
    from rich.table import Table
    from rich.text import Text

    seed = "" if record.settings.seed is None else f", seed {record.settings.seed}"
    run_id, agent, state, started, _ = _fields(record)
    rows = {"run": run_id, "agent": agent, "task": record.task, "model": f"{record.model}{seed}"}
    rows |= {"started": started, "state": state}
    if record.parent_id:
        rows["inside"] = record.parent_id
    if record.forked_from:
        rows["forked from"] = record.forked_from
    if record.num_history:
        rows["history"] = f"{record.num_history} messages before it"
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column()
    for name, value in rows.items():
        table.add_row(name, Text(value))
    console.print(table, "")


def _tell_again(record: RunRecord, journal: Journal, console: Console) -> None:
    from agentflow.cli.views import replay_lines

    for event in journal.replay(record.run_id):
        depth = event.run_id.count(".") - record.run_id.count(".")
        for line in replay_lines(event):
            console.print("    " * depth + line, markup=False, highlight=False, soft_wrap=True)


def _whole(record: RunRecord, journal: Journal) -> dict[str, Any]:
    """Write a run with its conversation at the start and its events."""
    from agentflow.cli.views import event_object

    messages = [{"kind": type(message).__name__, **dataclasses.asdict(message)} for message in record.messages]
    events = [event_object(event) for event in journal.replay(record.run_id)]
    return {**describe(record), "messages": messages, "events": events}
