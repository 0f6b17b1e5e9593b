"""Processes that are really killed, at random moments, and resumed."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest

from agentflow.journal import Journal

NUM_STEPS = 25
TIMEOUT_S = 60

# A server that has imported everything already and forks a process per line that it reads, so that hundreds
# of kills take seconds. The process runs or resumes one journal; its tool appends a line to a file.
SERVER = f"""
import json, os, sys
from agentflow.agent import Agent
from agentflow.backend.scripted import ScriptedBackend, call
from agentflow.journal import Journal
from agentflow.tool import tool

def script(request):
    number = sum(type(m).__name__ == "AssistantMessage" for m in request.messages)
    return [call("send", number=2 * number), call("send", number=2 * number + 1)] if number < {NUM_STEPS} else "done"

def work(folder):
    @tool
    def send(number: int) -> int:
        file = os.open(folder + "/sent", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(file, b"%d\\n" % number)
        os.close(file)
        return number

    with Journal(folder + "/runs.db") as journal:
        result = Agent(ScriptedBackend(script), tools=[send]).run_sync("go", journal=journal, run_id="r")
    unknown = [r.call_id for r in result.results if r.is_error]
    told = [c.arguments["number"] for c in result.calls if c.id in unknown]
    with open(folder + "/telling", "w") as file:
        json.dump([result.output, told], file)
    os.rename(folder + "/telling", folder + "/told")

for line in sys.stdin:
    pid = os.fork()
    if not pid:
        work(line.strip())
        os._exit(0)
    print(pid, flush=True)
    print(os.waitpid(pid, 0)[1], flush=True)
"""


@pytest.fixture
def server():
    """The process that forks processes to be killed."""
    process = subprocess.Popen([sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # noqa: S603 # ours
    with process:
        yield process
        process.stdin.close()


def _run_and_kill(server, folder, *, num_lines, extra_s):
    """Let one process work until its tool has written some lines, and a little longer, and kill it.

    Returns:
        Whether the run had reached its end before its process was killed.
    """
    sent, told = folder / "sent", folder / "told"
    num_wanted = min(_num_lines(sent) + num_lines, 2 * NUM_STEPS)
    server.stdin.write(f"{folder}\n")
    server.stdin.flush()
    pid = int(server.stdout.readline())
    given_up_at = time.monotonic() + TIMEOUT_S
    while _num_lines(sent) < num_wanted and not told.exists():
        assert time.monotonic() < given_up_at, "the process stands still, or died of itself"
        time.sleep(0.0005)
    time.sleep(extra_s)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    server.stdout.readline()
    return told.exists()


def _num_lines(file):
    return file.read_bytes().count(b"\n") if file.exists() else 0


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_runs_end_with_every_call_made_once_or_reported(server, tmp_path):
    """Two runs of fifty calls that are not idempotent, killed again and again with SIGKILL until they end.

    Each number stands in the file exactly once, but for those that the model was told are unknown, which stand
    there at most once. All runs end with the same output.
    """
    rng = random.Random(20)  # noqa: S311 # no secret
    num_kills = 0
    for i in range(2):
        folder = tmp_path / str(i)
        folder.mkdir()
        while not _run_and_kill(server, folder, num_lines=rng.randint(1, 12), extra_s=rng.uniform(0, 0.003)):
            num_kills += 1
        output, told = json.loads((folder / "told").read_text())
        sent = [int(line) for line in (folder / "sent").read_text().split()]
        assert output == "done"
        assert len(set(sent)) == len(sent), "a call was made twice"
        assert set(sent) | set(told) == set(range(2 * NUM_STEPS)), "a call was lost"
        with Journal(folder / "runs.db") as journal:
            assert journal.get("r").reason == "output"
    assert num_kills >= 4, "too few kills hit a running process to say anything"
