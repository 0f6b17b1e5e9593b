"""Hello, agent: a task that takes several tool calls, and an answer that is a pydantic object.

python examples/hello_agent.py --model embedded
"""

from argparse import ArgumentParser

from pydantic import BaseModel

from agentflow import Agent, Backend
from agentflow_tools import calculator, clock


class Report(BaseModel):
    total: int
    weekday: str


def main(model: str | Backend = "embedded") -> Report:
    agent = Agent(
        model,
        instructions="Use the tools. Then answer.",
        tools=[*calculator(), *clock()],
        output_type=Report,
    )
    result = agent.run_sync("Work out 128 * 46, and tell me the weekday of 2026-03-14.")
    for call, answer in zip(result.calls, result.results, strict=True):
        print(f"{call.name}({dict(call.arguments)}) -> {answer.content}")
    print(result.output)
    print(f"{result.usage.output_tokens} tokens, {result.usage.tokens_per_forward:.1f} per forward pass")
    return result.output


if __name__ == "__main__":
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="embedded", help="'embedded', a folder or the name of a checkpoint")
    main(parser.parse_args().model)
