"""``agentflow run`` without a task: a conversation."""

import json
import signal
import sys

import pytest

from agentflow.cli.app import main

MODULE = '''
import signal
import anyio
from agentflow import Agent, ScriptedBackend, UserMessage, tool
from agentflow.backend.scripted import call
from agentflow.errors import BackendError

def reply(request):
    said = [message.text for message in request.messages if isinstance(message, UserMessage)]
    if said[-1] == "fail":
        raise BackendError("the device is gone")
    return call("rest") if said[-1] == "stop" else " | ".join(said)

@tool
async def rest() -> str:
    """Rest until somebody presses Ctrl-C."""
    signal.raise_signal(signal.SIGINT)
    await anyio.sleep(60)

parrot = Agent(ScriptedBackend(reply), name="parrot", tools=[rest])
'''


@pytest.fixture
def talk(tmp_path, monkeypatch, capsys):
    """Give a function that types lines to the parrot and returns the exit code, the output and the error output."""
    (tmp_path / "my_parrot.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))

    def say(*lines, is_person=True, options=()):
        typed = list(lines)

        def read(_prompt=""):
            if not typed:
                raise EOFError
            if isinstance(typed[0], BaseException):
                raise typed.pop(0)
            return typed.pop(0)

        monkeypatch.setattr("builtins.input", read)
        monkeypatch.setattr(sys.stdin, "isatty", lambda: is_person, raising=False)
        code = main(["run", "my_parrot:parrot", *options])
        return code, *capsys.readouterr()

    yield say
    sys.modules.pop("my_parrot", None)


def test_the_conversation_goes_on(talk):
    """Every turn sees what was said before; Ctrl-D ends well."""
    code, printed, _ = talk("one", "", "two")
    assert code == 0
    assert "one | two" in printed.splitlines()


def test_a_new_conversation_knows_nothing_of_the_old(talk):
    """/new forgets, /help tells, /quit ends before the rest is read."""
    code, printed, _ = talk("one", "/new", "two", "/help", "/quit", "three")
    lines = printed.splitlines()
    assert code == 0
    assert "two" in lines
    assert not any("three" in line for line in lines)


def test_ctrl_c_at_the_prompt_only_tells_how_to_end(talk):
    """Whoever presses Ctrl-C out of habit loses nothing."""
    code, printed, _ = talk("one", KeyboardInterrupt(), "two")
    assert code == 0
    assert "one | two" in printed.splitlines()
    assert "/quit ends" in printed


def test_ctrl_c_stops_the_turn_and_not_the_conversation(talk):
    """A turn that is stopped stays in the history; the next one goes on."""
    code, printed, told = talk("one", "stop", "two")
    assert code == 0
    assert "one | stop | two" in printed.splitlines()
    assert "stopped" in told


def test_a_turn_that_fails_is_left_out(talk):
    """After an error the conversation goes on as if the turn had not been."""
    code, printed, told = talk("one", "fail", "two")
    assert code == 0
    assert "the device is gone" in told
    assert "one | two" in printed.splitlines()


def test_a_pipe_is_a_conversation_too(talk):
    """Without a terminal there is no prompt; the first error ends it."""
    code, printed, told = talk("one", "fail", "two", is_person=False)
    assert code == 1
    assert "you>" not in printed
    assert "one" in printed.splitlines()
    assert "the device is gone" in told


def test_a_pipe_is_stopped_by_a_signal(talk):
    """Nobody is there to go on, so Ctrl-C ends the command."""
    assert talk("stop", "two", is_person=False)[0] == 128 + signal.SIGINT


def test_json_tells_every_turn(talk):
    """A program gets the events of each turn, each closed by its result."""
    code, printed, _ = talk("one", "two", is_person=False, options=["--json"])
    results = [entry["output"] for entry in map(json.loads, printed.splitlines()) if entry["event"] == "Result"]
    assert (code, results) == (0, ["one", "one | two"])


def test_every_turn_is_a_run_of_the_journal(talk, capsys):
    """What was said can be looked at afterwards, the history with it."""
    talk("one", "two", options=["--journal", "runs.sqlite"])
    assert main(["runs", "list", "--journal", "runs.sqlite", "--json"]) == 0
    runs = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(run["task"], run["state"]) for run in runs] == [("one", "done"), ("two", "done")]
