"""The floor: a loop that somebody writes by hand, without any framework."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from fleet import ANSWER, TASK, add, serve

TOOLS = {"add": add}


class Model:
    """Asks for one addition a turn, then answers."""

    def __init__(self, num_steps: int) -> None:
        self.num_steps, self.turn = num_steps, -1

    async def ask(self, messages: list[dict[str, Any]]) -> dict[str, Any]:  # noqa: ARG002 - as a model would be given
        await asyncio.sleep(0)
        self.turn += 1
        if self.turn == self.num_steps:
            return {"role": "assistant", "content": ANSWER}
        function = {"name": "add", "arguments": json.dumps({"a": self.turn, "b": 1})}
        return {"role": "assistant", "tool_calls": [{"id": f"call_{self.turn}", "function": function}]}


async def run(model: Model) -> str:
    messages: list[dict[str, Any]] = [{"role": "user", "content": TASK}]
    while True:
        message = await model.ask(messages)
        messages.append(message)
        if "tool_calls" not in message:
            return str(message["content"])
        for call in message["tool_calls"]:
            arguments = json.loads(call["function"]["arguments"])
            result = await TOOLS[call["function"]["name"]](**arguments)
            messages.append({"role": "tool", "tool_call_id": call["id"], "content": json.dumps(result)})


def fleet(num_agents: int, num_steps: int) -> list[str]:
    async def run_all() -> list[str]:
        return list(await asyncio.gather(*(run(Model(num_steps)) for _ in range(num_agents))))

    return asyncio.run(run_all())


if __name__ == "__main__":
    serve(fleet, "", description="a while loop over dicts; no checks, no events, no limits")
