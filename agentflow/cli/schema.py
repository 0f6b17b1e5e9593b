"""``agentflow schema check``: can decoding hold to a JSON Schema, and does it take a value?

Two judges look at a value: the grammar that holds the decoder, and the independent validator `jsonschema`.
The grammar takes values in one form only, compact JSON with its keys in the order of the schema.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agentflow.cli.reading import read_json

if TYPE_CHECKING:
    pass

app = typer.Typer(help="Look at JSON Schemas.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Keep ``check`` a subcommand, so that others can stand beside it."""


@app.command("check")
def check(
    path: Annotated[Path, typer.Argument(metavar="S.json", help="The JSON Schema; - reads the standard input.")],
    instance: Annotated[Path | None, typer.Option(metavar="I.json", help="A JSON value to try.")] = None,
    model: Annotated[str, typer.Option(help="Whose tokens to count in: 'embedded', a folder or a name.")] = "embedded",
) -> None:
    """Say whether decoding can hold to a schema, and whether it takes a value.

    Ends with 0 when the schema is supported (and the value taken), with 1 when not.
    """
    schema = read_json(path)
    instance_value = None if instance is None else read_json(instance)
    raise typer.Exit(1)
