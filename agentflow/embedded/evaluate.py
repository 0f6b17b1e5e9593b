"""Measure the embedded model: ``python -m agentflow.embedded.evaluate``.

Every task is a conversation that training never saw: new values, new phrasings, or new tools. The
model plays it from the request on, its calls really run in a simulated world, and it ends with an
answer. A task is solved if the answer and the world are right. Turns are also compared one by one with
the turn that the task was made with, from the right turns before it.

The table goes to standard output; the last line is the same as JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import copy
import json
import math
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count, islice
from pathlib import Path
from typing import Any

from agentflow.embedded.data.conversations import make_conversation
from agentflow.embedded.data.splits import Split
from agentflow.embedded.data.tasks import Conversation
from agentflow.errors import AgentflowError
from agentflow.model import Model, load_model
from agentflow.types import (
    AssistantMessage,
    GenerationRequest,
    GenerationSettings,
    Message,
    ToolMessage,
    Usage,
)

_SEED = 7_000_001
_MAX_TURNS = 16
_SPLITS: tuple[Split, ...] = ("values", "phrasings", "tools")


@dataclass(frozen=True, kw_only=True)
class Way:
    """A way to decode.

    Attributes:
        name: How tables call it.
        is_autoregressive: From left to right instead of by canvases.
        settings: Settings of every request.
    """

    name: str
    is_autoregressive: bool = False
    settings: GenerationSettings = field(default_factory=GenerationSettings)


WAYS: Mapping[str, Way] = {
    way.name: way
    for way in (
        Way(name="diffusion", settings=GenerationSettings(seed=0)),
        Way(name="diffusion-ungrounded", settings=GenerationSettings(seed=0, is_grounded=False)),
        Way(name="diffusion-free", settings=GenerationSettings(seed=0, is_constrained=False)),
        Way(name="left-to-right", is_autoregressive=True, settings=GenerationSettings(seed=0)),
        Way(
            name="left-to-right-free", is_autoregressive=True, settings=GenerationSettings(seed=0, is_constrained=False)
        ),
    )
}
"""With the constraint and grounding, with the constraint alone, and without; both directions."""


@dataclass
class Score:
    """Right ones of some.

    Attributes:
        num_right: How many were right.
        num_all: How many there were.
    """

    num_right: int = 0
    num_all: int = 0

    def add(self, *, is_right: bool) -> None:
        """Count one."""
        self.num_right += is_right
        self.num_all += 1

    @property
    def share(self) -> float:
        """Right ones as a share."""
        return self.num_right / self.num_all if self.num_all else math.nan

    def interval(self, z: float = 1.96) -> tuple[float, float]:
        """Give Wilson's 95 % interval of the share."""
        if not self.num_all:
            return math.nan, math.nan
        n, p = self.num_all, self.share
        centre, spread = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        return (centre - spread) / (1 + z * z / n), (centre + spread) / (1 + z * z / n)


@dataclass
class Tally:
    """What an evaluation counts.

    Attributes:
        scores: By what was counted: ``task``, ``call``, ``answer``, and each with its kind behind a slash.
        usage: What it cost.
        failures: Some failures, to read.
    """

    scores: dict[str, Score] = field(default_factory=dict)
    usage: Usage = field(default_factory=Usage)
    failures: list[str] = field(default_factory=list)

    def add(self, what: str, kind: str, *, is_right: bool) -> None:
        """Count one under what it is, and under its kind."""
        for name in (what, f"{what}/{kind}"):
            self.scores.setdefault(name, Score()).add(is_right=is_right)


def held_out_conversations(split: Split, *, seed: int = _SEED, max_calls: int = 8) -> Iterator[Conversation]:
    """Give conversations of a split, without end."""
    for index in count():
        conversation = make_conversation(seed, index, split=split)
        if sum(bool(getattr(m, "tool_calls", ())) for m in conversation.messages) <= max_calls:
            yield conversation


async def evaluate(
    model: Model, conversations: Sequence[Conversation], settings: GenerationSettings, *, num_parallel: int = 8
) -> Tally:
    """Play and compare conversations.

    Args:
        model: The model.
        conversations: What to play.
        settings: Settings of every request.
        num_parallel: Conversations under way at once.
    """
    tally = Tally()
    limit = asyncio.Semaphore(num_parallel)

    async def run_one(conversation: Conversation) -> None:
        async with limit:
            await _compare_turns(model, conversation, settings, tally)
            await _play(model, conversation, settings, tally)

    await asyncio.gather(*(run_one(conversation) for conversation in conversations))
    return tally


async def _ask(
    model: Model, conversation: Conversation, messages: Sequence[Message], settings: GenerationSettings, tally: Tally
) -> AssistantMessage | None:
    request = GenerationRequest(
        messages=tuple(messages),
        tools=conversation.tools,
        output_schema=conversation.output_schema,
        settings=settings,
    )
    try:
        generation = await model.generate(request)
    except AgentflowError as error:
        tally.failures.append(f"{type(error).__name__}: {error.message}")
        return None
    tally.usage += generation.usage
    return generation.message


async def _compare_turns(model: Model, conversation: Conversation, settings: GenerationSettings, tally: Tally) -> None:
    """Ask for each turn after the right turns before it."""
    for index, right in enumerate(conversation.messages):
        if not isinstance(right, AssistantMessage):
            continue
        given = await _ask(model, conversation, conversation.messages[:index], settings, tally)
        is_right = given is not None and is_same_turn(given, right)
        tally.add("call" if right.tool_calls else "answer", conversation.kind, is_right=is_right)
        if not is_right and given is not None:
            tally.failures.append(f"{_request_of(conversation)}\n    right {_show(right)}\n    given {_show(given)}")


