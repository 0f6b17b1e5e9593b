"""One definition of an agent, on every kind of model."""

import json
from pathlib import Path

import httpx
import pytest
from pydantic import BaseModel

from agentflow.agent import Agent
from agentflow.backend.remote import RemoteBackend
from agentflow.backend.scripted import ScriptedBackend, call
from agentflow.tool import tool
from agentflow.types import GenerationSettings

pytestmark = pytest.mark.anyio

CHECKPOINT = Path(__file__).parents[2] / "agentflow" / "embedded" / "checkpoint"


class Weather(BaseModel):
    city: str
    celsius: float


@tool
def get_weather(city: str) -> dict:
    """Look up the current weather of a city.

    Args:
        city: Name of the city.
    """
    return {"city": city, "celsius": 4.5}


AGENT = Agent("embedded", tools=[get_weather], output_type=Weather, settings=GenerationSettings(seed=1))


def _make_scripted():
    return ScriptedBackend([call("get_weather", city="Oslo"), {"city": "Oslo", "celsius": 4.5}])


async def _serve(scope, receive, send):
    """Be an OpenAI-compatible server, as small as it gets: call the tool, then say in JSON what it said."""
    assert (scope["method"], scope["path"]) == ("POST", "/v1/chat/completions")
    text = b""
    while (part := await receive()).get("more_body"):
        text += part["body"]
    body = json.loads(text + part["body"])
    assert body["tools"][0]["function"]["name"] == "get_weather"
    assert body["response_format"]["json_schema"]["schema"]["required"] == ["city", "celsius"]
    last = body["messages"][-1]
    if last["role"] == "user":
        function = {"name": "get_weather", "arguments": json.dumps({"city": "Oslo"})}
        message = {"content": None, "tool_calls": [{"id": "abc", "type": "function", "function": function}]}
    else:
        message = {"content": last["content"]}
    answer = {
        "choices": [{"message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 9, "completion_tokens": 3},
    }
    start = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]}
    await send(start)
    await send({"type": "http.response.body", "body": json.dumps(answer).encode()})


def _make_remote():
    return RemoteBackend("http://server/v1", model="some-model", transport=httpx.ASGITransport(_serve))


def _find_embedded():
    if not CHECKPOINT.exists():
        pytest.skip("the embedded model is not here")
    return "embedded"


@pytest.mark.parametrize(
    "make_model",
    [
        pytest.param(_make_scripted, id="scripted"),
        pytest.param(_make_remote, id="OpenAI-compatible server"),
        pytest.param(_find_embedded, id="embedded", marks=[pytest.mark.slow, pytest.mark.embedded]),
    ],
)
async def test_one_definition_runs_on_every_model(make_model):
    """The agent is the same object; it calls the tool, and its output is of its type."""
    result = await AGENT.run("What is the weather in Oslo?", model=make_model())
    assert [(c.name, c.arguments) for c in result.calls] == [("get_weather", {"city": "Oslo"})]
    assert result.output == Weather(city="Oslo", celsius=4.5)
    assert result.num_turns == 2
    assert result.usage.output_tokens > 0
