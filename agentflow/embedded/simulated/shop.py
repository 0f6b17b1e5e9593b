"""A shop: products with prices and stock, and orders of customers."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from agentflow.embedded.simulated.world import NAMES, NOUNS, SimulatedWorld, Wish
from agentflow.tool import tool


@dataclass
class Shop(SimulatedWorld):
    """Products and orders.

    Attributes:
        prices: Price by product.
        stock: Pieces in stock by product.
        orders: By number: the customer, and the pieces by product.
    """

    prices: dict[str, int] = field(default_factory=dict)
    stock: dict[str, int] = field(default_factory=dict)
    orders: dict[str, dict[str, Any]] = field(default_factory=dict)

    @classmethod
    def drawn(cls, rng: random.Random) -> Self:
        """Draw eight products and no order."""
        products = rng.sample(NOUNS, 8)
        return cls(
            prices={product: rng.randint(11, 499) for product in products},
            stock={product: rng.randint(60, 90) for product in products},
        )

    @tool
    def get_product(self, product: str) -> dict[str, int]:
        """Look up the price and the stock of a product.

        Args:
            product: Name of the product.
        """
        return {"price": self.prices[self._known(product)], "stock": self.stock[product]}

    @tool
    def set_price(self, product: str, price: int) -> dict[str, int]:
        """Change the price of a product.

        Args:
            product: Name of the product.
            price: The new price.
        """
        self.prices[self._known(product)] = price
        return {"price": price}

    @tool
    def add_stock(self, product: str, count: int) -> dict[str, int]:
        """Add pieces to the stock of a product.

        Args:
            product: Name of the product.
            count: How many pieces.
        """
        self.stock[self._known(product)] += count
        return {"stock": self.stock[product]}

    @tool
    def open_order(self, customer: str) -> dict[str, str]:
        """Open an order for a customer.

        Args:
            customer: Name of the customer.
        """
        number = f"OR-{len(self.orders) + 41}"
        self.orders[number] = {"customer": customer, "pieces": {}}
        return {"order": number}

    @tool
    def add_to_order(self, order: str, product: str, count: int) -> dict[str, int]:
        """Add a product to an order; it is taken from the stock.

        Args:
            order: Number of the order.
            product: Name of the product.
            count: How many pieces.
        """
        if order not in self.orders:
            raise ValueError(f"there is no order {order!r}; there are: {', '.join(self.orders) or 'none'}")
        if count > self.stock[self._known(product)]:
            raise ValueError(f"only {self.stock[product]} pieces of {product!r} are in stock")
        self.stock[product] -= count
        pieces = self.orders[order]["pieces"]
        pieces[product] = pieces.get(product, 0) + count
        return {"cost": count * self.prices[product]}

    def wishes(self) -> Sequence[Callable[[random.Random], Wish]]:
        """Give what can be wished for."""
        return self._wish_price, self._wish_new_price, self._wish_restocked, self._wish_order, self._wish_order

    def _known(self, product: str) -> str:
        if product not in self.prices:
            raise ValueError(f"there is no product {product!r}; there are: {', '.join(self.prices)}")
        return product

    def _wish_price(self, rng: random.Random) -> Wish:
        product = rng.choice(list(self.prices))
        price = self.call("get_product", product=product)["price"]
        return Wish(f"look up the price of the {product}", (f"{product}_price", price))

    def _wish_new_price(self, rng: random.Random) -> Wish:
        product, price = rng.choice(list(self.prices)), rng.randint(11, 499)
        self.call("set_price", product=product, price=price)
        return Wish(f"set the price of the {product} to {price}")

    def _wish_restocked(self, rng: random.Random) -> Wish:
        product, count = rng.choice(list(self.prices)), rng.randint(2, 60)
        stock = self.call("add_stock", product=product, count=count)["stock"]
        return Wish(f"add {count} pieces to the stock of the {product}", (f"{product}_stock", stock))

    def _wish_order(self, rng: random.Random) -> Wish:
        customer = rng.choice(NAMES)
        number = self.call("open_order", customer=customer)["order"]
        able = [product for product, count in self.stock.items() if count > 9]  # noqa: PLR2004 - the most of one order
        lines = []
        for product in rng.sample(able, min(len(able), rng.choice((1, 2, 2, 3)))):
            count = rng.randint(2, 9)
            self.call("add_to_order", order=number, product=product, count=count)
            lines.append(f"{count} of the {product}")
        said = lines[0] if len(lines) == 1 else f"{', '.join(lines[:-1])} and {lines[-1]}"
        return Wish(
            f"open an order for {customer} with {said}" if lines else f"open an order for {customer}", ("order", number)
        )
