"""``agentflow run``: a task for an agent that stands in a Python module, or a conversation with it."""

from __future__ import annotations

import json
import shlex
import uuid
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agentflow.cli.reading import load_object, open_journal, read_prompt
from agentflow.errors import AgentflowError, ConfigurationError

if TYPE_CHECKING:
    from rich.console import Console

    from agentflow.agent import Agent
    from agentflow.agent.options import RunOptions
    from agentflow.cli.asking import ApprovalMode
    from agentflow.cli.session import Outcome
    from agentflow.journal import Journal
    from agentflow.planner import Planner
    from agentflow.types import Message

JOURNAL_VARIABLE = "AGENTFLOW_JOURNAL"


def run(
    agent: Annotated[str, typer.Argument(metavar="MODULE:AGENT", help="Where the agent stands, e.g. my_agents:clerk.")],
    task: Annotated[
        str | None,
        typer.Argument(
            metavar="TASK", help="What it shall do; - reads it from the standard input; none starts a chat."
        ),
    ] = None,
    *,
    seed: Annotated[int | None, typer.Option(help="Seed of the draws.")] = None,
    journal: Annotated[
        Path | None,
        typer.Option(metavar="FILE", envvar=JOURNAL_VARIABLE, help="Record the run, so that it can be resumed."),
    ] = None,
    resume: Annotated[
        str | None, typer.Option(metavar="RUN_ID", help="Go on with a run of the journal; the start of its id will do.")
    ] = None,
    retry_unknown: Annotated[
        bool, typer.Option("--retry-unknown", help="When resuming, make calls again that may have had their effect.")
    ] = False,
    approve: Annotated[
        str | None,
        typer.Option(
            metavar="MODE",
            help="Calls that need approval: 'ask' you, 'always' or 'never' let them run; 'every' asks you about all "
            "calls. Without it the agent's own approver decides, or you do.",
        ),
    ] = None,
    deps: Annotated[
        str | None,
        typer.Option(metavar="MODULE:NAME", help="Dependencies for the tools, or a function that makes them."),
    ] = None,
    has_json: Annotated[
        bool, typer.Option("--json", help="Print every event as a line of JSON, the result as the last one.")
    ] = False,
    live: Annotated[bool, typer.Option("--live/--no-live", help="Show canvases while they settle.")] = True,
) -> None:
    """Let an agent do a task and print its output, or talk with it.

    Ctrl-C stops the run in good order; with --journal it can be resumed.
    """
    found, text = load_agent(agent), _read_task(task, resume=resume, journal=journal)
    if text is None and resume is None and _is_planner(found):
        raise ConfigurationError("a planner does single tasks and cannot chat", hint="give it a task")
    if retry_unknown and resume is None:
        raise ConfigurationError("--retry-unknown only goes with --resume")
    from rich.console import Console

    with ExitStack() as stack:
        opened = None if journal is None else stack.enter_context(open_journal(journal, is_new=resume is None))
        desk = Desk(
            agent=found,
            reference=agent,
            console=Console(stderr=has_json),
            journal=opened,
            journal_path=journal,
            approval=_check_approval(approve),
            seed=seed,
            deps=_load_dependencies(deps),
            is_json=has_json,
            is_live=live,
        )
        if resume is not None:
            desk.print_outcome(desk.resume(resume, retry_unknown=retry_unknown))
        elif text is not None:
            desk.print_outcome(desk.run(text))
        else:
            from agentflow.cli.chat import chat

            chat(desk)


