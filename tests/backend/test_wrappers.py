"""Backends around backends: trying again, taking turns."""

import anyio
import pytest

from agentflow.backend.base import Backend
from agentflow.backend.scripted import ScriptedBackend
from agentflow.backend.wrappers import GatedBackend, RetryingBackend
from agentflow.errors import BackendError, ConfigurationError, ContextLengthError
from agentflow.types import GenerationRequest, UserMessage

pytestmark = pytest.mark.anyio

REQUEST = GenerationRequest(messages=(UserMessage("go"),))


@pytest.fixture
def delays(monkeypatch):
    """Delays that were waited for, none of them really."""
    waited = []

    async def sleep(delay_s):
        waited.append(delay_s)

    monkeypatch.setattr("agentflow.backend.wrappers.anyio.sleep", sleep)
    return waited


async def test_failed_request_is_made_again_with_growing_delays(delays):
    """Two failures, then the answer; each delay is about twice the one before."""
    inner = ScriptedBackend([BackendError("503"), BackendError("503"), "ok"])
    backend = RetryingBackend(inner, num_retries=2, delay_s=1.0)
    assert isinstance(backend, Backend)
    assert (await backend.generate(REQUEST)).message.text == "ok"
    assert 1 <= delays[0] < 1.5
    assert delays[1] == 2 * delays[0]


async def test_delays_are_bounded_and_the_last_error_is_raised(delays):
    """No delay exceeds its bound by more than the spread."""
    inner = ScriptedBackend([BackendError(str(i)) for i in range(6)])
    with pytest.raises(BackendError, match="5"):
        await RetryingBackend(inner, num_retries=5, delay_s=1.0, max_delay_s=4.0).generate(REQUEST)
    assert max(delays) < 6
    assert len(delays) == 5


async def test_mistakes_of_the_caller_are_not_tried_again(delays):
    """The same request would fail again."""
    inner = ScriptedBackend([ContextLengthError("too long"), "never"])
    with pytest.raises(ContextLengthError):
        await RetryingBackend(inner).generate(REQUEST)
    assert delays == []


async def test_gate_lets_so_many_in_and_the_rest_in_order():
    """Of five requests two are inside at once, and they come in as they arrived; a pair let in at once in any order."""
    inside, seen, order, all_are_there = 0, [], [], anyio.Event()

    class Slow(ScriptedBackend):
        async def generate(self, request, *, on_draft=None):
            nonlocal inside
            inside += 1
            seen.append(inside)
            order.append(request.messages[0].text)
            await all_are_there.wait()
            inside -= 1
            return await super().generate(request, on_draft=on_draft)

    backend = GatedBackend(Slow(lambda _: "ok"), max_requests=2)
    async with anyio.create_task_group() as group:
        for i in range(5):
            group.start_soon(backend.generate, GenerationRequest(messages=(UserMessage(str(i)),)))
            await anyio.wait_all_tasks_blocked()
        all_are_there.set()
    assert max(seen) == 2
    assert [set(order[:2]), set(order[2:4]), set(order[4:])] == [{"0", "1"}, {"2", "3"}, {"4"}]


def test_wrong_numbers_are_refused():
    """They say what they got."""
    inner = ScriptedBackend([])
    with pytest.raises(ConfigurationError, match="num_retries=-1"):
        RetryingBackend(inner, num_retries=-1)
    with pytest.raises(ConfigurationError, match="got 0"):
        GatedBackend(inner, max_requests=0)
