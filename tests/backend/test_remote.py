"""The remote backend: what it sends, what it reads, and how it fails."""

import json

import httpx
import pytest
from pydantic import BaseModel

from agentflow.agent import Agent
from agentflow.backend.base import Backend
from agentflow.backend.remote import RemoteBackend
from agentflow.errors import (
    BackendError,
    ConfigurationError,
    ContextLengthError,
    MalformedOutputError,
    ModelNotFoundError,
)
from agentflow.tool import tool
from agentflow.types import (
    AssistantMessage,
    GenerationRequest,
    GenerationSettings,
    SystemMessage,
    ToolCall,
    ToolMessage,
    ToolResult,
    ToolSpec,
    UserMessage,
)

pytestmark = pytest.mark.anyio

LOOK = ToolSpec("look", "Look.", {"type": "object", "properties": {"city": {"type": "string"}}})
REQUEST = GenerationRequest(messages=(UserMessage("hi"),))


class Server:
    """Answers requests in order and keeps them."""

    def __init__(self, *answers):
        self.answers, self.requests = list(answers), []

    def __call__(self, request):
        self.requests.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, httpx.Response) else httpx.Response(200, json=answer)

    def backend(self, **options):
        return RemoteBackend("http://server/v1/", model="m", transport=httpx.MockTransport(self), **options)

    @property
    def bodies(self):
        return [json.loads(request.content) for request in self.requests]


def _completion(content=None, *, calls=(), finish_reason="stop", **usage):
    entries = [{"id": f"c{i}", "type": "function", "function": call} for i, call in enumerate(calls)]
    message = {"role": "assistant", "content": content, "tool_calls": entries or None}
    return {"choices": [{"message": message, "finish_reason": finish_reason}], "usage": usage}


async def test_answer_is_read():
    """Text, reason and usage."""
    server = Server(_completion("ok", prompt_tokens=7, completion_tokens=2, prompt_tokens_details={"cached_tokens": 5}))
    backend = server.backend(api_key="secret")
    assert isinstance(backend, Backend)
    generation = await backend.generate(REQUEST)
    assert generation.message == AssistantMessage("ok")
    assert generation.finish_reason == "stop"
    usage = generation.usage
    assert (usage.requests, usage.input_tokens, usage.cached_input_tokens, usage.output_tokens) == (1, 7, 5, 2)
    (request,) = server.requests
    assert str(request.url) == "http://server/v1/chat/completions"
    assert request.headers["Authorization"] == "Bearer secret"
    assert "secret" not in repr(backend)


async def test_conversation_is_sent_in_the_servers_words():
    """Each kind of message, calls with arguments as JSON text, errors marked as such."""
    call = ToolCall("c1", "look", {"city": "Köln"})
    messages = (
        SystemMessage("Be brief."),
        UserMessage("go"),
        AssistantMessage(tool_calls=(call,)),
        ToolMessage((ToolResult("c1", "look", {"celsius": 4}), ToolResult("c2", "look", "no", is_error=True))),
        AssistantMessage("four"),
    )
    server = Server(_completion("ok"))
    await server.backend().generate(GenerationRequest(messages=messages))
    assert server.bodies[0]["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "go"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"city": "Köln"}'}}
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": '{"celsius": 4}'},
        {"role": "tool", "tool_call_id": "c2", "content": '{"error": "no"}'},
        {"role": "assistant", "content": "four"},
    ]


@pytest.mark.parametrize(
    ("choice", "sent"),
    [
        ("auto", "auto"),
        ("none", "none"),
        ("required", "required"),
        ("look", {"type": "function", "function": {"name": "look"}}),
    ],
)
async def test_tools_and_settings_are_sent(choice, sent):
    """Declarations, the choice, the seed and the budget."""
    server = Server(_completion("ok"))
    settings = GenerationSettings(seed=3, max_new_tokens=50, is_parallel=False)
    request = GenerationRequest(messages=REQUEST.messages, tools=(LOOK,), tool_choice=choice, settings=settings)
    await server.backend(extra_body={"temperature": 0.5}).generate(request)
    (body,) = server.bodies
    assert body["tools"][0]["function"]["parameters"] == LOOK.parameters
    assert body["tool_choice"] == sent
    assert (body["seed"], body["max_tokens"], body["parallel_tool_calls"]) == (3, 50, False)
    assert body["temperature"] == 0.5


