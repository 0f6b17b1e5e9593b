"""Tools of one's own, with dependencies: the shop is handed to the run, and the model never sees it.

python examples/custom_tools.py --model embedded
"""

from argparse import ArgumentParser
from dataclasses import dataclass

from agentflow import Agent, Backend, RunContext, tool


@dataclass
class Shop:
    prices: dict[str, float]
    stock: dict[str, int]


@dataclass
class Offer:
    price: float
    quantity: int


@tool(timeout_s=5)
async def get_price(context: RunContext[Shop], product: str) -> dict[str, float]:
    """Look up a price."""
    if product not in context.deps.prices:  # the sentence goes back to the model, which can try again
        raise ValueError(f"there is no product {product!r}; there are {', '.join(context.deps.prices)}")
    return {"price": context.deps.prices[product]}


@tool
def check_stock(context: RunContext[Shop], product: str) -> dict[str, int]:
    """Count what is in stock."""
    return {"quantity": context.deps.stock.get(product, 0)}


def main(model: str | Backend = "embedded") -> Offer:
    shop = Shop(prices={"kettle": 34.5, "ladder": 120}, stock={"kettle": 7})
    agent = Agent(model, tools=[get_price, check_stock], output_type=Offer, deps_type=Shop)
    result = agent.run_sync("Look up the price of kettle, and check the stock of kettle.", deps=shop)
    print(f"{result.output} after {[call.name for call in result.calls]}")
    return result.output


if __name__ == "__main__":
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="embedded", help="'embedded', a folder or the name of a checkpoint")
    main(parser.parse_args().model)
