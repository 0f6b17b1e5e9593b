"""A plan: steps that do not need each other run at once, the others wait for the results that they refer to.

python examples/parallel_plan.py --model embedded

The plan is written down here, because the embedded model is too small to plan; leave out ``plan=`` and a larger model
drafts it, the arguments of all steps that are ready in one batch.
"""

from argparse import ArgumentParser
from time import perf_counter

import anyio
from pydantic import BaseModel

from agentflow import Backend, tool
from agentflow.events import CallFinished, CallRunning, Event
from agentflow.planner import Planner, plan_as_text
from agentflow.types import Plan, PlanStep
from agentflow_tools import calculator

PRICES = {"kettle": 34.5, "lamp": 49.0, "desk": 812.0}
TASK = "Look up the price of kettle, the price of lamp and the price of desk, and add them up."


class Total(BaseModel):
    total: float


@tool
async def get_price(product: str) -> dict[str, float]:
    """Look up a price."""
    await anyio.sleep(0.5)  # a shop that is far away
    return {"price": PRICES[product]}


def main(model: str | Backend = "embedded") -> Total:
    lookups = [PlanStep(id=product, tool="get_price", arguments={"product": product}) for product in PRICES]
    expression = " + ".join(f"${{{product}.price}}" for product in PRICES)  # each stands for a result
    plan = Plan(task=TASK, steps=(*lookups, PlanStep(id="sum", tool="calculate", arguments={"expression": expression})))
    print(plan_as_text(plan))
    times = []

    def watch(event: Event) -> None:
        if isinstance(event, (CallRunning, CallFinished)):
            times.append(perf_counter())

    planner = Planner(model, tools=[get_price, *calculator()], output_type=Total)
    result = planner.run_sync(TASK, plan=plan, on_event=watch)
    print(f"all calls took {times[-1] - times[0]:.1f} s, though three of them take half a second each:")
    print(plan_as_text(result.plan))
    print(result.output)
    return result.output


if __name__ == "__main__":
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="embedded", help="'embedded', a folder or the name of a checkpoint")
    main(parser.parse_args().model)
