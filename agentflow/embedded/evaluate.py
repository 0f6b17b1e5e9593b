"""Measure the embedded model: ``python -m agentflow.embedded.evaluate``.

Every task is a conversation that training never saw: new values, new phrasings, or new tools. The
model plays it from the request on, its calls really run in a simulated world, and it ends with an
answer. A task is solved if the answer and the world are right. Turns are also compared one by one with
the turn that the task was made with, from the right turns before it. With ``--worlds`` it also plays tasks of
the simulated worlds: training knows their tools, but none of the values and not these tasks.

The table goes to standard output; the last line is the same as JSON. With ``--report`` it is written as a page, too:
the one beside the checkpoint is made so.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shlex
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count, islice
from pathlib import Path
from typing import Any

from agentflow.backend.diffusion.loader import find_checkpoint
from agentflow.embedded.data.conversations import make_conversation
from agentflow.embedded.data.splits import Split
from agentflow.embedded.data.tasks import Conversation
from agentflow.embedded.playing import compare_turns, play, play_simulated
from agentflow.embedded.scorecard import render_scorecard
from agentflow.embedded.simulated import WORLDS, SimulatedTask, make_simulated_task
from agentflow.embedded.tally import Tally, report
from agentflow.model import Model, load_model
from agentflow.types import GenerationSettings

_SEED = 7_000_001
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
        Way(name="diffusion-unchecked", settings=GenerationSettings(seed=0, is_checked=False)),
        Way(name="diffusion-free", settings=GenerationSettings(seed=0, is_constrained=False)),
        Way(name="left-to-right", is_autoregressive=True, settings=GenerationSettings(seed=0)),
        Way(
            name="left-to-right-free", is_autoregressive=True, settings=GenerationSettings(seed=0, is_constrained=False)
        ),
    )
}
"""With the constraint and grounding, with the constraint alone, without, and without the check; both directions."""


def held_out_conversations(split: Split, *, seed: int = _SEED, max_calls: int = 8) -> Iterator[Conversation]:
    """Give conversations of a split, without end."""
    for index in count():
        conversation = make_conversation(seed, index, split=split)
        if sum(bool(getattr(m, "tool_calls", ())) for m in conversation.messages) <= max_calls:
            yield conversation


def simulated_tasks(world: str, *, num_calls: int) -> Iterator[SimulatedTask]:
    """Give tasks of a simulated world that are solved in `num_calls` calls, without end."""
    for seed in count():
        task = make_simulated_task(world, num_calls=num_calls, seed=seed)
        if len(task.reference) == num_calls:
            yield task


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
            await compare_turns(model, conversation, settings, tally)
            await play(model, conversation, settings, tally)

    await asyncio.gather(*(run_one(conversation) for conversation in conversations))
    return tally


async def evaluate_worlds(
    model: Model, tasks: Sequence[SimulatedTask], settings: GenerationSettings, *, num_parallel: int = 8
) -> Tally:
    """Play tasks of the simulated worlds from the request to the answer."""
    tally = Tally()
    limit = asyncio.Semaphore(num_parallel)

    async def run_one(task: SimulatedTask) -> None:
        async with limit:
            world = task.open()
            answer = await play_simulated(model, task, world, settings, tally)
            failure = "no answer" if answer is None else task.find_failure(world, answer)
            tally.add("task", f"{task.kind}-{len(task.reference)}", is_right=not failure)
            if failure:
                tally.failures.append(f"{task.prompt}\n    {failure}")

    await asyncio.gather(*(run_one(task) for task in tasks))
    return tally


def main() -> None:
    """Read the command line, evaluate and print."""
    parser = argparse.ArgumentParser(prog="python -m agentflow.embedded.evaluate", description=__doc__)
    parser.add_argument(
        "--model", "--checkpoint", default="embedded", metavar="FOLDER", help="'embedded' or a checkpoint folder"
    )
    parser.add_argument("--num", type=int, default=100, help="conversations of each split")
    parser.add_argument("--splits", nargs="*", default=list(_SPLITS), choices=("train", *_SPLITS))
    parser.add_argument("--ways", nargs="*", default=["diffusion", "left-to-right"], choices=tuple(WAYS))
    parser.add_argument("--seed", type=int, default=_SEED, help="seed of the conversations")
    parser.add_argument("--num-failures", type=int, default=0, help="failures to show for each way and split")
    parser.add_argument("--worlds", type=int, default=0, metavar="NUM", help="tasks of each simulated world and length")
    parser.add_argument("--lengths", type=int, nargs="*", default=[3, 6, 8], help="calls of these tasks, 1 to 40")
    parser.add_argument("--report", type=Path, metavar="FILE", help="write the table as Markdown")
    arguments = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for way in (WAYS[name] for name in arguments.ways):
        path = Path(arguments.model) if Path(arguments.model).is_dir() else arguments.model
        with load_model(path, mode="autoregressive" if way.is_autoregressive else "diffusion") as model:
            for split in arguments.splits:
                conversations = list(islice(held_out_conversations(split, seed=arguments.seed), arguments.num))
                started = time.perf_counter()
                tally = asyncio.run(evaluate(model, conversations, way.settings))
                rows += report(way.name, split, tally, time.perf_counter() - started, arguments.num_failures)
            for length in arguments.lengths if arguments.worlds else ():
                tasks = [
                    task
                    for world in WORLDS
                    for task in islice(simulated_tasks(world, num_calls=length), arguments.worlds)
                ]
                started = time.perf_counter()
                tally = asyncio.run(evaluate_worlds(model, tasks, way.settings))
                name = f"worlds-{length}"
                rows += report(way.name, name, tally, time.perf_counter() - started, arguments.num_failures)
    if arguments.report is not None:
        command = shlex.join(["python", "-m", "agentflow.embedded.evaluate", *sys.argv[1:]])
        page = render_scorecard(rows, command=command, folder=find_checkpoint(arguments.model))
        arguments.report.write_text(page, encoding="utf-8")
    sys.stdout.write(json.dumps(rows) + "\n")


if __name__ == "__main__":
    main()
