"""``agentflow decode`` with an untrained checkpoint: nonsense, but always valid."""

import io
import json
import sys

import pytest

from agentflow.cli.app import main

SCHEMA = {
    "type": "object",
    "properties": {"ok": {"type": "boolean"}, "size": {"enum": ["small", "large"]}},
    "required": ["ok", "size"],
    "additionalProperties": False,
}


@pytest.fixture
def schema(tmp_path):
    """Write the schema to a file."""
    path = tmp_path / "schema.json"
    path.write_text(json.dumps(SCHEMA))
    return str(path)


@pytest.mark.slow
def test_the_value_is_valid_and_depends_on_the_seed_alone(checkpoint, schema, capsys, monkeypatch):
    """One line of JSON that fits the schema; the prompt may come from the standard input."""
    arguments = ["decode", "--schema", schema, "--model", checkpoint, "--seed", "3"]
    assert main([*arguments, "Anything."]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    value = json.loads(line)
    assert set(value) == {"ok", "size"}
    assert value["size"] in SCHEMA["properties"]["size"]["enum"]
    monkeypatch.setattr(sys, "stdin", io.StringIO("Anything.\n"))
    assert main([*arguments, "-"]) == 0
    assert json.loads(capsys.readouterr().out) == value


@pytest.mark.slow
def test_a_budget_that_is_too_small_is_a_usage_error(checkpoint, schema, capsys):
    """The message says how many tokens are needed, and which option to raise."""
    assert main(["decode", "--schema", schema, "--model", checkpoint, "--max-tokens", "3", "Anything."]) == 2
    told = capsys.readouterr().err
    assert "the budget is 3" in told
    assert "raise --max-tokens" in told


def test_an_unknown_model_is_a_usage_error(schema, capsys):
    """The message names the model and says what could stand there."""
    assert main(["decode", "--schema", schema, "--model", "nowhere", "Anything."]) == 2
    assert "'nowhere'" in capsys.readouterr().err


def test_an_empty_prompt_is_a_usage_error(schema, capsys):
    """Nothing is loaded for an empty prompt."""
    assert main(["decode", "--schema", schema, " "]) == 2
    assert "the prompt is empty" in capsys.readouterr().err