async def test_schema_is_sent_or_told():
    """As response_format, or, for servers that refuse it, in the system message."""
    server = Server(_completion("{}"), _completion("{}"))
    request = GenerationRequest(messages=REQUEST.messages, output_schema={"type": "object"})
    await server.backend().generate(request)
    await server.backend(schema_mode="prompt").generate(request)
    first, second = server.bodies
    assert first["response_format"]["json_schema"]["schema"] == {"type": "object"}
    assert "response_format" not in second
    assert second["messages"][0] == {"role": "system", "content": 'Answer in JSON: {"type":"object"}'}


async def test_settings_that_cannot_be_sent_are_refused():
    """They would silently have no effect."""
    request = GenerationRequest(messages=REQUEST.messages, settings=GenerationSettings(entropy_bound=0.1))
    with pytest.raises(ConfigurationError, match=r"entropy_bound=0\.1 cannot be sent"):
        await Server().backend().generate(request)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (httpx.Response(500, text="boom"), BackendError),
        (httpx.Response(429, text="slow down"), BackendError),
        (httpx.Response(401, text="who?"), ConfigurationError),
        (httpx.Response(404, text="no such model"), ModelNotFoundError),
        (httpx.Response(400, text="maximum context length is 4096"), ContextLengthError),
        (httpx.Response(400, text="Structured outputs are not yet supported"), ConfigurationError),
        (httpx.Response(200, text="<html>"), BackendError),
        ({"choices": []}, BackendError),
        (["what"], BackendError),
        (httpx.ConnectError("refused"), BackendError),
        (httpx.ReadTimeout("slow"), BackendError),
        (_completion(calls=[{"name": "look", "arguments": '{"city": '}]), MalformedOutputError),
        (_completion(calls=[{"name": "look", "arguments": "[1]"}]), MalformedOutputError),
        (_completion(calls=[{"arguments": "{}"}]), MalformedOutputError),
    ],
)
async def test_failures_become_errors_of_the_tree(answer, error):
    """Only those that another try may cure are of the kind that is tried again."""
    with pytest.raises(error) as caught:
        await Server(answer).backend().generate(REQUEST)
    assert type(caught.value) is error


async def test_connections_stay_open_inside_the_context():
    """One client serves all turns until the end of the block; afterwards it works again without."""
    server = Server(_completion("a"), _completion("b"), _completion("c"))
    async with server.backend() as backend:
        await backend.generate(REQUEST)
        client = backend._client
        await backend.generate(REQUEST)
        assert backend._client is client
    assert client.is_closed
    assert (await backend.generate(REQUEST)).message.text == "c"


async def test_agent_runs_on_a_server_as_on_any_backend():
    """Calls, results and an answer of the output type."""

    class Report(BaseModel):
        celsius: int

    @tool
    async def look(city: str) -> int:
        return len(city)

    server = Server(
        _completion(calls=[{"name": "look", "arguments": '{"city": "Oslo"}'}], finish_reason="tool_calls"),
        _completion('{"celsius": 4}'),
    )
    result = await Agent(server.backend(), tools=[look], output_type=Report).run("go")
    assert result.output == Report(celsius=4)
    assert server.bodies[1]["messages"][-1] == {"role": "tool", "tool_call_id": "c0", "content": "4"}


@pytest.mark.parametrize("options", [{"base_url": "server/v1"}, {"base_url": "http://s", "timeout_s": 0}])
def test_wrong_options_are_refused(options):
    """Where they are given."""
    with pytest.raises(ConfigurationError, match=r"base_url|timeout_s"):
        RemoteBackend(**options, model="m")
