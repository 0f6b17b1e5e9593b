"""Agents as tools: one agent hands a task to another, which has tools, limits and an answer type of its own.

python examples/agents_as_tools.py --model embedded
"""

from argparse import ArgumentParser

from pydantic import BaseModel

from agentflow import Agent, Backend, Limits
from agentflow.events import CallFinished, Event
from agentflow_tools import calculator, clock


class Number(BaseModel):
    value: int


class Day(BaseModel):
    weekday: str


def show(event: Event) -> None:
    """Print every call of every agent; runs inside a run are told to the same observer."""
    if isinstance(event, CallFinished):
        print(f"{event.agent}: {event.call.name}({dict(event.call.arguments)}) -> {event.result.content}")


def main(model: str | Backend = "embedded") -> Number:
    how = "Use the tools. Then answer."
    mathematician = Agent(model, name="mathematician", instructions=how, tools=calculator(), output_type=Number)
    secretary = Agent(model, name="secretary", instructions=how, tools=clock(), output_type=Day)
    chief = Agent(
        model,
        name="chief",
        instructions=how,
        tools=[
            mathematician.as_tool(name="send_to_mathematician", description="Send a task to the mathematician."),
            secretary.as_tool(name="send_to_secretary", description="Send a task to the secretary."),
        ],
        output_type=Number,
        limits=Limits(max_turns=5),
    )
    result = chief.run_sync("Send the task 'Work out 128 + 46' to the mathematician.", on_event=show)
    print(f"{result.output}, {result.usage.requests} model turns of both agents")
    return result.output


if __name__ == "__main__":
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="embedded", help="'embedded', a folder or the name of a checkpoint")
    main(parser.parse_args().model)
