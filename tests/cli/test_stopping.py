"""Ctrl-C: the run ends in good order, the journal keeps it, and the command says how to go on."""

import json
import os
import signal
import subprocess
import sys

import anyio
import pytest

from agentflow.cli.problems import Stopped
from agentflow.cli.stopping import run_until_stopped
from agentflow.journal import Journal

MODULE = '''
import sys
import time
import anyio
from agentflow import Agent, ScriptedBackend, tool
from agentflow.backend.scripted import call

@tool
async def wait(number: int) -> int:
    """Wait.

    Args:
        number: A number.
    """
    if number == 3:
        print("now", file=sys.stderr, flush=True)
        await anyio.sleep(60 if "--resume" not in sys.argv else 0)
    return number

def reply(request):
    num_done = sum(len(getattr(message, "results", ())) for message in request.messages)
    return call("wait", number=num_done) if num_done < 5 else "All done."

waiter = Agent(ScriptedBackend(reply), tools=[wait])
'''


def start(folder, *arguments):
    """Start the command in a process of its own."""
    (folder / "my_agents.py").write_text(MODULE)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-c", "from agentflow.cli.app import main; raise SystemExit(main())", *arguments]
    return subprocess.Popen(  # noqa: S603 # this interpreter
        command, cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_run_is_kept_and_can_be_resumed(tmp_path, number, exit_code):
    """The command that is printed finishes the run without making a finished call again."""
    with start(tmp_path, "run", "my_agents:waiter", "Wait.", "--journal", "runs.sqlite") as run:
        assert run.stderr.readline() == "now\n"
        run.send_signal(number)
        _, told = run.communicate(timeout=60)
    assert run.returncode == exit_code, told
    assert "stopped; the journal keeps the run" in told
    command = told.splitlines()[-1].split()
    assert command[:3] == ["agentflow", "run", "my_agents:waiter"]
    with Journal(tmp_path / "runs.sqlite") as journal:
        (record,) = journal.runs()
    assert record.reason == "cancelled"
    with start(tmp_path, *command[1:], "--retry-unknown", "--json") as run:
        printed, told = run.communicate(timeout=60)
    assert run.returncode == 0, told
    lines = [json.loads(line) for line in printed.splitlines()]
    assert lines[-1]["output"] == "All done."
    assert [e["call"]["arguments"]["number"] for e in lines if e["event"] == "CallFinished"] == [3, 4]


def test_work_that_is_not_disturbed_gives_its_value():
    """Without a signal the watch changes nothing, and errors come out as they are."""

    async def work():
        return 42

    async def fail():
        raise ValueError("no")

    assert anyio.run(run_until_stopped, work) == 42
    with pytest.raises(ValueError, match="no"):
        anyio.run(run_until_stopped, fail)


@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_cancels_the_work_and_names_itself(number, exit_code):
    """What was started gets to clean up before the stop is told."""
    cleaned = []

    async def work():
        try:
            signal.raise_signal(number)
            await anyio.sleep(60)
        finally:
            cleaned.append(True)

    with pytest.raises(Stopped) as stopped:
        anyio.run(run_until_stopped, work)
    assert stopped.value.exit_code == exit_code
    assert cleaned == [True]
