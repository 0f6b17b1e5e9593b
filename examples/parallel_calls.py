"""Several calls in one turn run at the same time: three that take half a second each take half a second.

python examples/parallel_calls.py --model embedded
"""

from argparse import ArgumentParser
from time import perf_counter

import anyio

from agentflow import Agent, Backend, ToolCall, tool

WEATHER = {"Oslo": "snowy", "Rome": "sunny", "Bern": "foggy"}
running = most_running = 0


@tool
async def get_weather(city: str) -> dict[str, str]:
    """Look up the current weather.

    Args:
        city: Name of the city.
    """
    global running, most_running  # noqa: PLW0603 - to show how many run at once
    running += 1
    most_running = max(running, most_running)
    await anyio.sleep(0.5)
    running -= 1
    return {"sky": WEATHER[city]}


def main(model: str | Backend = "embedded") -> tuple[ToolCall, ...]:
    agent = Agent(model, instructions="Call independent tools at once.", tools=[get_weather])
    start = perf_counter()
    result = agent.run_sync("Look up the weather in Oslo, check the weather in Rome and get the weather in Bern.")
    print(f"{len(result.calls)} calls in {result.num_turns - 1} turns, {perf_counter() - start:.1f} s")
    print(f"at most {most_running} at once; {result.output}")
    return result.calls


if __name__ == "__main__":
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="embedded", help="'embedded', a folder or the name of a checkpoint")
    main(parser.parse_args().model)
