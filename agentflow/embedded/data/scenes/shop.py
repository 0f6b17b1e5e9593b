# ruff: noqa: E501, PLR2004 - a phrasing stands in one line, shares stand where they are drawn
"""Wishes about products and orders: prices, stock, and orders of several products."""

from __future__ import annotations

from agentflow.embedded.data.clauses import Draft
from agentflow.embedded.data.scenes.scene import Scene, listed
from agentflow.embedded.data.scenes.words import Words
from agentflow.embedded.simulated.shop import Shop


class ShopScene(Scene):
    """Wishes about products and orders."""

    @classmethod
    def start(cls, draft: Draft) -> ShopScene:
        """Draw some products."""
        rng, words, products = draft.rng, Words(draft), {draft.values.noun() for _ in range(8)}
        names = sorted(products)
        prices = {name: rng.randint(11, 499) for name in names}
        return cls(draft, words, Shop(prices=prices, stock={name: rng.randint(60, 90) for name in names}))

    def _any(self) -> str:
        return self.pick(self.world.prices)

    def price(self) -> str:
        """Look a price up, or what is in stock."""
        product = self._any()
        found = self.world.call("get_product", product=product)
        what = "price" if self.rng.random() < 0.8 else "stock"
        self.tell(f"{product}_{what}|{what}_of_{product}", found[what])
        return self.say(
            "[look up|@find] the {w} of the {x}",
            "[how much does the {x} cost|what does the {x} cost|@ask what the {x} costs]" if what == "price" else "@ask how many {x} are in stock",
            w=what, x=product,
        )  # fmt: skip

    def new_price(self) -> str:
        """Change a price."""
        product, price = self._any(), self.rng.randint(11, 499)
        self.world.call("set_price", product=product, price=price)
        return self.say(
            "[set|change|lower|raise|adjust] the price of the {x} to {n}",
            "[make|let] the {x} cost {n}",
            "[the new price of the {x} is|from now on the {x} costs] {n}",
            x=product, n=price,
        )  # fmt: skip

    def restocked(self) -> str:
        """Add to the stock."""
        product, count = self._any(), self.rng.randint(2, 60)
        self.tell(
            f"{product}_stock|stock_of_{product}", self.world.call("add_stock", product=product, count=count)["stock"]
        )
        return self.say(
            "add {n} pieces to the stock of the {x}",
            "[put|place] {n} [more |]pieces of the {x} [in stock|on the shelf|into the stock]",
            "[raise|increase] the stock of the {x} by {n}",
            "{n} pieces of the {x} [came in|arrived]",
            x=product, n=count,
        )  # fmt: skip

    def ordered(self) -> str:
        """Open an order with some products."""
        rng, customer = self.rng, self.words.name()
        number = self.world.call("open_order", customer=customer)["order"]
        able = [product for product, count in self.world.stock.items() if count > 9]
        lines = []
        notation = rng.choice(
            ("{n} of the {x}", "{n} of the {x}", "{n} x {x}", "the {x} ({n} pieces)", "{n} pieces of the {x}")
        )
        for product in rng.sample(able, min(len(able), rng.choice((0, 1, 2, 2, 3)))):
            count = rng.randint(2, 9)
            self.world.call("add_to_order", order=number, product=product, count=count)
            lines.append(notation.format(n=count, x=product))
        self.tell("order|order_number|number", number)
        said = self.say(
            "[open|make|start|create|begin] an order for {c}", "[place|set up] a[ new|n] order for {c}", c=customer
        )
        return f"{said} {rng.choice(('with', 'with', 'of'))} {listed(lines)}" if lines else said

    wishes = (price, new_price, restocked, ordered, ordered)
