# ruff: noqa: PLR2004 - shares stand where they are drawn
"""A task while it is made: its calls, what came out of them, and how to speak of it."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from agentflow.embedded.data.phrasings import Phrasings
from agentflow.embedded.data.splits import Split
from agentflow.embedded.data.tools import Behaviour
from agentflow.embedded.data.values import Values, has_sign
from agentflow.embedded.data.worlds import World, WorldError, call_key
from agentflow.types import JsonValue

Kind = Literal["number", "date", "text", "weekday", "echo", "list"]


@dataclass(frozen=True)
class Output:
    """Something that came out of a call, or that the user named.

    Attributes:
        value: The value.
        kind: What later clauses can do with it.
        fields: Notation of names of an answer field that holds it.
        said: Notation of how a user speaks of it; empty for what nobody refers to.
        step: Index of the call that it came from.
    """

    value: JsonValue
    kind: Kind
    fields: str
    said: str
    step: int


TRANSIENT = (
    "TimeoutError: timed out after 10 s; try again",
    "TimeoutError: no answer within 30 seconds",
    "ConnectionError: the connection was lost; please retry",
    "OSError: temporarily unavailable",
    "RuntimeError: busy, try again",
    "RuntimeError: service unavailable (503)",
)
"""What a call fails with that works when it is made again."""
_TRANSIENT_SHARE = 0.025
_BARE_SHARE = 0.4


@dataclass(frozen=True)
class Step:
    """A call of a task, by usual names, and its result.

    Attributes:
        tool: Usual name of the tool.
        arguments: Arguments by usual name.
        result: What came back.
        needs: Steps whose results it uses.
        is_error: Whether the call failed; the result is then the error's text.
    """

    tool: str
    arguments: Mapping[str, JsonValue]
    result: JsonValue
    needs: frozenset[int]
    is_error: bool = False


@dataclass
class Draft:
    """A task while it is made.

    Attributes:
        rng: Random generator.
        values: Draws values.
        phrasings: Draws phrasings.
        world: Where the calls really run.
        before: The world before the first call.
        steps: Calls so far.
        outputs: What came out of them.
        functions: Behaviours that only this task has, needed or not, by name.
        first_alone: The first step that can be spoken of as "it"; steps before it belong to a list of equal ones.
    """

    rng: random.Random
    values: Values
    phrasings: Phrasings
    world: World
    before: World
    steps: list[Step] = field(default_factory=list)
    outputs: list[Output] = field(default_factory=list)
    functions: dict[str, Behaviour] = field(default_factory=dict)
    first_alone: int = 0

    @classmethod
    def start(cls, rng: random.Random, split: Split) -> Draft:
        """Begin a task with an empty world."""
        return cls(rng, Values(rng, split), Phrasings(rng, split), World(rng), World(rng))

    def place(self, kind: Literal["files", "notes", "pages", "rows"], name: str, content: Any) -> None:
        """Put something into the world as it was before the first call."""
        for world in (self.world, self.before):
            getattr(world, kind)[name] = content

    def place_todo(self, item: str) -> None:
        """Put an item on the to-do list as it was before the first call."""
        self.before.todos.append(item)
        self.world.todos.insert(len(self.before.todos) - 1, item)

    def call(self, tool: str, needs: tuple[Output | None, ...] = (), **arguments: JsonValue) -> Any:
        """Run a call and keep it; now and then it fails first and is made again."""
        used = frozenset(output.step for output in needs if output is not None)
        if self.rng.random() < _TRANSIENT_SHARE:
            message = self.rng.choice(TRANSIENT)
            for world in (self.world, self.before):
                world.hiccups[call_key(tool, arguments)] = message
            self.call_wrong(tool, used, **arguments)
            used = frozenset((len(self.steps) - 1,))
        elif self.steps and self.steps[-1].is_error:
            used |= {len(self.steps) - 1}
        result = self.world.run(tool, arguments)
        self.steps.append(Step(tool, arguments, result, used))
        return result

    def call_wrong(self, tool: str, used: frozenset[int], **arguments: JsonValue) -> None:
        """Run a call that fails, and keep its error; the call that mends it comes next."""
        try:
            self.world.run(tool, arguments)
        except WorldError as error:
            self.steps.append(Step(tool, arguments, str(error), used, is_error=True))

    def put(self, value: JsonValue, kind: Kind, fields: str, said: str = "") -> None:
        """Keep an output of the last call."""
        self.outputs.append(Output(value, kind, fields, said, len(self.steps) - 1))

    def say(self, *notations: str, **values: object) -> str:
        """Draw a phrasing."""
        return self.phrasings.say(notations, **values)

    def refer(self, *kinds: Kind, share: float = 0.75) -> tuple[Output, str] | None:
        """Pick an earlier output of the given kinds and say it, or give None (always if there is none)."""
        options = [o for o in self.outputs if o.kind in kinds and o.said and self._is_unmistakable(o)]
        if not options or self.rng.random() > share:
            return None
        output = options[-1] if self.rng.random() < 0.8 else self.rng.choice(options)
        generic = _GENERIC.get(output.kind, "") if output is self._last_said() else ""
        notation = f"[{output.said}|{generic}]" if generic and self.rng.random() < 0.6 else f"[{output.said}]"
        return output, self.say(notation)

    def refer_to_other(self, output: Output, *kinds: Kind) -> tuple[Output, str] | None:
        """Pick an earlier output of the given kinds beside `output` and say it by its name, or give None."""
        options = [o for o in self.outputs if o is not output and o.kind in kinds and o.said]
        options = [o for o in options if sum(o.said == other.said for other in self.outputs) == 1]
        if not options:
            return None
        other = options[-1]
        return other, self.say(f"[{other.said}]")

    def _last_said(self) -> Output | None:
        """Give what the last call gave, if it is one thing only that can be spoken of."""
        said = [
            output for output in self.outputs if output.said and self.first_alone <= output.step == len(self.steps) - 1
        ]
        return said[0] if len(said) == 1 else None

    def _is_unmistakable(self, output: Output) -> bool:
        return output is self._last_said() or sum(o.said == output.said for o in self.outputs) == 1


_GENERIC: Mapping[str, str] = {
    "number": "[the|this|that] [result|number|answer|value|figure]|it|that|this|what you get|what comes out",
    "date": "[the|this|that] [date|day|result]|it|that|what you get",
    "text": "it|that|this|[the|this|that] text|what it says|what you find|what you get|the [answer|result]",
    "weekday": "it|that|this|the [result|answer]|what you get|what comes out",
}


def shown(value: JsonValue) -> str:
    """Write a value as text: strings as they are, others as JSON."""
    return value if isinstance(value, str) else json.dumps(value)


def quoted_text(draft: Draft, text: str) -> str:
    """Put quotes around a text, or say it as it is where one sees where it ends."""
    num_words = text.count(" ") + 1
    if num_words == 1 and draft.rng.random() < _BARE_SHARE and not has_sign(text):
        return text
    quote = draft.rng.choice(("'", '"', '"'))
    return f"{quote}{text}{quote}"


def quoted(draft: Draft, text: str) -> str:
    """Put quotes of some kind around a text, or none; always around words with signs."""
    quote = draft.rng.choice(("", "", "'", '"'))
    if not quote and " " in text and has_sign(text):
        quote = '"'
    return f"{quote}{text}{quote}"
