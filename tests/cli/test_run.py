"""``agentflow run`` with agents that stand in a module of the current directory."""

import json
import sys

import pytest

from agentflow.cli.app import main

MODULE = '''
from agentflow import Agent, GenerationSettings, ScriptedBackend, tool
from agentflow.backend.scripted import call

@tool
def double(number: int) -> int:
    """Double a number.

    Args:
        number: The number.
    """
    return 2 * number

script = ScriptedBackend([call("double", number=21), {"answer": 42}], num_draft_steps=2)
schema = {"type": "object", "properties": {"answer": {"type": "integer"}}, "required": ["answer"]}
settings = GenerationSettings(max_new_tokens=99)
doubler = Agent(script, tools=[double], output_type=schema, settings=settings)
silent = Agent(ScriptedBackend([]))
not_an_agent = 42
'''


@pytest.fixture
def agents(tmp_path, monkeypatch):
    """Stand in a folder with a module ``my_agents``; forget the module afterwards."""
    (tmp_path / "my_agents.py").write_text(MODULE)
    (tmp_path / "broken.py").write_text("import no_such_module_anywhere")
    (tmp_path / "raising.py").write_text("1 / 0")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    for name in ("my_agents", "broken", "raising"):
        sys.modules.pop(name, None)


@pytest.mark.usefixtures("agents")
def test_run_shows_the_calls_and_the_output(capsys):
    """On a pipe the run is told line by line, ending with the output and the figures."""
    assert main(["run", "my_agents:doubler", "Double 21."]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "  call   double(number=21)" in lines
    assert "  result 42" in lines
    assert lines[-2] == "{'answer': 42}"
    assert lines[-1].startswith("output tokens ")


@pytest.mark.usefixtures("agents")
def test_json_is_the_only_line(capsys):
    """With --json, programs get one line with output, usage and figures."""
    assert main(["run", "my_agents:doubler", "Double 21.", "--json"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    told = json.loads(line)
    assert told["output"] == {"answer": 42}
    assert told["usage"]["tool_calls"] == 1


@pytest.mark.usefixtures("agents")
def test_seed_joins_the_settings_of_the_agent():
    """--seed changes the seed and nothing else."""
    assert main(["run", "my_agents:doubler", "Double 21.", "--seed", "7", "--json"]) == 0
    requests = sys.modules["my_agents"].script.requests
    assert requests[0].settings.seed is not None
    assert requests[0].settings.max_new_tokens == 99


@pytest.mark.usefixtures("agents")
@pytest.mark.parametrize(
    ("reference", "part"),
    [
        ("my_agents", "names no agent"),
        ("my_agents:", "names no agent"),
        ("nowhere:agent", "no module 'nowhere'"),
        ("my_agents:missing", "it has: "),
        ("my_agents:not_an_agent", "is a int, not an Agent"),
        ("broken:agent", "importing 'broken' failed"),
        ("raising:agent", "ZeroDivisionError"),
    ],
)
def test_a_wrong_reference_is_a_clear_usage_error(reference, part, capsys):
    """The message names what is wrong and the cure."""
    assert main(["run", reference, "Hello."]) == 2
    assert part in capsys.readouterr().err


@pytest.mark.usefixtures("agents")
def test_a_failed_run_ends_with_1(capsys):
    """A backend that fails is no usage error."""
    assert main(["run", "my_agents:silent", "Hello."]) == 1
    assert "error: the script" in capsys.readouterr().err


@pytest.mark.usefixtures("agents")
def test_an_empty_task_is_a_usage_error(capsys):
    """Nothing is run for an empty task."""
    assert main(["run", "my_agents:doubler", " "]) == 2
    assert "the prompt is empty" in capsys.readouterr().err
