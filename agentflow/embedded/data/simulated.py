"""Tasks in the simulated worlds as conversations: the worlds' own tools, with values and phrasings of the split.

The worlds are those of `agentflow.embedded.simulated`. What `make_simulated_task` draws (its names, things, errands
and days) is held out of training.
"""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from agentflow.embedded.data.clauses import Draft
from agentflow.embedded.data.phrasings import expand
from agentflow.embedded.data.scenes import SCENES, Scene
from agentflow.embedded.data.splits import Split, is_held_out, wants_held_out
from agentflow.embedded.data.tasks import Conversation, capital, instructions, join_request, object_schema
from agentflow.embedded.data.tools import AFFIXES, Behaviour, OfferedTool
from agentflow.embedded.simulated import SimulatedWorld
from agentflow.types import AssistantMessage, Message, SystemMessage, ToolMessage, UserMessage

_USUAL_SHARE = 0.65
"""Share of conversations that declare the worlds' tools under their own names."""
_PLAIN_SHARE = 0.5
"""Share that are asked as `make_simulated_task` asks: a sentence for each wish."""
_AFFIX_CASE_SHARE = 0.3
_NUM_CALLS = ((2, 2), (3, 4), (4, 4), (5, 4), (6, 5), (7, 4), (8, 5), (9, 2))
_MOST_CALLS = 10
_TYPES = {int: "integer", str: "string"}


def make_simulated(rng: random.Random, split: Split) -> Conversation:
    """Make a task in a simulated world."""
    num_calls = rng.choices([n for n, _ in _NUM_CALLS], [w for _, w in _NUM_CALLS])[0]
    scene = _draw_scene(rng, split, num_calls)
    while len(scene.world.made) > max(num_calls + 2, _MOST_CALLS):
        scene = _draw_scene(rng, split, num_calls)
    offered = _declare(scene.before, rng, split)
    messages = _ask(scene)
    world = copy.deepcopy(scene.before)
    for made in scene.world.made:
        call = replace(made, name=offered[made.name].spec.name)
        result = replace(world.run(made), name=call.name)
        messages += [AssistantMessage(tool_calls=(call,)), ToolMessage((result,))]
    messages.append(AssistantMessage(json.dumps(scene.answer, separators=(",", ":"), ensure_ascii=False)))
    return Conversation(
        f"world-{len(scene.world.made)}",
        tuple(messages),
        tuple(tool.spec for tool in offered.values()),
        object_schema(rng, {name: {"type": _TYPES[type(value)]} for name, value in scene.answer.items()}),
        {tool.spec.name: tool for tool in offered.values()},
        scene.before,
        world,
    )


def _ask(scene: Scene) -> list[Message]:
    """Give the instructions and the request."""
    if scene.rng.random() < _PLAIN_SHARE:
        request = " ".join(f"{capital(text)}." for text in scene.said)
        return [SystemMessage(scene.before.instructions), UserMessage(request)]
    request = join_request(scene.draft, scene.said)
    return [*instructions(scene.draft, is_parallel=False), UserMessage(request)]


def _draw_scene(rng: random.Random, split: Split, num_calls: int) -> Scene:
    scene = rng.choices(list(SCENES), list(SCENES.values()))[0](Draft.start(rng, split))
    while len(scene.world.made) < num_calls or not scene.answer:
        scene.wish()
    return scene


_SPECS: dict[type[SimulatedWorld], tuple[Any, ...]] = {}


def _declare(world: SimulatedWorld, rng: random.Random, split: Split) -> Mapping[str, OfferedTool]:
    """Declare the tools of a world, under their own names or, in the split of new tools and now and then, others."""
    specs = _SPECS.setdefault(type(world), tuple(tool.spec for tool in world.tools()))
    is_new = wants_held_out("tool", split)
    is_usual = not is_new and rng.random() < _USUAL_SHARE
    offered = {}
    for spec in specs:
        name = spec.name if is_usual else _rename(spec.name, rng, is_new=is_new)
        arguments = {argument: argument for argument in spec.parameters["properties"]}
        offered[spec.name] = OfferedTool(
            Behaviour(spec.name, "", spec.description, ""),
            type(spec)(name, spec.description, spec.parameters),
            arguments,
        )
    return offered


def _rename(name: str, rng: random.Random, *, is_new: bool) -> str:
    while True:
        new = expand(rng.choice(AFFIXES), rng).format(name=name)
        if rng.random() < _AFFIX_CASE_SHARE:
            head, *tail = new.split("_")
            new = head + "".join(part.capitalize() for part in tail)
        if is_held_out("tool", new) == is_new:
            return new
