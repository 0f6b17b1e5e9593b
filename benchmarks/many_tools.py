"""What it costs to prepare a turn that may call many tools: compiled whole, and call by call.

    python benchmarks/many_tools.py [--tools 1,2,5,10,30] [--turns 40] [--json benchmarks/results/many_tools.json]

Each tool has five arguments: a number, an enumeration and three strings, which are copied from the conversation. Every
turn has another conversation, so nothing of the turn before can be used but the names of the tools and what their calls
are made of besides copied values; as many turns as there are tools, or more, come before those that count. `whole` is
the automaton of all tools; `before` is what is compiled before the first pass when calls are compiled as they are made,
and `in all` that and the call that is then drafted. CPU milliseconds of one thread, medians.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import shlex
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from agentflow.backend.codec import TurnCodec
from agentflow.backend.diffusion.loader import load_checkpoint
from agentflow.bench.machine import this_machine
from agentflow.constraint.staged import StagedConstraint
from agentflow.types import AssistantMessage, GenerationRequest, SystemMessage, ToolCall, ToolSpec, UserMessage

NUM_TOKENS = 400
NUM_WARM_UP = 5


def make_tools(number: int) -> tuple[ToolSpec, ...]:
    """Tools of five arguments."""
    text = {"type": "string"}
    kind = {"enum": ["meal", "bed", "boat"]}
    properties = {"title": text, "place": text, "amount": {"type": "number"}, "kind": kind, "note": text}
    schema = {"type": "object", "properties": properties, "required": ["title", "amount"]}
    return tuple(ToolSpec(f"book_{i:02d}", "Book something.", schema) for i in range(number))


def make_request(tools: tuple[ToolSpec, ...], turn: int) -> GenerationRequest:
    """A turn of a conversation that nobody had before."""
    text = f"Book {turn + 2} tables in Oslo at harbour {turn} for {turn + 3} people and call it order {turn * 3}."
    call = ToolCall("call_0", tools[turn % len(tools)].name, {"title": "Oslo", "amount": turn + 2})
    draft = AssistantMessage(tool_calls=(call,))
    return GenerationRequest(messages=(SystemMessage("You help."), UserMessage(text)), tools=tools, draft=draft)


def scores_for(token_ids: list[int], vocab_size: int) -> torch.Tensor:
    """Scores under which these tokens are written, ``(T, V)``."""
    scores = torch.zeros(len(token_ids), vocab_size)
    scores[torch.arange(len(token_ids)), torch.tensor(token_ids)] = 1
    return scores


def measure(checkpoint: Any, *, num_tools: int, num_turns: int) -> dict[str, Any]:
    """Prepare turns in both ways."""
    tools = make_tools(num_tools)
    num_warm_up = max(NUM_WARM_UP, num_tools)
    num_all = num_warm_up + num_turns
    codec = TurnCodec.of(checkpoint)
    times: dict[str, list[float]] = {"whole": [], "before": [], "in all": []}
    for turn in range(num_all):
        started_s = time.thread_time()
        codec.compile(make_request(tools, turn), num_tokens=NUM_TOKENS)
        times["whole"].append(time.thread_time() - started_s)
    for turn in range(num_all, 2 * num_all):
        request = make_request(tools, turn)
        token_ids = codec.encode_draft(request)
        scores = scores_for(token_ids, len(codec.vocabulary))
        started_s = time.thread_time()
        constraint = codec.compile_staged(request, num_tokens=NUM_TOKENS)
        times["before"].append(time.thread_time() - started_s)
        if isinstance(constraint, StagedConstraint):
            found, _ = constraint.decode(scores, constraint.start_state, num_tokens_left=NUM_TOKENS)
            assert found == token_ids, "the call that was meant has not been drafted"  # noqa: S101 - as it says
        times["in all"].append(time.thread_time() - started_s)
    medians = {
        f"{name.replace(' ', '_')}_ms": 1e3 * statistics.median(taken[num_warm_up:]) for name, taken in times.items()
    }
    return {"num_tools": num_tools, "num_turns": num_turns, **medians}


def main() -> None:
    """Read the options, measure, print a table and a last line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tools", default="1,2,5,10,30", help="numbers of tools")
    parser.add_argument("--turns", type=int, default=40, help="turns of each that count")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    machine = this_machine()
    checkpoint = load_checkpoint("embedded")
    rows = [measure(checkpoint, num_tools=int(n), num_turns=options.turns) for n in options.tools.split(",")]
    table = Table("tools", "whole, ms", "before, ms", "in all, ms", box=None)
    for row in rows:
        table.add_row(str(row["num_tools"]), *(f"{row[f'{name}_ms']:.1f}" for name in ("whole", "before", "in_all")))
    print(machine)
    Console().print(table)
    command = shlex.join(["python", *sys.argv])
    report = {"machine": dataclasses.asdict(machine), "command": command, "rows": rows}
    if options.json is not None:
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(report))


if __name__ == "__main__":
    main()
