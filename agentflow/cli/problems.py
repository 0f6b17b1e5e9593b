"""How a command ends that does not end well: an error of the library, or a signal."""

from __future__ import annotations

import signal

import typer

from agentflow.errors import AgentflowError


class Stopped(BaseException):
    """A signal stopped what was running, and all of it has ended.

    Attributes:
        exit_code: What the shell is told: 130 after Ctrl-C, 143 after SIGTERM.
    """

    def __init__(self, signal_number: int) -> None:
        """Say which signal it was."""
        super().__init__(f"stopped by {signal.Signals(signal_number).name}")
        self.exit_code = 128 + signal_number


def print_error(error: AgentflowError) -> None:
    """Print the message of an error and its hint to the error stream."""
    typer.echo(f"error: {error.message}", err=True)
    if error.hint:
        typer.echo(f"hint: {error.hint}", err=True)
