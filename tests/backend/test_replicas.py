"""Backends in processes of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import MappingProxyType, ModuleType

import anyio
import pytest
from replica_backends import Statistics, make_caller, make_echo, make_none

from agentflow.backend.replica import Replica
from agentflow.backend.replicas import ReplicatedBackend
from agentflow.errors import BackendError, ConfigurationError, SchemaBudgetError
from agentflow.types import AssistantMessage, Draft, GenerationRequest, Message, ToolSpec, UserMessage

pytestmark = pytest.mark.anyio


@pytest.fixture(params=[make_echo, make_caller], ids=["awaited", "called back"])
def backend(request: pytest.FixtureRequest) -> Iterator[ReplicatedBackend]:
    """Two processes, whose backends are awaited or call back."""
    backend = ReplicatedBackend(request.param, num_replicas=2)
    yield backend
    backend.close()


def _ask(*texts: str) -> GenerationRequest:
    messages: tuple[Message, ...] = tuple(UserMessage(text) for text in texts)
    return GenerationRequest(messages=messages)


async def _pid(backend: ReplicatedBackend, *texts: str) -> int:
    return int((await backend.generate(_ask(*texts))).message.text)


async def test_conversations_are_spread_and_stay_where_they_are(backend: ReplicatedBackend) -> None:
    """New ones go to both processes in turns, the next turn of one to where it was."""
    pids = [await _pid(backend, str(i)) for i in range(4)]
    assert os.getpid() not in pids
    assert pids[0] != pids[1]
    assert pids[2:] == pids[:2]
    assert [await _pid(backend, str(i), "more") for i in (1, 1, 0)] == [pids[1], pids[1], pids[0]]
    assert backend.statistics() == Statistics(num_asked=7)


async def test_drafts_come_in_order_and_a_failing_observer_is_told(backend: ReplicatedBackend) -> None:
    """As from a backend in this process."""
    drafts: list[Draft] = []
    await backend.generate(_ask("hello"), on_draft=drafts.append)
    assert [draft.step for draft in drafts] == [0, 1, 2]

    def complain(draft: Draft) -> None:
        raise KeyError(draft.step)

    with pytest.raises(KeyError, match="0"):
        await backend.generate(_ask("hello"), on_draft=complain)


async def test_cancelling_reaches_the_process(backend: ReplicatedBackend) -> None:
    """The turn is given up over there, too."""
    with anyio.move_on_after(0.3) as scope:
        await backend.generate(_ask("wait"))
    assert scope.cancelled_caught
    for _ in range(1_000):
        if backend.statistics().num_cancelled:
            return
        await anyio.sleep(0.01)
    pytest.fail("the turn goes on")


async def test_errors_come_back_as_they_are(backend: ReplicatedBackend) -> None:
    """With their attributes and hints; a bug comes as `BackendError` and says what it was."""
    with pytest.raises(SchemaBudgetError, match="needs 9 tokens") as caught:
        await backend.generate(_ask("refuse"))
    assert (caught.value.num_tokens_given, caught.value.hint) == (3, "raise max_new_tokens")
    assert caught.value.__notes__ == ["hint: raise max_new_tokens"]
    with pytest.raises(BackendError, match="ValueError: a bug"):
        await backend.generate(_ask("fail"))


async def test_what_prints_over_there_does_no_harm(backend: ReplicatedBackend) -> None:
    """Standard output is the wire, so prints go elsewhere."""
    assert await _pid(backend, "print")


async def test_a_dead_process_fails_its_turns_and_is_replaced(backend: ReplicatedBackend) -> None:
    """The other one goes on meanwhile; the next turn for the dead one starts it again."""
    first = await _pid(backend, "a")
    second = await _pid(backend, "b")
    errors: list[str] = []

    async def wait() -> None:
        with pytest.raises(BackendError) as caught:
            await backend.generate(_ask("a", "wait"))
        errors.append(str(caught.value))

    async with anyio.create_task_group() as group:
        group.start_soon(wait)
        await anyio.sleep(0.2)
        os.kill(first, signal.SIGKILL)
        assert await _pid(backend, "b", "more") == second
    assert errors == ["the process of replica 0 ended with exit status -9"]
    assert backend.statistics() == Statistics(num_asked=2)  # of the other one
    assert await _pid(backend, "a", "more") not in (first, second)
    with pytest.raises(BackendError, match="exit status -9"):
        await backend.generate(_ask("die"))


async def test_an_interrupt_from_the_keyboard_is_for_the_parent(backend: ReplicatedBackend) -> None:
    """A terminal sends it to all processes; this one is asked to end by its parent."""
    pid = await _pid(backend, "a")
    os.kill(pid, signal.SIGINT)
    assert await _pid(backend, "a", "more") == pid


async def test_many_at_once_get_an_answer_each(backend: ReplicatedBackend) -> None:
    """However they are written over there."""
    pids: list[int] = []

    async def ask(text: str) -> None:
        pids.append(await _pid(backend, text))

    async with anyio.create_task_group() as group:
        for i in range(60):
            group.start_soon(ask, str(i))
    assert len(pids) == 60
    assert len(set(pids)) == 2
    assert backend.statistics() == Statistics(num_asked=60)


async def test_a_closed_one_takes_nothing() -> None:
    """Open turns fail, later ones are refused, the processes are gone, closing again is harmless."""
    backend = ReplicatedBackend(make_echo, num_replicas=2)
    pid = await _pid(backend, "a")
    messages: list[str] = []

    async def wait() -> None:
        with pytest.raises(BackendError) as caught:
            await backend.generate(_ask("wait"))
        messages.append(str(caught.value))

    async with anyio.create_task_group() as group:
        group.start_soon(wait)
        await anyio.sleep(0.2)
        await backend.aclose()
    assert messages == ["replica 1 is closed"]
    with pytest.raises(BackendError, match="the model is closed"):
        await backend.generate(_ask("a"))
    with pytest.raises(BackendError, match="no replica of echo is running"):
        backend.statistics()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    backend.close()


async def test_a_timeout_is_kept_when_the_process_hangs(
    backend: ReplicatedBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The backend over there keeps the time; should it not, the turn fails soon after."""
    monkeypatch.setattr("agentflow.backend.replicas._GRACE_S", 0.2)
    with pytest.raises(BackendError, match=r"no turn within 0\.1 s"):
        await backend.generate(GenerationRequest(messages=(UserMessage("wait"),), timeout_s=0.1))


