"""pydantic-ai: `Agent` with a `FunctionModel` that says what it used, so that it does not count words."""

from __future__ import annotations

import asyncio

from fleet import ANSWER, TASK, add, serve
from pydantic_ai import Agent, UsageLimits
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart
from pydantic_ai.models.function import AgentInfo, FunctionModel
from pydantic_ai.usage import RequestUsage


def make_model(num_steps: int) -> FunctionModel:
    turn = -1

    async def answer(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:  # noqa: ARG001
        nonlocal turn
        await asyncio.sleep(0)
        turn += 1
        part = TextPart(ANSWER) if turn == num_steps else ToolCallPart("add", {"a": turn, "b": 1}, f"call_{turn}")
        return ModelResponse(parts=[part], usage=RequestUsage(input_tokens=1, output_tokens=1))

    return FunctionModel(answer)


def fleet(num_agents: int, num_steps: int) -> list[str]:
    async def run(agent: Agent) -> str:
        return (await agent.run(TASK, usage_limits=UsageLimits(request_limit=None))).output

    async def run_all() -> list[str]:
        agents = [Agent(make_model(num_steps), tools=[add]) for _ in range(num_agents)]
        return list(await asyncio.gather(*map(run, agents)))

    return asyncio.run(run_all())


if __name__ == "__main__":
    serve(fleet, "pydantic-ai-slim", description="Agent.run, all at once; FunctionModel that states its usage")
