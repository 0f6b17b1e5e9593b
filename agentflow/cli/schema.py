"""``agentflow schema check``: can decoding hold to a JSON Schema, and does it take a value?

Two judges look at a value: the grammar that holds the decoder, and the independent validator `jsonschema`.
The grammar takes values in one form only, see `agentflow.cli.canonical`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from agentflow.cli.canonical import canonical_json
from agentflow.cli.reading import read_json
from agentflow.cli.tokens import read_vocabulary
from agentflow.errors import InvalidSchemaError, SchemaError, UnsupportedSchemaError

if TYPE_CHECKING:
    from agentflow.constraint import Constraint, Vocabulary

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
    values = [] if instance is None else [read_json(instance)]
    try:
        constraint = compile_schema(schema, read_vocabulary(model))
    except SchemaError as error:
        typer.echo(describe_error(error))
        raise typer.Exit(1) from error
    typer.echo(describe_size(constraint))
    verdicts = [verdict for value in values for verdict in judge(value, schema, constraint)]
    for verdict in verdicts:
        typer.echo(verdict.text)
    if not all(verdict.is_taken for verdict in verdicts):
        raise typer.Exit(1)


class Verdict(NamedTuple):
    """What a judge says of a value."""

    is_taken: bool
    text: str


def compile_schema(schema: Any, vocabulary: Vocabulary) -> Constraint:
    """Compile a schema to the automaton of its JSON values.

    Raises:
        SchemaError: It is no schema, uses what cannot be expressed, or no value satisfies it.
    """
    from agentflow.constraint import compile_constraint, json_grammar

    return compile_constraint(json_grammar(schema), vocabulary)


def describe_error(error: SchemaError) -> str:
    """Say in one line why decoding cannot hold to a schema."""
    if isinstance(error, UnsupportedSchemaError):
        return f"not supported: {error.message}"
    return (
        f"not a JSON Schema: {error.message}" if isinstance(error, InvalidSchemaError) else f"no value: {error.message}"
    )


def describe_size(constraint: Constraint) -> str:
    """Say in one line how large the automaton is, and how short and long its values are."""
    size = constraint.statistics()
    longest = "no upper bound" if size.max_tokens is None else f"at most {size.max_tokens} tokens"
    return (
        f"supported: {size.num_states} states, {size.num_edges} edges, {size.num_labels} labels; "
        f"a value takes at least {size.min_tokens} tokens with its end token, {longest}"
    )


def judge(value: Any, schema: Any, constraint: Constraint) -> tuple[Verdict, Verdict]:
    """Ask the grammar and `jsonschema` whether they take a value."""
    from jsonschema.validators import validator_for

    text = canonical_json(value, schema)
    is_accepted = constraint.find_tokens(text.encode()) is not None
    error = next(iter(validator_for(schema)(schema).iter_errors(value)), None)
    return (
        Verdict(is_accepted, f"grammar: {'accepts' if is_accepted else 'rejects'} {text}"),
        Verdict(
            error is None,
            f"jsonschema: {'valid' if error is None else f'not valid: {error.message} (at {error.json_path})'}",
        ),
    )
