"""``agentflow runs``: looking at a journal."""

import json

import pytest

from agentflow import Agent, ScriptedBackend, tool
from agentflow.backend.scripted import call
from agentflow.cli.app import main
from agentflow.errors import BackendError
from agentflow.journal import Journal

TOOL_RUNS = []


@tool
def double(number: int) -> int:
    """Double a number."""
    TOOL_RUNS.append(number)
    return 2 * number


@pytest.fixture
def journal(tmp_path, monkeypatch):
    """Record a run that ended well and one that failed."""
    path = tmp_path / "runs.sqlite"
    with Journal(path) as opened:
        script = [call("double", number=1), call("double", number=2), {"total": 6}]
        good = Agent(ScriptedBackend(script), tools=[double], name="good", output_type=dict)
        good.run_sync("Double 1 and 2.", journal=opened, run_id="first-run")
        bad = Agent(ScriptedBackend([call("double", number=3), BackendError("it broke")]), tools=[double], name="bad")
        with pytest.raises(BackendError):
            bad.run_sync("Double\n3.", journal=opened, run_id="second-run")
    TOOL_RUNS.clear()
    monkeypatch.setenv("AGENTFLOW_JOURNAL", str(path))
    return path


@pytest.mark.usefixtures("journal")
def test_the_list_is_one_line_per_run(capsys):
    """On a pipe fields stand between tabs: id, agent, state, start, task."""
    assert main(["runs", "list"]) == 0
    first, second = (line.split("\t") for line in capsys.readouterr().out.splitlines())
    assert (first[0], first[1], first[2], first[4]) == ("first-run", "good", "done", "Double 1 and 2.")
    assert (second[0], second[1], second[2], second[4]) == ("second-run", "bad", "failed", "Double 3.")


def test_the_list_takes_its_journal_as_an_option(journal, monkeypatch, capsys):
    """--journal does what the variable does; --unfinished leaves out what is done."""
    monkeypatch.delenv("AGENTFLOW_JOURNAL")
    assert main(["runs", "list", "--journal", str(journal), "--unfinished", "--json"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line)["run_id"] == "second-run"


@pytest.mark.usefixtures("journal")
def test_a_run_is_shown_with_its_calls_and_its_end(capsys):
    """The start of an id is enough."""
    assert main(["runs", "show", "first"]) == 0
    printed = capsys.readouterr().out
    for part in ("first-run", "Double 1 and 2.", "double(number=2)", "result 4", 'answer {"total": 6}', "done after"):
        assert part in printed


@pytest.mark.usefixtures("journal")
def test_a_run_as_json(capsys):
    """Programs get the record, the conversation at the start and the events."""
    assert main(["runs", "show", "second-run", "--json"]) == 0
    run = json.loads(capsys.readouterr().out)
    assert run["messages"] == [{"kind": "UserMessage", "text": "Double\n3."}]
    assert run["events"][-1]["error"] == "it broke"


@pytest.mark.usefixtures("journal")
def test_a_replay_touches_no_tool(capsys):
    """The same events come again, and nothing runs."""
    assert main(["runs", "replay", "first-run", "--json"]) == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [e["result"]["content"] for e in events if e["event"] == "CallFinished"] == [2, 4]
    assert events[-1]["event"] == "RunFinished"
    assert main(["runs", "replay", "first-run"]) == 0
    assert "double(number=1)" in capsys.readouterr().out
    assert TOOL_RUNS == []


def test_a_fork_keeps_the_turns_up_to_one(journal, capsys):
    """The copy goes on from there with what was done kept, the original stays."""
    assert main(["runs", "fork", "first", "--after-turn", "1", "--id", "other-way"]) == 0
    told = capsys.readouterr()
    assert told.out == "other-way\n"
    assert "--resume other-way" in told.err
    with Journal(journal) as opened:
        agent = Agent(ScriptedBackend(["Two is enough."]), tools=[double], name="good")
        assert agent.run_sync("Double 1 and 2.", journal=opened, run_id="other-way").output == "Two is enough."
        assert opened.get("first-run").reason == "output"
    assert TOOL_RUNS == []


@pytest.mark.usefixtures("journal")
@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["show", "third"], "no run begins with 'third'"),
        (["show", ""], "no run begins"),
        (["replay", "x"], "first-run, second-run"),
        (["fork", "first", "--after-turn", "9"], "has 3 turns"),
        (["fork", "first", "--after-turn", "1", "--id", "second-run"], "already"),
        (["list", "--journal", "nowhere.sqlite"], "there is no journal"),
    ],
)
def test_what_is_not_there_is_a_clear_usage_error(arguments, part, capsys):
    """The message names what is there instead."""
    assert main(["runs", *arguments]) == 2
    assert part in capsys.readouterr().err


def test_runs_inside_a_run_are_told_where_they_happened(tmp_path, capsys):
    """What a nested agent did stands between the call that started it and its result, further in."""
    path = tmp_path / "nested.sqlite"
    inner = Agent(ScriptedBackend([call("double", number=4), "Eight."]), tools=[double], name="inner")
    outer = Agent(ScriptedBackend([call("inner", task="Double 4."), "It is eight."]), tools=[inner.as_tool()])
    with Journal(path) as opened:
        outer.run_sync("Ask.", journal=opened, run_id="outer-run")
    assert main(["runs", "show", "outer-run", "--journal", str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    nested = lines.index("      call   double(number=4)")
    assert nested < lines.index('  call   inner(task="Double 4.")') < lines.index("  answer It is eight.")