@dataclass(frozen=True, kw_only=True)
class Desk:
    """Where a person runs an agent: the agent, the terminal and the journal.

    Attributes:
        agent: The agent, or a planner, which does single tasks only.
        reference: What the person calls it.
        console: For people; the error stream when the standard output is for programs.
        journal: Where runs are recorded, if anywhere.
        journal_path: What the person calls it.
        approval: Who decides on calls that need approval, if not the agent's own approver.
        seed: Of the draws, in place of the agent's.
        deps: Dependencies for the tools.
        is_json: Whether events and result go to a program.
        is_live: Whether canvases are shown while they settle.
    """

    agent: Agent[Any, Any] | Planner[Any, Any]
    reference: str
    console: Console
    journal: Journal | None = None
    journal_path: Path | None = None
    approval: ApprovalMode | None = None
    seed: int | None = None
    deps: Any = None
    is_json: bool = False
    is_live: bool = True

    @property
    def has_approver(self) -> bool:
        """Whether the agent knows itself who decides on calls."""
        return getattr(self.agent, "approver", None) is not None

    def run(self, task: str, *, history: tuple[Message, ...] = ()) -> Outcome:
        """Have the agent do a task.

        Raises:
            AgentflowError: The run failed; how to resume it has been printed.
            RunStopped: Ctrl-C; how to resume it has been printed.
        """
        settings = self.agent.settings
        if self.seed is not None:
            settings = replace(settings, seed=self.seed)
        options: RunOptions[Any] = {"settings": settings}
        if history:
            options["history"] = history
        if self.journal is not None:
            options["run_id"] = uuid.uuid4().hex[:12]
        return self._run(task, options)

    def resume(self, run_id: str, *, retry_unknown: bool) -> Outcome:
        """Go on with a run of the journal.

        Raises:
            ConfigurationError: There is no such run, or it is another agent's.
        """
        from agentflow.cli.reading import find_run

        assert self.journal is not None  # noqa: S101 # checked with the options
        record = find_run(self.journal, run_id)
        settings = record.settings if self.seed is None else replace(record.settings, seed=self.seed)
        return self._run(record.task, {"settings": settings, "run_id": record.run_id, "retry_unknown": retry_unknown})

    def _run(self, task: str, options: RunOptions[Any]) -> Outcome:
        from agentflow.cli.asking import make_approver
        from agentflow.cli.problems import Stopped
        from agentflow.cli.session import run_and_show, view_for

        view = view_for(self.console, is_live=self.is_live, is_json=self.is_json)
        options["journal"], options["deps"] = self.journal, self.deps
        mode = self.approval or (None if self.has_approver else _default_approval())
        if mode is not None:
            options["approve"] = make_approver(mode, self.console, [view])
        try:
            return run_and_show(self.agent, task, views=[view], options=options)
        except (AgentflowError, Stopped) as error:
            self._say_how_to_resume(options.get("run_id"), is_stopped=isinstance(error, Stopped))
            raise

    def _say_how_to_resume(self, run_id: str | None, *, is_stopped: bool) -> None:
        record = None if self.journal is None or run_id is None else self.journal.find(run_id)
        if is_stopped and record is None:
            self._say("stopped")
        elif record is not None and record.is_resumable:
            command = [
                "agentflow",
                "run",
                self.reference,
                "--journal",
                str(self.journal_path),
                "--resume",
                record.run_id,
            ]
            self._say(f"{'stopped; ' if is_stopped else ''}the journal keeps the run, go on with it by")
            self._say(f"  {shlex.join(command)}")

    def _say(self, text: str) -> None:
        typer.echo(text, err=True)

    def print_outcome(self, outcome: Outcome) -> None:
        """Print what remains of a run."""
        if self.is_json:
            typer.echo(json.dumps({"event": "Result", **outcome.to_json()}))
        else:
            outcome.print(self.console)


def load_agent(reference: str) -> Agent[Any, Any] | Planner[Any, Any]:
    """Import an agent or a planner.

    Raises:
        ConfigurationError: The reference leads nowhere, or to something that is neither.
    """
    from agentflow.agent import Agent
    from agentflow.planner import Planner

    found = load_object(reference)
    if not isinstance(found, (Agent, Planner)):
        raise ConfigurationError(
            f"{reference!r} is a {type(found).__name__}, not an Agent",
            hint="name a module-level variable that holds an Agent or a Planner",
        )
    return found


def _is_planner(found: object) -> bool:
    from agentflow.planner import Planner

    return isinstance(found, Planner)


def _read_task(task: str | None, *, resume: str | None, journal: Path | None) -> str | None:
    """Read the task, if there is one, and check that it goes with the other options."""
    if resume is None:
        return None if task is None else read_prompt(task)
    if task is not None:
        raise ConfigurationError("a run that is resumed has its task already", hint="leave the task out")
    if journal is None:
        raise ConfigurationError(
            "--resume needs the journal of the run", hint=f"add --journal FILE, or set {JOURNAL_VARIABLE}"
        )
    return None


def _check_approval(text: str | None) -> ApprovalMode | None:
    from typing import get_args

    from agentflow.cli.asking import ApprovalMode

    modes: dict[str, ApprovalMode] = {mode: mode for mode in get_args(ApprovalMode)}
    if text is not None and text not in modes:
        raise ConfigurationError(f"--approve must be one of {', '.join(modes)}, got {text!r}")
    return None if text is None else modes[text]


def _default_approval() -> ApprovalMode:
    """Ask where somebody can answer."""
    import sys

    return "ask" if sys.stdin.isatty() else "never"


def _load_dependencies(reference: str | None) -> Any:
    if reference is None:
        return None
    found = load_object(reference)
    return found() if callable(found) else found
