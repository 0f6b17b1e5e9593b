"""``agentflow decode``: one prompt, one JSON value that is valid against a schema."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from agentflow.cli.reading import read_json, read_prompt
from agentflow.errors import ConfigurationError, SchemaBudgetError


def decode(
    prompt: Annotated[str, typer.Argument(help="What to write; - reads it from the standard input.")],
    schema: Annotated[Path, typer.Option("--schema", metavar="S.json", help="The JSON Schema of the answer.")],
    model: Annotated[str, typer.Option(help="'embedded', a folder, or the name of a checkpoint.")] = "embedded",
    seed: Annotated[int | None, typer.Option(help="Seed of the draw.")] = None,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Token budget of the answer.")] = None,
) -> None:
    """Print a JSON value that is valid against a schema."""
    loaded_schema, text = read_json(schema), read_prompt(prompt)
    from agentflow.model import load_model
    from agentflow.types import GenerationSettings

    settings = GenerationSettings(seed=seed, max_new_tokens=max_tokens)
    with load_model(model) as loaded:
        try:
            value = loaded.decode_sync(loaded_schema, text, settings=settings)
        except SchemaBudgetError as error:
            raise ConfigurationError(error.message, hint="raise --max-tokens") from error
    typer.echo(json.dumps(value, ensure_ascii=False))
