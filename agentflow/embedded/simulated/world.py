"""What the simulated worlds have in common: tools, a script of wishes, a task whose end can be checked.

A wish is played on a copy of the world while the task is made; what was called then is the reference solution, and how
the copy looks in the end is the goal.
"""

from __future__ import annotations

import copy
import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Self

from agentflow.errors import AgentflowError, ConfigurationError
from agentflow.tool import Tool, Toolset
from agentflow.types import JsonSchema, JsonValue, ToolCall, ToolResult, ToolSpec

MAX_CALLS = 40
NAMES = ("Ottilie", "Bartholomew", "Ximena", "Thaddeus", "Saoirse", "Lorcan", "Zuleika", "Ignatius")
NOUNS = ("kettle", "ladder", "anvil", "compass", "hammock", "trowel", "sextant", "bellows", "lantern", "canoe", "kite")
TOPICS = ("Plumbing", "Orchard", "Ferry", "Archive", "Quarry", "Lantern", "Harbour", "Beehives")
ERRANDS = (
    "sharpen the skates",
    "return the ladder",
    "oil the gate",
    "frame the map",
    "label the jars",
    "mend the kite",
)
_TYPES = {bool: "boolean", int: "integer", float: "number", str: "string"}
_ORDERS = ("", "second_", "third_", "fourth_")
_MAX_ANSWERS = len(_ORDERS)


@dataclass
class SimulatedWorld(ABC):
    """A world that tools act on; a subclass is a dataclass whose fields are its state.

    Attributes:
        made: Calls that wishes made, in order.
    """

    made: list[ToolCall] = field(default_factory=list, repr=False, compare=False)

    instructions: ClassVar[str] = "Use the tools. Then answer."

    @classmethod
    @abstractmethod
    def drawn(cls, rng: random.Random) -> Self:
        """Draw a world as a task finds it."""

    @abstractmethod
    def wishes(self) -> Sequence[Callable[[random.Random], Wish]]:
        """Give the ways to wish for something in this world as it is; each plays the wish when it is called."""

    def state(self) -> dict[str, Any]:
        """Give everything that tools can change, as plain data."""
        return {name: value for name, value in asdict(self).items() if name != "made"}

    def tools(self) -> tuple[Tool[..., Any], ...]:
        """Give the tools that act on this world."""
        return tuple(Toolset.from_object(self).tools)

    def run(self, call: ToolCall) -> ToolResult:
        """Run a call; what fails is a result that says why."""
        found = next((tool for tool in self.tools() if tool.name == call.name), None)
        if found is None:
            return ToolResult(call.id, call.name, f"there is no tool {call.name!r}", is_error=True)
        try:
            return ToolResult(call.id, call.name, found(**found.validate_arguments(call.arguments)))
        except (AgentflowError, ValueError) as error:
            return ToolResult(call.id, call.name, f"{call.name} failed: {error}", is_error=True)

    def call(self, name: str, /, **arguments: JsonValue) -> Any:
        """Make a call of a wish and keep it for the reference solution.

        Raises:
            RuntimeError: It fails; a wish must be possible.
        """
        call = ToolCall(f"call_{len(self.made)}", name, arguments)
        self.made.append(call)
        result = self.run(call)
        if result.is_error:
            raise RuntimeError(f"a wish made a call that fails: {call}: {result.content}")
        return result.content


@dataclass(frozen=True)
class Wish:
    """Something that was wished for and done.

    Attributes:
        said: How it is said, without a capital and a full stop.
        answer: What the final answer must tell of it: a name of a field, or "", and its value.
    """

    said: str
    answer: tuple[str, bool | int | float | str] = ("", "")


@dataclass(frozen=True, kw_only=True)
class SimulatedTask:
    """A task in a simulated world.

    Attributes:
        name: Tells it from others.
        kind: Name of the world.
        prompt: What the user says.
        before: The world when it begins; `open` gives a copy to act on.
        goal: The state when it is solved.
        answer: The right final answer.
        reference: One way to solve it.
    """

    name: str
    kind: str
    prompt: str
    before: SimulatedWorld
    goal: Mapping[str, Any]
    answer: Mapping[str, bool | int | float | str]
    reference: tuple[ToolCall, ...]

    @property
    def output_schema(self) -> JsonSchema:
        """Schema of the final answer."""
        properties = {name: {"type": _TYPES[type(value)]} for name, value in self.answer.items()}
        return {"type": "object", "properties": properties, "required": list(properties)}

    @property
    def specs(self) -> tuple[ToolSpec, ...]:
        """The tools as a model is told of them."""
        return tuple(tool.spec for tool in self.before.tools())

    def open(self) -> SimulatedWorld:
        """Give the world to act on."""
        return copy.deepcopy(self.before)

    def find_failure(self, world: SimulatedWorld, answer: Any) -> str:
        """Say what is wrong with a world and an answer, or give ``""``."""
        state = world.state()
        for name, right in self.goal.items():
            if state[name] != right:
                return f"{name} is {state[name]!r}, right is {right!r}"
        return "" if answer == dict(self.answer) else f"the answer is {answer!r}, right is {dict(self.answer)!r}"


def make_task(
    kind: str, worlds: Mapping[str, type[SimulatedWorld]], rng: random.Random, *, num_calls: int, name: str
) -> SimulatedTask:
    """Draw a world and wishes until the reference solution has `num_calls` calls.

    Raises:
        ConfigurationError: There is no such world, or `num_calls` is out of range.
    """
    if kind not in worlds:
        raise ConfigurationError(f"there is no simulated world {kind!r}; there are {', '.join(worlds)}")
    if not 1 <= num_calls <= MAX_CALLS:
        raise ConfigurationError(f"num_calls must be from 1 to {MAX_CALLS}, got {num_calls}")
    before = worlds[kind].drawn(rng)
    script = copy.deepcopy(before)
    said: list[str] = []
    answer: dict[str, bool | int | float | str] = {}
    while len(script.made) < num_calls or not answer:
        tried = copy.deepcopy(script)
        wish = rng.choice(tried.wishes())(rng)
        if wish.said in said:  # asked for twice: is it to be done twice?
            continue
        script = tried
        key, value = wish.answer
        if key and len(answer) < _MAX_ANSWERS:
            answer[next(f"{order}{key}" for order in _ORDERS if f"{order}{key}" not in answer)] = value
        said.append(wish.said)
    prompt = " ".join(f"{text[0].upper()}{text[1:]}." for text in said)
    return SimulatedTask(
        name=name,
        kind=kind,
        prompt=prompt,
        before=before,
        goal=script.state(),
        answer=answer,
        reference=tuple(script.made),
    )


def draw_date(rng: random.Random) -> str:
    """Draw a day after 2030, which training data keep out."""
    return f"{rng.randint(2031, 2034)}-{rng.randint(1, 12):02d}-{rng.randint(1, 28):02d}"


def draw_time(rng: random.Random) -> str:
    """Draw a time of day."""
    return f"{rng.randint(7, 20):02d}:{rng.choice((0, 15, 30, 45)):02d}"
