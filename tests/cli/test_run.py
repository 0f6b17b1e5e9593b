"""``agentflow run`` with agents that stand in a module of the current directory."""

import json
import sys

import pytest

from agentflow.cli.app import main

MODULE = '''
from agentflow import Agent, GenerationSettings, RunContext, ScriptedBackend, tool
from agentflow.backend.scripted import call
from agentflow.planner import Planner

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
deleted = []

@tool(is_destructive=True)
def delete(path: str) -> str:
    """Delete a file.

    Args:
        path: Path of the file.
    """
    deleted.append(path)
    return "gone"

deleter = Agent(ScriptedBackend([call("delete", path="a"), call("delete", path="b"), "Done."]), tools=[delete])

@tool
def owner(context: RunContext[str]) -> str:
    """Say who owns the place."""
    return context.deps

owned = Agent(ScriptedBackend([call("owner"), "Done."]), tools=[owner])
make_owner = lambda: "Ann"
plan = {"steps": [{"goal": "first", "tool": "double", "needs": []}, {"goal": "second", "tool": "double", "needs": []}]}
turns = [plan, call("double", number=1), call("double", number=2), "Two and four."]
planner = Planner(ScriptedBackend(turns), tools=[double])
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
def test_json_is_one_line_per_event_and_the_result_last(capsys):
    """With --json, programs get events as JSON lines, without drafts; the last one has output, usage and figures."""
    assert main(["run", "my_agents:doubler", "Double 21.", "--json"]) == 0
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    kinds = [entry["event"] for entry in told]
    assert kinds[0] == "RunStarted"
    assert kinds[-2:] == ["RunFinished", "Result"]
    assert "DraftUpdated" not in kinds
    (finished,) = [entry for entry in told if entry["event"] == "CallFinished"]
    assert (finished["call"]["arguments"], finished["result"]["content"]) == ({"number": 21}, 42)
    assert told[-1]["output"] == {"answer": 42}
    assert told[-1]["usage"]["tool_calls"] == 1


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


@pytest.fixture
def answers(monkeypatch):
    """Sit at the terminal: what is in the list is typed, then the input ends."""
    typed = []
    monkeypatch.setattr("builtins.input", lambda _="": typed.pop(0) if typed else raise_end())
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    return typed


def raise_end():
    """End the input."""
    raise EOFError


@pytest.mark.usefixtures("agents")
@pytest.mark.parametrize(
    ("mode", "typed", "deleted"),
    [
        (["--approve", "always"], [], ["a", "b"]),
        (["--approve", "never"], [], []),
        (["--approve", "ask"], ["y", "n"], ["a"]),
        (["--approve", "ask"], ["a"], ["a", "b"]),
        (["--approve", "ask"], ["", "no, keep it", "yes"], ["b"]),
        (["--approve", "ask"], ["e", "nonsense", "[]", '{"path": "c"}', "e", ""], ["c", "b"]),
        (["--approve", "ask"], [], []),
        ([], ["y", "y"], ["a", "b"]),
    ],
    ids=["always", "never", "yes and no", "all of this tool", "a reason", "edited", "nobody answers", "default asks"],
)
def test_calls_that_need_approval_are_decided_on(mode, typed, deleted, answers, capsys):
    """The person at the terminal says which calls run, and with which arguments."""
    answers.extend(typed)
    assert main(["run", "my_agents:deleter", "Delete both.", *mode]) == 0
    assert sys.modules["my_agents"].deleted == deleted
    assert ("May this run?" in capsys.readouterr().out) == (mode != ["--approve", "always"] and "never" not in mode)


@pytest.mark.usefixtures("agents")
def test_without_a_terminal_nothing_is_approved(monkeypatch):
    """A pipe cannot be asked, so a call that needs approval does not run."""
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False, raising=False)
    assert main(["run", "my_agents:deleter", "Delete both."]) == 0
    assert sys.modules["my_agents"].deleted == []


@pytest.mark.usefixtures("agents")
def test_dependencies_come_from_a_module(capsys):
    """--deps names what the tools are given, or a function that makes it."""
    assert main(["run", "my_agents:owned", "Whose?", "--deps", "my_agents:make_owner"]) == 0
    assert '  result "Ann"' in capsys.readouterr().out


@pytest.mark.usefixtures("agents")
@pytest.mark.parametrize(
    ("options", "part"),
    [
        (["Task", "--approve", "maybe"], "must be one of ask, every, always, never"),
        (["Task", "--resume", "x"], "has its task already"),
        (["--resume", "x"], "needs the journal"),
        (["--resume", "x", "--journal", "none.sqlite"], "there is no journal"),
        (["Task", "--retry-unknown"], "only goes with --resume"),
        (["Task", "--journal", "my_agents.py"], "my_agents.py"),
    ],
)
def test_options_that_do_not_go_together_are_usage_errors(options, part, capsys, monkeypatch):
    """The message says what is wrong, and nothing runs."""
    monkeypatch.delenv("AGENTFLOW_JOURNAL", raising=False)
    assert main(["run", "my_agents:doubler", *options]) == 2
    assert part in capsys.readouterr().err
    assert not sys.modules["my_agents"].script.requests


@pytest.mark.usefixtures("agents")
def test_a_planner_shows_its_plan(capsys):
    """A planner is run as an agent is; its plan is printed once, before its calls."""
    assert main(["run", "my_agents:planner", "Double 1 and 2.", "--journal", "runs.sqlite"]) == 0
    printed = capsys.readouterr().out
    assert printed.count("○ s1 double(…) - first") == 1
    assert printed.index("○ s2") < printed.index("call   double(number=1)")
    assert "Two and four." in printed.splitlines()
    assert main(["runs", "list", "--journal", "runs.sqlite"]) == 0
    assert "planner\tdone" in capsys.readouterr().out


@pytest.mark.usefixtures("agents")
def test_a_planner_does_not_chat(capsys):
    """Without a task there is nothing to plan."""
    assert main(["run", "my_agents:planner"]) == 2
    assert "cannot chat" in capsys.readouterr().err


@pytest.mark.usefixtures("agents")
def test_every_call_can_be_asked_about(answers, capsys):
    """--approve every stands before tools that need no approval, too."""
    answers.extend(["not now"])
    assert main(["run", "my_agents:doubler", "Double 21.", "--approve", "every"]) == 0
    assert "double was not approved and did not run: not now" in capsys.readouterr().out
