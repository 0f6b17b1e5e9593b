"""What fewer denoising steps cost in right answers: bounds and thresholds of the sampler, each with its quality.

    python benchmarks/steps.py [--model embedded] [--num 40] [--json benchmarks/results/steps.json]

Turns of conversations that training never saw, each from the right turns before it, drafted without the check by the
causal encoder (`is_checked=False`), because with it the answer does not depend on the sampler. Every row changes one
thing against the reference's settings, which are the defaults. A faster setting may become a default where its
share of right calls lies within the interval of the reference's; all rows see the same turns and seeds. Steps and
passes are counts, so the table does not depend on how busy the machine is.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import shlex
import sys
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from agentflow.bench.machine import this_machine
from agentflow.embedded.evaluate import held_out_conversations
from agentflow.embedded.playing import compare_turns
from agentflow.embedded.tally import Tally
from agentflow.model import Model, load_model
from agentflow.types import GenerationSettings

CHANGES: tuple[Mapping[str, Any], ...] = (
    {},
    {"entropy_bound": 0.03},
    {"entropy_bound": 0.3},
    {"entropy_bound": 1.0},
    {"entropy_bound": 3.0},
    {"confidence_threshold": 0.05},
    {"confidence_threshold": 0.2},
    {"stability_threshold": 0},
    {"max_denoising_steps": 16},
    {"max_denoising_steps": 8},
    {"max_denoising_steps": 4},
    {"max_denoising_steps": 8, "entropy_bound": 1.0},
    {"is_checked": None},
)


async def measure(model: Model, change: Mapping[str, Any], *, num: int) -> Tally:
    """Compare the turns of `num` conversations under changed settings."""
    settings = GenerationSettings(**{"seed": 0, "is_checked": False, **change})
    tally = Tally()
    limit = asyncio.Semaphore(8)

    async def compare(conversation: Any) -> None:
        async with limit:
            await compare_turns(model, conversation, settings, tally)

    await asyncio.gather(*(compare(c) for c in islice(held_out_conversations("values"), num)))
    return tally


def summarize(change: Mapping[str, Any], tally: Tally) -> dict[str, Any]:
    """One row of the table."""
    calls, answers, usage = tally.scores["call"], tally.scores["answer"], tally.usage
    return {
        "change": dict(change),
        "calls": [calls.num_right, calls.num_all],
        "calls_interval": calls.interval(),
        "answers": [answers.num_right, answers.num_all],
        "steps_per_canvas": usage.denoising_steps_per_canvas,
        "forwards_per_turn": usage.num_forwards / max(usage.requests, 1),
        "tokens_per_forward": usage.tokens_per_forward,
    }


def name_of(change: Mapping[str, Any]) -> str:
    """How the table calls a change."""
    if change == {"is_checked": None}:
        return "drafts checked (the embedded model's habit)"
    return ", ".join(f"{key} {value:g}" for key, value in change.items()) or "defaults, unchecked"


def print_table(rows: list[dict[str, Any]]) -> None:
    """Print one line per change."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("settings", "right calls", "95 %", "right answers", "steps/canvas", "passes/turn", "tokens/pass"):
        table.add_column(name, justify="left" if name == "settings" else "right")
    for row in rows:
        low, high = row["calls_interval"]
        table.add_row(
            name_of(row["change"]),
            "{}/{}".format(*row["calls"]),
            f"{100 * low:.0f} to {100 * high:.0f} %",
            "{}/{}".format(*row["answers"]),
            f"{row['steps_per_canvas']:.2f}",
            f"{row['forwards_per_turn']:.2f}",
            f"{row['tokens_per_forward']:.1f}",
        )
    Console(width=140).print(table)


def main() -> None:
    """Read the options, measure, print the table and a last line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--num", type=int, default=40, help="conversations")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    model = load_model(options.model)
    rows = [summarize(change, asyncio.run(measure(model, change, num=options.num))) for change in CHANGES]
    model.close()
    report = {
        "machine": dataclasses.asdict(this_machine()),
        "command": shlex.join(["python", *sys.argv]),
        "rows": rows,
    }
    print_table(rows)
    if options.json is not None:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(report))


if __name__ == "__main__":
    main()
