"""Watch a run: every denoising step of the canvas, every call and its result, as they happen.

python examples/streaming.py --model embedded
"""

from argparse import ArgumentParser

import anyio

from agentflow import Agent, Backend
from agentflow.events import CallFinished, CallReady, DraftUpdated, OutputReady, TurnStarted
from agentflow_tools import calculator

MARKS = {"clamped": "=", "accepted": "+", "open": "."}


async def main(model: str | Backend = "embedded") -> str:
    agent = Agent(model, tools=calculator())
    async with agent.stream("Calculate 17 * 23.") as events:
        async for event in events:
            match event:
                case TurnStarted():
                    print(f"turn {event.turn}")
                case DraftUpdated(draft=draft):
                    states = "".join(MARKS[state] for state in draft.states)
                    print(f"  step {draft.step:2} {states[:40]} {draft.text[:60]!r}")
                case CallReady(call=call):
                    print(f"  call {call.name}({dict(call.arguments)})")
                case CallFinished(result=result, duration_s=duration_s):
                    print(f"  -> {result.content} in {1000 * duration_s:.1f} ms")
                case OutputReady(output=output):
                    print(f"answer: {output}")
    return events.result.output


if __name__ == "__main__":
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="embedded", help="'embedded', a folder or the name of a checkpoint")
    anyio.run(main, parser.parse_args().model)
