"""Long conversations are shortened, least important first, and stay conversations."""

import pytest

from agentflow.agent import Agent, Compaction
from agentflow.agent.compaction import Window, num_chars
from agentflow.backend.scripted import ScriptedBackend, call
from agentflow.errors import ConfigurationError
from agentflow.protocol import render_prompt
from agentflow.tool import tool
from agentflow.types import AssistantMessage, SystemMessage, ToolCall, ToolMessage, ToolResult, UserMessage


def _exchange(number, content, **arguments):
    call_id = f"call_{number}"
    return (
        AssistantMessage(tool_calls=(ToolCall(call_id, "look", arguments),)),
        ToolMessage((ToolResult(call_id, "look", content),)),
    )


def _contents(messages):
    return [result.content for message in messages if isinstance(message, ToolMessage) for result in message.results]


START = (SystemMessage("Be brief."), UserMessage("Go."))
USED, UNUSED = "key-4711 " * 100, "nothing of use " * 60  # 900 characters each
LONG = (*START, *_exchange(0, USED), *_exchange(1, UNUSED), *_exchange(2, "short"), *_exchange(3, "x", key="key-4711"))


def test_results_that_no_later_call_refers_to_go_first():
    """The result that held the key of a later call stays, the other one becomes a note."""
    short = Compaction(max_chars=2_000, target=0.6, num_recent=1).compact(LONG)
    assert _contents(short) == [USED, "[900 characters, left out to save room]", "short", "x"]
    assert len(short) == len(LONG)


def test_then_the_others_go():
    """If that is not enough, results that mattered become notes too."""
    short = Compaction(max_chars=1_000, target=0.5, num_recent=1).compact(LONG)
    assert _contents(short) == ["[900 characters, left out to save room]"] * 2 + ["short", "x"]


def test_then_the_oldest_exchanges_go_whole():
    """Instructions, request and newest exchange stay; calls and results go together."""
    short = Compaction(max_chars=50, target=0.5, num_recent=1).compact(LONG)
    assert short[:2] == START
    assert _contents(short) == ["x"]
    render_prompt(short)  # raises if a call has lost its result


def test_recent_exchanges_are_never_touched():
    """Even if they alone are too long."""
    short = Compaction(max_chars=10, num_recent=4).compact(LONG)
    assert short == LONG


def test_latest_request_stays_and_older_ones_go():
    """Of a long chat the last question is kept."""
    chat = (UserMessage("a" * 500), AssistantMessage("b" * 500), UserMessage("last question"), *_exchange(0, "c" * 500))
    short = Compaction(max_chars=300, num_recent=0).compact(chat)
    assert [m.text for m in short if isinstance(m, UserMessage)] == ["last question"]
    render_prompt(short)


def test_window_changes_its_beginning_seldom():
    """While the conversation grows, what the model sees begins the same until room runs out again: caches stay warm."""
    window, messages, shown, num_changes = Window(Compaction(max_chars=5_000)), START, (), 0
    for number in range(60):
        messages = (*messages, *_exchange(number, "r" * 300))
        before, shown = shown, window.show(messages)
        num_changes += shown[: len(before)] != before
        assert sum(map(num_chars, shown)) <= 5_000
        render_prompt(shown)
    assert 1 <= num_changes <= 12


@pytest.mark.anyio
async def test_agent_shows_less_and_keeps_all():
    """The backend gets the shortened conversation; the result has the whole one."""

    @tool
    async def look(number: int) -> str:
        return f"{number} " * 500

    def script(request):
        done = sum(isinstance(m, AssistantMessage) for m in request.messages)
        asked = [r for r in backend.requests if r is not request]
        return call("look", number=len(asked)) if len(asked) < 8 else f"saw {done}"

    backend = ScriptedBackend(script)
    agent = Agent(backend, tools=[look], compaction=Compaction(max_chars=3_000, num_recent=1))
    result = await agent.run("go")
    assert all(sum(map(num_chars, r.messages)) <= 3_000 for r in backend.requests)
    assert [r.content for r in result.results] == [f"{n} " * 500 for n in range(8)]
    assert len({c.id for c in result.calls}) == 8


@pytest.mark.parametrize(
    "options", [{"max_chars": 0}, {"max_chars": 9, "target": 0}, {"max_chars": 9, "num_recent": -1}]
)
def test_wrong_numbers_are_refused(options):
    """A window that could show nothing is a mistake."""
    with pytest.raises(ConfigurationError, match="max_chars="):
        Compaction(**options)
