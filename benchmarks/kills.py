"""Kill runs at random moments and go on with them, until they end: does each end as an undisturbed one would have?

    python benchmarks/kills.py [--kills 200] [--seed 1] [--json benchmarks/results/kills.json]

Runs of three kinds (an agent, agents nested in an agent, a plan with an agent as a worker) send numbered messages with
a tool that is not idempotent. They are stopped again and again: by SIGKILL, by SIGTERM, and by a disk that is full. In
the end each run must have its output, with every message sent exactly once, or reported as unknown and sent at most
once; what was not unknown must have the result that it has in an undisturbed run.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio

from agentflow.agent import Agent, Limits
from agentflow.backend.scripted import ScriptedBackend, call
from agentflow.cli.problems import Stopped
from agentflow.cli.stopping import run_until_stopped
from agentflow.errors import JournalError
from agentflow.events import CallFinished
from agentflow.journal import Journal
from agentflow.planner import Planner
from agentflow.tool import Tool, tool
from agentflow.types import AssistantMessage, GenerationRequest, UserMessage

KINDS = ("agent", "nested", "plan")
MODES = ("SIGKILL", "SIGTERM", "disk full")
NUM_MESSAGES = 36
NUM_WORKERS = 4  # of a nested run; each sends its share
EXIT_DISK_FULL = 74
EXIT_TERMINATED = 128 + signal.SIGTERM
GIVE_UP_S = 60.0


# ---------------------------------------------------------------- the runs


def make_send(folder: Path) -> Tool[..., Any]:
    """Make the tool that has an effect: a line in a file."""

    @tool
    async def send(number: int) -> int:
        """Send a message. Not idempotent."""
        file = os.open(folder / "sent", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(file, b"%d\n" % number)
        os.close(file)
        await anyio.sleep(0.001)  # the effect is there, the result is not: the moment that matters
        return number * number

    return send


def num_turns(request: GenerationRequest) -> int:
    """Count the turns that the model has written."""
    return sum(isinstance(message, AssistantMessage) for message in request.messages)


def count_from(request: GenerationRequest, first: int, last: int, *, per_turn: int) -> Any:
    """Send the messages from `first` to before `last`, some in each turn, then say that it is done."""
    start = first + num_turns(request) * per_turn
    calls = [call("send", number=number) for number in range(start, min(last, start + per_turn))]
    return calls or f"sent {first} to {last}"


def make_agent(folder: Path) -> Agent[None, str]:
    """Make an agent that sends all messages, two in each turn."""
    script = ScriptedBackend(lambda request: count_from(request, 0, NUM_MESSAGES, per_turn=2))
    return Agent(script, tools=[make_send(folder)], name="agent")


def make_worker(folder: Path) -> Agent[None, str]:
    """Make an agent that sends the share of messages that its task names."""
    share = NUM_MESSAGES // NUM_WORKERS

    def script(request: GenerationRequest) -> Any:
        first = next(int(message.text) for message in request.messages if isinstance(message, UserMessage)) * share
        return count_from(request, first, first + share, per_turn=3)

    return Agent(ScriptedBackend(script), tools=[make_send(folder)], name="worker")


def make_nested(folder: Path) -> Agent[None, str]:
    """Make an agent that has two workers work at once, twice."""

    def script(request: GenerationRequest) -> Any:
        first = 2 * num_turns(request)
        return [call("worker", task=str(n)) for n in (first, first + 1)] if first < NUM_WORKERS else "all sent"

    return Agent(ScriptedBackend(script), tools=[make_worker(folder).as_tool()], name="nested")


def make_planner(folder: Path) -> Planner[None, str]:
    """Make a planner whose plan has a worker and single messages, some of which need others."""
    share = NUM_MESSAGES // NUM_WORKERS
    goals = ["worker", *map(str, range(share, NUM_MESSAGES))]

    def plan(told: str) -> Any:
        left = [goal for goal in goals if f"({goal}):" not in told]
        return {"steps": [make_step(goal, needs=[i] if i % 3 and not told else []) for i, goal in enumerate(left)]}

    def script(request: GenerationRequest) -> Any:
        texts = [message.text for message in request.messages if isinstance(message, UserMessage)]
        if request.tool_choice == "none":
            return "planned and sent" if request.output_schema is None else plan("".join(texts[1:]))
        goal = texts[0].partition("This step: ")[2]
        return call("worker", task="0") if goal == "worker" else call("send", number=int(goal))

    return Planner(
        ScriptedBackend(script),
        tools=[make_send(folder), make_worker(folder)],
        name="plan",
        max_steps=len(goals),
        max_replans=NUM_MESSAGES,
        limits=Limits(max_turns=None, max_calls=None),
    )


def make_step(goal: str, *, needs: list[int]) -> dict[str, Any]:
    """Write a step as a model does."""
    return {"goal": goal, "tool": "worker" if goal == "worker" else "send", "needs": needs}


MAKERS: dict[str, Callable[[Path], Agent[None, str] | Planner[None, str]]] = {
    "agent": make_agent,
    "nested": make_nested,
    "plan": make_planner,
}


async def work(kind: str, folder: Path) -> None:
    """Begin a run or go on with it, and say how it ended."""
    with Journal(folder / "runs.db") as journal:
        result = await MAKERS[kind](folder).run("go", journal=journal, run_id="r")
    (folder / "telling").write_text(json.dumps(result.output))
    (folder / "telling").rename(folder / "told")


def be_killed(order: dict[str, Any]) -> None:
    """Be the process that is stopped: work, in a disk that may become full, and end with a code that says how."""
    folder = Path(order["folder"])
    if order["max_bytes"]:
        resource.setrlimit(resource.RLIMIT_FSIZE, (order["max_bytes"], resource.RLIM_INFINITY))
    try:
        anyio.run(run_until_stopped, lambda: work(order["kind"], folder))
    except Stopped as stopped:
        os._exit(stopped.exit_code)
    except JournalError:
        os._exit(EXIT_DISK_FULL)
    os._exit(0)


def serve() -> None:
    """Fork one process per line that is read; everything is imported already, so that it is quick."""
    for line in sys.stdin:
        pid = os.fork()
        if not pid:
            be_killed(json.loads(line))
        print(pid, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


# ---------------------------------------------------------------- the kills


@dataclass
class Tally:
    """What was seen.

    Attributes:
        kills: Stops of each kind that hit a run before its end.
        runs: Runs of each kind that reached their end.
        num_messages: Messages that all runs had to send.
        num_unknown: Messages that were reported as unknown.
        num_graceful: Runs stopped by SIGTERM that said so with their exit code and in the journal.
        problems: What is not as it should be.
    """

    kills: Counter[str] = field(default_factory=Counter)
    runs: Counter[str] = field(default_factory=Counter)
    num_messages: int = 0
    num_unknown: int = 0
    num_graceful: int = 0
    problems: list[str] = field(default_factory=list)


class Killer:
    """Starts runs in processes of their own and stops them."""

    def __init__(self, server: subprocess.Popen[str], rng: random.Random, tally: Tally) -> None:
        """Make it for a process that runs `serve`."""
        self._server, self._rng, self._tally = server, rng, tally

    def run_and_stop(self, kind: str, folder: Path, mode: str | None) -> bool:
        """Let a process work and stop it at a random moment; without a mode, let it end.

        Returns:
            Whether the run has reached its end.
        """
        max_bytes = 0
        if mode == "disk full":
            sizes = [file.stat().st_size for file in folder.iterdir()]
            max_bytes = max(sizes, default=0) + self._rng.randint(1, 150_000)
        pid = self._start({"kind": kind, "folder": str(folder), "max_bytes": max_bytes})
        if mode in ("SIGKILL", "SIGTERM"):
            self._wait_for_moment(folder)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL if mode == "SIGKILL" else signal.SIGTERM)
        exit_code = int(self._read())
        has_ended = (folder / "told").exists()
        if mode is not None and not has_ended:
            self._tally.kills[mode] += 1
            self._check_exit(mode, exit_code, folder)
        elif not has_ended:
            self._tally.problems.append(f"an undisturbed {kind} ended with {exit_code}")
        return has_ended

    def _start(self, order: dict[str, Any]) -> int:
        print(json.dumps(order), file=self._server.stdin, flush=True)
        return int(self._read())

    def _read(self) -> str:
        return next(iter(self._server.stdout or ()))

    def _wait_for_moment(self, folder: Path) -> None:
        """Wait for some messages and a little longer, or, now and then, only a little after the start."""
        if self._rng.random() < 0.2:
            time.sleep(self._rng.uniform(0, 0.05))
            return
        wanted = min(NUM_MESSAGES, len(read_sent(folder)) + self._rng.randint(1, 8))
        given_up_at = time.monotonic() + GIVE_UP_S
        while len(read_sent(folder)) < wanted and not (folder / "told").exists() and time.monotonic() < given_up_at:
            time.sleep(0.0003)
        time.sleep(self._rng.uniform(0, 0.004))

    def _check_exit(self, mode: str, exit_code: int, folder: Path) -> None:
        """Check that the exit code says what happened, and that a graceful end is in the journal."""
        if mode == "SIGKILL":
            allowed: tuple[int, ...] = (-signal.SIGKILL,)
        elif mode == "SIGTERM":  # a signal before the program listens ends it in the default way
            allowed = (EXIT_TERMINATED, -signal.SIGTERM)
        else:
            allowed = (EXIT_DISK_FULL,)
        if exit_code not in allowed:
            self._tally.problems.append(f"{mode}: exit code {exit_code}, not one of {allowed}")
        if exit_code == EXIT_TERMINATED:
            with Journal(folder / "runs.db") as journal:
                record = journal.find("r")
            if record is not None and record.reason == "cancelled":
                self._tally.num_graceful += 1
            elif record is not None:
                self._tally.problems.append(f"SIGTERM: the journal says {record.reason!r}")


def read_sent(folder: Path) -> list[int]:
    """Read the numbers of the messages that were sent."""
    file = folder / "sent"
    return [int(line) for line in file.read_text().split()] if file.exists() else []


def read_results(folder: Path) -> tuple[dict[int, Any], set[int]]:
    """Read from the journal what came back for each message, and for which it is unknown."""
    results: dict[int, Any] = {}
    unknown: set[int] = set()
    with Journal(folder / "runs.db") as journal:
        for record in journal.runs():
            for event in journal.events(record.run_id):
                if isinstance(event, CallFinished) and event.call.name == "send":
                    number = int(event.call.arguments["number"])  # type: ignore[arg-type] # ours
                    results[number] = event.result.content
                    if event.result.is_error:
                        unknown.add(number)
        if (reason := journal.get("r").reason) != "output":
            raise AssertionError(f"the journal says that the run ended with {reason!r}")
    return results, unknown


def check_run(kind: str, folder: Path, expected_output: str, tally: Tally) -> None:
    """Compare a run that has ended with an undisturbed one."""
    results, unknown = read_results(folder)
    sent, everything = read_sent(folder), set(range(NUM_MESSAGES))
    output = json.loads((folder / "told").read_text())
    checks = {
        "a message was sent twice": len(set(sent)) == len(sent),
        "a message was lost": set(sent) | unknown == everything,
        "a message was sent that nobody knows of": set(sent) <= set(results),
        "a result differs": all(results.get(n) == n * n for n in everything - unknown),
        f"the output is {output!r}": output == expected_output,
    }
    tally.problems += [f"{kind} in {folder.name}: {problem}" for problem, is_right in checks.items() if not is_right]
    tally.runs[kind] += 1
    tally.num_messages += NUM_MESSAGES
    tally.num_unknown += len(unknown)


def kill_runs(num_kills: int, seed: int, folder: Path) -> Tally:
    """Stop runs until `num_kills` stops have hit one, and check every run."""
    tally, rng = Tally(), random.Random(seed)  # noqa: S311 # no secret
    command = [sys.executable, __file__, "--serve"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:  # noqa: S603 # ours
        killer, outputs = Killer(server, rng, tally), {}
        for kind in KINDS:
            outputs[kind] = run_undisturbed(kind, folder / f"calm-{kind}", killer)
        while tally.kills.total() < num_kills and not tally.problems:
            kind = KINDS[tally.runs.total() % len(KINDS)]
            place = folder / f"{kind}-{tally.runs.total()}"
            place.mkdir()
            while not killer.run_and_stop(kind, place, rng.choice(MODES)) and not tally.problems:
                pass
            if not tally.problems:
                check_run(kind, place, outputs[kind], tally)
        server.communicate()  # closes its input, on which it ends
    return tally


def run_undisturbed(kind: str, folder: Path, killer: Killer) -> str:
    """Get the output of a run that nobody stops."""
    folder.mkdir()
    killer.run_and_stop(kind, folder, None)
    output: str = json.loads((folder / "told").read_text())
    return output


def main() -> None:
    """Kill, check and report."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, help="also write the last line to this file")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve()
        return
    started_s = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        tally = kill_runs(options.kills, options.seed, Path(folder))
    duration_s = time.perf_counter() - started_s
    print(f"{tally.kills.total()} stops in {duration_s:.0f} s: {dict(tally.kills)}")
    print(f"runs that reached their end: {dict(tally.runs)}; told that SIGTERM stopped them: {tally.num_graceful}")
    print(f"messages: {tally.num_messages}, reported as unknown: {tally.num_unknown}; problems: {len(tally.problems)}")
    for problem in tally.problems:
        print(f"PROBLEM: {problem}")
    line = json.dumps({"seed": options.seed, "duration_s": round(duration_s, 1), **vars(tally)})
    print(line)
    if options.json:
        options.json.write_text(line + "\n")
    sys.exit(1 if tally.problems else 0)


if __name__ == "__main__":
    main()
