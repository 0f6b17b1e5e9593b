# ruff: noqa: PLR2004 - shares stand where they are drawn
"""A simulated world while a task in it is drawn: wishes are played on a copy, and the answer tells what came out."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, ClassVar

from agentflow.embedded.data.clauses import Draft
from agentflow.embedded.data.scenes.words import Words
from agentflow.embedded.simulated import SimulatedWorld
from agentflow.types import JsonValue

_ORDERS = ("", "second_", "third_", "fourth_")
_PLAIN_SHARE = 0.4


@dataclass
class Scene:
    """A world while a task in it is drawn; a subclass draws the world and the wishes.

    Attributes:
        draft: Draws phrasings, and values that no other wish needs.
        words: Draws what is spoken of.
        world: The copy that wishes are played on.
        before: The world as the task finds it.
        said: The wishes so far.
        answer: What the final answer tells.
    """

    draft: Draft
    words: Words
    world: Any
    before: SimulatedWorld = field(init=False)
    said: list[str] = field(default_factory=list)
    answer: dict[str, JsonValue] = field(default_factory=dict)
    _naming: int = 0
    _is_plain: bool = False
    _wished: set[str] = field(default_factory=set)

    wishes: ClassVar[tuple[Callable[[Any], str], ...]] = ()

    def __post_init__(self) -> None:
        self.before = copy.deepcopy(self.world)
        self._is_plain = self.rng.random() < _PLAIN_SHARE
        self._naming = 0 if self.rng.random() < 0.8 else self.rng.randint(1, 2)

    @property
    def rng(self) -> random.Random:
        """The draft's random generator."""
        return self.draft.rng

    def tell(self, fields: str, value: JsonValue) -> None:
        """Have the answer tell a value, under a name that says how many of its kind came before it."""
        names = fields.split("|")
        key = names[self._naming % len(names)]
        free = [name for order in _ORDERS if (name := f"{order}{key}") not in self.answer]
        if free and len(self.answer) < len(_ORDERS):
            self.answer[free[0]] = value

    def say(self, *notations: str, **values: object) -> str:
        """Draw a phrasing; some scenes keep to the plainest ones, as the worlds' own tasks do."""
        say = self.draft.phrasings.say_plainly if self._is_plain else self.draft.phrasings.say
        return say(notations, **values)

    def pick(self, names: Iterable[str]) -> str:
        """Choose a name."""
        return self.rng.choice(list(names))

    def wish(self) -> None:
        """Draw a wish and play it; nothing is wished for twice."""
        world, answer = copy.deepcopy(self.world), dict(self.answer)
        said = self.rng.choice(self.wishes)(self)
        calls = str([(call.name, call.arguments) for call in self.world.made[len(world.made) :]])
        if calls in self._wished:
            self.world, self.answer = world, answer
            return
        self._wished.add(calls)
        self.said.append(said)


def listed(items: list[str]) -> str:
    """Write a list in a sentence."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"
