"""The scripted backend says what it is told to."""

import anyio
import pytest

from agentflow.backend.base import Backend
from agentflow.backend.scripted import ScriptedBackend, call
from agentflow.errors import BackendError, ConfigurationError
from agentflow.types import AssistantMessage, GenerationRequest, ToolCall, ToolMessage, ToolResult, UserMessage

pytestmark = pytest.mark.anyio

REQUEST = GenerationRequest(messages=(UserMessage("say something"),))


def test_it_is_a_backend():
    """It can stand wherever a backend is expected."""
    assert isinstance(ScriptedBackend([]), Backend)


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        ("hello", AssistantMessage("hello")),
        ({"a": 1}, AssistantMessage('{"a": 1}')),
        ([1, 2], AssistantMessage("[1, 2]")),
        (call("f", x=1), AssistantMessage(tool_calls=(ToolCall("call_0", "f", {"x": 1}),))),
        (
            [call("f"), call("g")],
            AssistantMessage(tool_calls=(ToolCall("call_0", "f", {}), ToolCall("call_1", "g", {}))),
        ),
        (AssistantMessage("a", thought="b"), AssistantMessage("a", thought="b")),
    ],
)
async def test_replies_become_turns(reply, message):
    """Text, values, calls and whole messages."""
    generation = await ScriptedBackend([reply]).generate(REQUEST)
    assert generation.message == message
    assert generation.finish_reason == ("tool_calls" if message.tool_calls else "stop")
    assert generation.usage.requests == 1


async def test_calls_count_on_from_the_conversation():
    """The ids of new calls differ from the earlier ones."""
    earlier = AssistantMessage(tool_calls=(ToolCall("call_0", "f", {}),))
    results = ToolMessage((ToolResult("call_0", "f", 1),))
    generation = await ScriptedBackend([call("f")]).generate(GenerationRequest(messages=(earlier, results)))
    assert generation.message.tool_calls[0].id == "call_1"


async def test_function_decides_on_the_reply():
    """A function sees the request."""
    backend = ScriptedBackend(lambda request: request.messages[-1].text.upper())
    assert (await backend.generate(REQUEST)).message.text == "SAY SOMETHING"
    assert backend.requests == [REQUEST]


async def test_exceptions_are_raised():
    """A failing model can be scripted too."""
    with pytest.raises(BackendError, match="down"):
        await ScriptedBackend([BackendError("down")]).generate(REQUEST)


async def test_end_of_script_is_an_error():
    """It says how many replies there were."""
    backend = ScriptedBackend(["one"])
    await backend.generate(REQUEST)
    with pytest.raises(BackendError, match="has only 1 replies"):
        await backend.generate(REQUEST)


async def test_drafts_settle_to_the_reply():
    """The last draft is committed and reads as the reply; before, some of it is open."""
    drafts = []
    await ScriptedBackend(["a b c d"], num_draft_steps=4).generate(REQUEST, on_draft=drafts.append)
    assert [draft.step for draft in drafts] == [1, 2, 3, 4]
    assert [draft.states.count("accepted") for draft in drafts] == [1, 2, 3, 4]
    assert drafts[-1].text == "a b c d"
    assert [draft.is_committed for draft in drafts] == [False, False, False, True]


async def test_usage_counts_words():
    """Words stand for tokens."""
    usage = (await ScriptedBackend(["three words here"], num_draft_steps=2).generate(REQUEST)).usage
    assert (usage.input_tokens, usage.output_tokens, usage.denoising_steps, usage.num_canvases) == (2, 3, 2, 1)


def test_one_string_is_no_script():
    """It would be said letter by letter."""
    with pytest.raises(ConfigurationError, match="replies is one str"):
        ScriptedBackend("hello")


async def test_it_lets_others_run():
    """Each reply is a checkpoint: cancellation is noticed."""
    with anyio.CancelScope() as scope:
        scope.cancel()
        await ScriptedBackend(["never"]).generate(REQUEST)
    assert scope.cancelled_caught
