"""openai-agents: `Runner.run` with tracing off, so that nothing is sent anywhere."""

from __future__ import annotations

import asyncio
import json

from agents import Agent, Model, ModelResponse, Runner, Usage, function_tool, set_tracing_disabled
from fleet import ANSWER, TASK, add, serve
from openai.types.responses import ResponseFunctionToolCall, ResponseOutputMessage, ResponseOutputText


class FakeModel(Model):
    """Asks for one addition a turn, then answers."""

    def __init__(self, num_steps: int) -> None:
        self.num_steps, self.turn = num_steps, -1

    async def get_response(self, *_args, **_options) -> ModelResponse:
        await asyncio.sleep(0)
        self.turn += 1
        if self.turn == self.num_steps:
            text = ResponseOutputText(text=ANSWER, type="output_text", annotations=[])
            item = ResponseOutputMessage(
                id="message", content=[text], role="assistant", status="completed", type="message"
            )
        else:
            arguments = json.dumps({"a": self.turn, "b": 1})
            item = ResponseFunctionToolCall(
                call_id=f"call_{self.turn}", name="add", arguments=arguments, type="function_call"
            )
        return ModelResponse(output=[item], usage=Usage(requests=1), response_id=None)

    def stream_response(self, *_args, **_options):
        raise NotImplementedError


def fleet(num_agents: int, num_steps: int) -> list[str]:
    tools = [function_tool(add)]

    async def run(agent: Agent) -> str:
        return (await Runner.run(agent, TASK, max_turns=num_steps + 1)).final_output

    async def run_all() -> list[str]:
        agents = [Agent(name=f"agent {i}", model=FakeModel(num_steps), tools=tools) for i in range(num_agents)]
        return list(await asyncio.gather(*map(run, agents)))

    return asyncio.run(run_all())


if __name__ == "__main__":
    set_tracing_disabled(True)
    serve(fleet, "openai-agents", description="Runner.run, all at once, tracing off")
