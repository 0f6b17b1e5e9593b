"""agno: `Agent.arun` with telemetry off and no database."""

from __future__ import annotations

import asyncio
import json
import os
from dataclasses import dataclass
from typing import Any

os.environ["AGNO_TELEMETRY"] = "false"

from agno.agent import Agent
from agno.models.base import Model
from agno.models.response import ModelResponse
from fleet import ANSWER, TASK, add, serve


@dataclass
class FakeModel(Model):
    """Asks for one addition a turn, then answers."""

    id: str = "fake"
    num_steps: int = 0
    turn: int = -1

    async def ainvoke(self, *_args: Any, **_options: Any) -> ModelResponse:
        await asyncio.sleep(0)
        self.turn += 1
        if self.turn == self.num_steps:
            return ModelResponse(role="assistant", content=ANSWER)
        function = {"name": "add", "arguments": json.dumps({"a": self.turn, "b": 1})}
        call = {"id": f"call_{self.turn}", "type": "function", "function": function}
        return ModelResponse(role="assistant", tool_calls=[call])

    def invoke(self, *_args: Any, **_options: Any) -> ModelResponse:
        raise NotImplementedError

    def invoke_stream(self, *_args: Any, **_options: Any):
        raise NotImplementedError

    def ainvoke_stream(self, *_args: Any, **_options: Any):
        raise NotImplementedError

    def _parse_provider_response(self, response: Any, **_options: Any) -> ModelResponse:
        return response

    def _parse_provider_response_delta(self, response: Any) -> ModelResponse:
        return response


def fleet(num_agents: int, num_steps: int) -> list[str]:
    async def run(agent: Agent) -> str:
        return str((await agent.arun(TASK)).content)

    async def run_all() -> list[str]:
        agents = [Agent(model=FakeModel(num_steps=num_steps), tools=[add], telemetry=False) for _ in range(num_agents)]
        return list(await asyncio.gather(*map(run, agents)))

    return asyncio.run(run_all())


if __name__ == "__main__":
    serve(fleet, "agno", description="Agent.arun, all at once, telemetry off, no database")