async def test_requests_must_be_plain(backend: ReplicatedBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read-only mappings are; what cannot be sent is refused by its name, and nothing is left open."""
    tool = ToolSpec("f", "", MappingProxyType({"type": "object", "properties": MappingProxyType({})}))
    request = GenerationRequest(messages=(UserMessage("hello"), AssistantMessage("x")), tools=(tool,))
    assert (await backend.generate(request)).usage.requests == 1
    with pytest.raises(ConfigurationError, match="cannot be sent to another process"):
        await backend.generate(GenerationRequest(messages=(UserMessage("a"),), output_schema={"x": lambda: 1}))
    module = ModuleType("known_to_the_parent_alone")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    module.Odd = type("Odd", (dict,), {"__module__": module.__name__})
    with pytest.raises(ConfigurationError, match="cannot be read in another process: No module named 'known_to"):
        await backend.generate(GenerationRequest(messages=(UserMessage("a"),), output_schema=module.Odd()))
    assert await _pid(backend, "a")


def test_what_cannot_be_made_is_an_error_at_once() -> None:
    """The error of the process is raised here, and no process stays."""
    with pytest.raises(SchemaBudgetError, match="needs 2 tokens"):
        ReplicatedBackend(make_none, num_replicas=2)
    with pytest.raises(ConfigurationError, match="cannot be sent"):
        ReplicatedBackend(lambda: None, num_replicas=1)
    with pytest.raises(ConfigurationError, match="num_replicas must be at least 1, got 0"):
        ReplicatedBackend(make_echo, num_replicas=0)


async def test_an_answer_that_cannot_be_understood_is_no_silence(
    backend: ReplicatedBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever waits is told, and the next turn gets a new process."""
    pid = await _pid(backend, "a")
    hand_out = Replica._hand_out

    def fail(_: Replica, message: object) -> None:
        monkeypatch.setattr(Replica, "_hand_out", hand_out)
        raise ValueError(message)

    async def ask_twice() -> None:  # the reader may have begun to wait for the first answer before
        for _ in range(2):
            await backend.generate(_ask("a", "more"))

    monkeypatch.setattr(Replica, "_hand_out", fail)
    with pytest.raises(BackendError, match="the process of replica 0 ended with exit status"):
        await ask_twice()
    assert await _pid(backend, "a", "more") != pid


def test_processes_end_with_their_parent() -> None:
    """Even if it is killed."""
    script = (
        "import os, anyio; from replica_backends import make_echo; from agentflow.backend.replicas import *\n"
        "from agentflow.types import *\n"
        "backend = ReplicatedBackend(make_echo, num_replicas=1)\n"
        "request = GenerationRequest(messages=(UserMessage('a'),))\n"
        "print(anyio.run(backend.generate, request).message.text, 'torch' in __import__('sys').modules, flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    here = str(Path(__file__).parent)
    path = os.pathsep.join([here, os.environ.get("PYTHONPATH", "")])
    found = subprocess.run(  # noqa: S603 - our own code
        [sys.executable, "-c", script],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    pid, has_torch = found.stdout.split()
    assert has_torch == "False"  # the parent stays light
    for _ in range(1_000):
        try:
            os.kill(int(pid), 0)
        except ProcessLookupError:
            return
        time.sleep(0.01)
    pytest.fail(f"process {pid} still runs")
