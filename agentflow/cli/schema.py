"""``agentflow schema check``: can decoding hold to a JSON Schema, and does it take a value?

Two judges look at a value: the grammar that holds the decoder, and the independent validator `jsonschema`.
The grammar takes values in one form only: properties in the order of the schema, numbers plainly.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, TypeAlias

import typer

from agentflow.cli.reading import read_json
from agentflow.cli.tokens import read_vocabulary
from agentflow.errors import InvalidSchemaError, SchemaError, UnsupportedSchemaError

if TYPE_CHECKING:
    from agentflow.constraint import Constraint, Vocabulary

SurfaceName: TypeAlias = Literal["json", "gemma"]

app = typer.Typer(help="Look at JSON Schemas.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Keep ``check`` a subcommand, so that others can stand beside it."""


@app.command("check")
def check(
    path: Annotated[Path, typer.Argument(metavar="S.json", help="The JSON Schema; - reads the standard input.")],
    instance: Annotated[Path | None, typer.Option(metavar="I.json", help="A JSON value to try.")] = None,
    model: Annotated[str, typer.Option(help="Whose tokens to count in: 'embedded', a folder or a name.")] = "embedded",
    surface: Annotated[SurfaceName, typer.Option(help="How values are written: JSON, or as in a tool call.")] = "json",
) -> None:
    """Say whether decoding can hold to a schema, and whether it takes a value.

    Ends with 0 when the schema is supported (and the value taken), with 1 when not.
    """
    schema = read_json(path)
    values = [] if instance is None else [read_json(instance)]
    try:
        report = examine(schema, read_vocabulary(model), surface)
    except SchemaError as error:
        typer.echo(describe_error(error))
        raise typer.Exit(1) from error
    for line in report.lines:
        typer.echo(line)
    verdicts = [verdict for value in values for verdict in judge(value, schema, report.constraint, surface)]
    for verdict in verdicts:
        typer.echo(verdict.text)
    if not report.is_supported or not all(verdict.is_taken for verdict in verdicts):
        raise typer.Exit(1)


class Report(NamedTuple):
    """What was found out about a schema."""

    is_supported: bool
    constraint: Constraint
    lines: list[str]


class Verdict(NamedTuple):
    """What a judge says of a value."""

    is_taken: bool
    text: str


def examine(schema: Any, vocabulary: Vocabulary, surface: SurfaceName = "json") -> Report:
    """Compile a schema, as far as it can be expressed, and say what that gives.

    Raises:
        SchemaError: It is no schema, no value satisfies it, or it is too large.
    """
    from agentflow.constraint import compile_constraint, json_grammar

    compile_constraint(json_grammar({"type": "string"}), vocabulary)  # load what every schema needs
    started = time.perf_counter()
    grammar = json_grammar(schema, surface=surface, on_unsupported="check")
    constraint = compile_constraint(grammar, vocabulary)
    num_ms = (time.perf_counter() - started) * 1e3
    lines = [f"not supported: {keyword} at {pointer or '/'}" for keyword, pointer in grammar.unchecked]
    start = "supported"
    if lines:
        lines.append('cure: remove it, or decode with on_unsupported="check", which checks the value afterwards')
        start = "the rest"
    lines.append(f"{start}: {describe_size(constraint)}; compiled in {num_ms:.0f} ms")
    if grammar.is_cut:
        lines.append("cut off: values in which the schema recurs more often than the limits allow are left out")
    return Report(not grammar.unchecked, constraint, lines)


def compile_schema(schema: Any, vocabulary: Vocabulary, surface: SurfaceName = "json") -> Constraint:
    """Compile a schema to the automaton of its values.

    Raises:
        SchemaError: It is no schema, uses what cannot be expressed, or no value satisfies it.
    """
    from agentflow.constraint import compile_constraint, json_grammar

    return compile_constraint(json_grammar(schema, surface=surface), vocabulary)


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
        f"{size.num_states} states, {size.num_edges} edges, {size.num_atoms} token classes; "
        f"a value takes at least {size.min_tokens} tokens with its end token, {longest}"
    )


def judge(value: Any, schema: Any, constraint: Constraint, surface: SurfaceName = "json") -> tuple[Verdict, Verdict]:
    """Ask the grammar and `jsonschema` whether they take a value."""
    from agentflow.constraint.canonical import canonical_run
    from agentflow.constraint.judge import find_problem
    from agentflow.constraint.membership import takes
    from agentflow.constraint.schema import SchemaTree

    run = canonical_run(value, SchemaTree(schema, unchecked=[]), surface=surface)
    text = "".join(piece if isinstance(piece, str) else piece.text for piece in run)
    is_accepted = takes(constraint, run)
    problem = find_problem(value, schema)
    return (
        Verdict(is_accepted, f"grammar: {'accepts' if is_accepted else 'rejects'} {text}"),
        Verdict(problem is None, f"jsonschema: {'valid' if problem is None else f'not valid: {problem}'}"),
    )
