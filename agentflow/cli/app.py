"""The command ``agentflow``: its subcommands, and how a command ends.

    0    done
    1    a run failed, a task was not solved, or a checked schema or value is not fine
    2    the command was used wrongly: an option, a file, a model or a schema that cannot be used
    130  Ctrl-C (143 after SIGTERM)

An error of the library is one message with its hint; ``--debug`` shows the traceback.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from agentflow.cli import bench, decode, demo, run, runs, schema
from agentflow.cli.problems import Stopped, print_error
from agentflow.errors import AgentflowError, UsageError

app = typer.Typer(
    help="Agents whose model drafts in parallel.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("demo")(demo.demo)
app.command("run")(run.run)
app.add_typer(runs.app, name="runs")
app.command("decode")(decode.decode)
app.add_typer(schema.app, name="schema")
app.command("bench")(bench.bench)


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Hold the options that every command has."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: What stands after ``agentflow`` on the command line; the process's own by default.

    Returns:
        The exit code.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    is_debugging = "--debug" in given
    given = ["--debug", *(argument for argument in given if argument != "--debug")] if is_debugging else given
    _survive_poor_encodings()
    try:
        app(given)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    except AgentflowError as error:
        if is_debugging:
            raise
        print_error(error)
        return 2 if isinstance(error, UsageError) else 1
    except Stopped as stop:
        return stop.exit_code
    except KeyboardInterrupt:
        return 130
    return 0


def _survive_poor_encodings() -> None:
    """Let a terminal without Unicode show a stand-in instead of ending the program."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
