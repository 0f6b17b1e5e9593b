"""smolagents: `ToolCallingAgent`, one after the other, since it is not async; its model does not wait."""

from __future__ import annotations

from fleet import ANSWER, TASK, add_now, serve
from smolagents import LogLevel, ToolCallingAgent, tool
from smolagents.models import ChatMessage, ChatMessageToolCall, ChatMessageToolCallFunction, MessageRole, Model
from smolagents.monitoring import TokenUsage


class FakeModel(Model):
    """Asks for one addition a turn, then answers."""

    def __init__(self, num_steps: int) -> None:
        super().__init__(model_id="fake")
        self.num_steps, self.turn = num_steps, -1

    def generate(self, *_args, **_options) -> ChatMessage:
        self.turn += 1
        if self.turn == self.num_steps:
            function = ChatMessageToolCallFunction(name="final_answer", arguments={"answer": ANSWER})
        else:
            function = ChatMessageToolCallFunction(name="add", arguments={"a": self.turn, "b": 1})
        call = ChatMessageToolCall(function=function, id=f"call_{self.turn}", type="function")
        return ChatMessage(role=MessageRole.ASSISTANT, content="", tool_calls=[call], token_usage=TokenUsage(1, 1))


@tool
def add(a: int, b: int) -> int:
    """Add two numbers.

    Args:
        a: The first number.
        b: The second number.
    """
    return add_now(a, b)


def fleet(num_agents: int, num_steps: int) -> list[str]:
    def run() -> str:
        agent = ToolCallingAgent(
            tools=[add], model=FakeModel(num_steps), max_steps=num_steps + 1, verbosity_level=LogLevel.OFF
        )
        return str(agent.run(TASK))

    return [run() for _ in range(num_agents)]


if __name__ == "__main__":
    serve(fleet, "smolagents", description="ToolCallingAgent.run, one after the other (not async), tool is a function")
