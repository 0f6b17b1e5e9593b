"""A conversation with an agent at the terminal: every line is a turn of the person, and the history is kept.

Ctrl-C stops the agent's turn and keeps the conversation so far; Ctrl-D ends it.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

from rich.text import Text

from agentflow.cli.asking import read_line
from agentflow.cli.figures import short_figures
from agentflow.cli.problems import print_error
from agentflow.cli.session import RunStopped
from agentflow.errors import AgentflowError, UsageError

if TYPE_CHECKING:
    from agentflow.cli.run import Desk
    from agentflow.cli.session import Outcome
    from agentflow.types import Message

PROMPT: Final = "you> "
HELP: Final = "/new forgets what was said · Ctrl-C stops the agent · Ctrl-D or /quit ends"


def chat(desk: Desk) -> None:
    """Talk until the person ends it."""
    is_person = sys.stdin.isatty()
    if is_person:
        desk.console.print(Text.assemble(("chat with ", "dim"), (desk.agent.name, "bold")))
        desk.console.print(HELP, style="dim", highlight=False)
    history: tuple[Message, ...] = ()
    while (text := _read(desk, is_person=is_person)) is not None:
        match text:
            case "":
                continue
            case "/quit" | "/exit":
                return
            case "/new":
                history = ()
                desk.console.print("the conversation is forgotten", style="dim")
            case "/help":
                desk.console.print(HELP, style="dim", highlight=False)
            case _:
                history = _talk(desk, text, history, is_person=is_person)


def _read(desk: Desk, *, is_person: bool) -> str | None:
    """Wait for what the person says; `None` at the end."""
    while True:
        try:
            return read_line(PROMPT if is_person else "", is_on_stderr=desk.is_json).strip()
        except EOFError:
            if is_person:
                desk.console.print()
            return None
        except KeyboardInterrupt:
            desk.console.print("\nCtrl-D or /quit ends", style="dim", highlight=False)


def _talk(desk: Desk, text: str, history: tuple[Message, ...], *, is_person: bool) -> tuple[Message, ...]:
    """Do one exchange and give the conversation after it; one that failed is left out of it.

    Raises:
        UsageError: The first exchange already shows that the agent cannot be used.
        AgentflowError: The run failed, and nobody is there to go on.
    """
    try:
        outcome = desk.run(text, history=history)
    except RunStopped as stopped:
        if not is_person:
            raise
        return stopped.messages or history
    except AgentflowError as error:
        if not is_person or (isinstance(error, UsageError) and not history):
            raise
        print_error(error)
        return history
    _print_answer(desk, outcome)
    return outcome.messages


def _print_answer(desk: Desk, outcome: Outcome) -> None:
    if desk.is_json or not desk.console.is_terminal:
        desk.print_outcome(outcome)
        return
    answer = outcome.output if isinstance(outcome.output, str) else repr(outcome.output)
    desk.console.print(Text.assemble((f"{desk.agent.name}> ", "bold green"), answer))
    desk.console.print(short_figures(outcome.usage, duration_s=outcome.duration_s), style="dim", highlight=False)