async def _play(model: Model, conversation: Conversation, settings: GenerationSettings, tally: Tally) -> None:
    """Play a conversation from the first request to the last answer, round by round."""
    if conversation.before is None:
        return
    world = copy.deepcopy(conversation.before)
    messages: list[Message] = []
    is_solved = True
    for opening, right in _rounds(conversation):
        messages += opening
        given = await _play_round(model, conversation, messages, world, settings=settings, tally=tally)
        if given is None or not is_same_turn(given, right):
            is_solved = False
            break
        messages.append(given)
    is_solved = is_solved and _is_same_world(world, conversation.after)
    tally.add("task", conversation.kind, is_right=is_solved)


def _rounds(conversation: Conversation) -> Iterator[tuple[list[Message], AssistantMessage]]:
    """Give what opens each round, up to the user's message, and the right answer at its end."""
    opening: list[Message] = []
    for message in conversation.messages:
        if isinstance(message, AssistantMessage) and not message.tool_calls:
            yield opening, message
            opening = []
        elif not isinstance(message, AssistantMessage | ToolMessage):
            opening.append(message)


async def _play_round(
    model: Model,
    conversation: Conversation,
    messages: list[Message],
    world: Any,
    *,
    settings: GenerationSettings,
    tally: Tally,
) -> AssistantMessage | None:
    """Let the model call until it answers; calls and results join the messages."""
    for _ in range(_MAX_TURNS):
        message = await _ask(model, conversation, messages, settings, tally)
        if message is None or not message.tool_calls:
            return message
        calls = tuple(_with_id(call, f"{len(messages)}_{i}") for i, call in enumerate(message.tool_calls))
        try:
            results = tuple(conversation.run(call, world) for call in calls)
        except (KeyError, TypeError):  # only without the constraint: no such tool or argument
            return None
        messages += [AssistantMessage(tool_calls=calls), ToolMessage(results)]
    return None


def _with_id(call: Any, call_id: str) -> Any:
    return type(call)(call_id, call.name, call.arguments)


def _is_same_world(given: Any, right: Any) -> bool:
    return (given.files, given.notes, given.todos) == (right.files, right.notes, right.todos)


def is_same_turn(given: AssistantMessage, right: Any) -> bool:
    """Compare two turns: calls in order with all arguments, or the answer as JSON, or as text."""
    if right.tool_calls or given.tool_calls:
        return [(c.name, dict(c.arguments)) for c in given.tool_calls] == [
            (c.name, dict(c.arguments)) for c in right.tool_calls
        ]
    try:
        return bool(json.loads(given.text) == json.loads(right.text))
    except ValueError:
        return bool(given.text.strip() == right.text.strip())


def _show(message: AssistantMessage) -> str:
    calls = [f"{c.name}({json.dumps(dict(c.arguments), ensure_ascii=False)})" for c in message.tool_calls]
    return " ".join(calls) or message.text


def _request_of(conversation: Conversation) -> str:
    return next(m.text for m in conversation.messages if type(m).__name__ == "UserMessage")  # type: ignore[union-attr]


# ---------------------------------------------------------------- the report


def _rows(way: str, split: str, tally: Tally) -> Iterator[dict[str, Any]]:
    for name, score in sorted(tally.scores.items()):
        low, high = score.interval()
        yield {
            "way": way,
            "split": split,
            "what": name,
            "right": score.num_right,
            "all": score.num_all,
            "share": round(score.share, 4),
            "low": round(low, 4),
            "high": round(high, 4),
        }


def _print_row(row: Mapping[str, Any]) -> None:
    interval = f"[{100 * row['low']:5.1f}, {100 * row['high']:5.1f}]"
    print(  # noqa: T201 - the table
        f"{row['way']:<22} {row['split']:<10} {row['what']:<20} "
        f"{row['right']:>4}/{row['all']:<4} {100 * row['share']:5.1f} % {interval}"
    )


def main() -> None:
    """Read the command line, evaluate and print."""
    parser = argparse.ArgumentParser(prog="python -m agentflow.embedded.evaluate", description=__doc__)
    parser.add_argument("--model", default="embedded", help="'embedded' or a checkpoint folder")
    parser.add_argument("--num", type=int, default=100, help="conversations of each split")
    parser.add_argument("--splits", nargs="*", default=list(_SPLITS), choices=("train", *_SPLITS))
    parser.add_argument("--ways", nargs="*", default=["diffusion", "left-to-right"], choices=tuple(WAYS))
    parser.add_argument("--seed", type=int, default=_SEED, help="seed of the conversations")
    parser.add_argument("--num-failures", type=int, default=0, help="failures to show for each way and split")
    arguments = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for way in (WAYS[name] for name in arguments.ways):
        path = Path(arguments.model) if Path(arguments.model).is_dir() else arguments.model
        with load_model(path, mode="autoregressive" if way.is_autoregressive else "diffusion") as model:
            for split in arguments.splits:
                conversations = list(islice(held_out_conversations(split, seed=arguments.seed), arguments.num))
                started = time.perf_counter()
                tally = asyncio.run(evaluate(model, conversations, way.settings))
                for row in _rows(way.name, split, tally):
                    rows.append(row)
                    _print_row(row)
                _print_cost(tally, time.perf_counter() - started)
                for failure in tally.failures[: arguments.num_failures]:
                    sys.stdout.write(f"  - {failure}\n")
    sys.stdout.write(json.dumps(rows) + "\n")


def _print_cost(tally: Tally, duration_s: float) -> None:
    usage = tally.usage
    sys.stdout.write(
        f"  {usage.requests} turns in {duration_s:.0f} s, {usage.denoising_steps_per_canvas:.1f} denoising steps per "
        f"canvas, {usage.tokens_per_forward:.1f} tokens per forward pass\n"
    )


if __name__ == "__main__":
    main()
