"""How long a grounded slot takes to build for a conversation: a new one, one that grew, and one seen before.

    python benchmarks/grounding.py --tokenizer DIR [--tokens 2000] [--num 20] [--seed 1] [--json OUT]

Texts are made from a seed: half of each the JSON of tool results (identifiers, names, addresses, dates, amounts), half
prose. Each is measured four times: `first`, by a vocabulary that has spelt nothing before; `new`, by one that has
spelt other texts, as in a server; `longer`, after a message of a tenth of its length was added; and `again`, unchanged.
The time is CPU time of the process, of the slot alone and, in the last column, of the whole constraint of an object
with that one field, its grammar included. The vocabulary is prepared and everything compiled before. On a machine
that does other work meanwhile (`load_of_other_work`) even CPU time is two to three times longer.
"""

from __future__ import annotations

import argparse
import dataclasses
import gc
import json
import os
import shlex
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from faker import Faker
from rich.console import Console
from rich.table import Table
from schemas import load_tokenizer

from agentflow.bench.machine import this_machine
from agentflow.constraint import Grounding, Vocabulary, compile_constraint, json_grammar
from agentflow.constraint.grounded import Span
from agentflow.constraint.index import slot_fragment
from agentflow.constraint.limits import CompileLimits, metered
from agentflow.constraint.strings import ALL

OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "whole words": {},
    "lower case": {"case": "lower"},
    "12 characters at most": {"max_length": 12},
    "6 characters at least": {"min_length": 6},
}
KINDS = ("first", "new", "longer", "again")


class Build(NamedTuple):
    """One slot: its milliseconds, those of the whole constraint, and the slot's size."""

    slot_ms: float
    constraint_ms: float
    num_states: int
    num_edges: int


def pieces(seed: int) -> Iterator[str]:
    """Make messages: the JSON of a tool result and a paragraph of prose in turn, without end."""
    fake = Faker("en_US")
    fake.seed_instance(seed)
    while True:
        yield json.dumps(
            {
                "id": fake.uuid4(),
                "customer": {"name": fake.name(), "email": fake.email(), "phone": fake.phone_number()},
                "address": fake.address(),
                "order": fake.bothify("??-####-##"),
                "date": fake.numerify("20##-0%-1#T1#:%#:%#"),
                "total": fake.pyfloat(right_digits=2, min_value=1, max_value=5000),
                "path": fake.file_path(depth=3),
                "url": fake.uri(),
            },
            indent=2,
        )
        yield f"{fake.paragraph(nb_sentences=6)} {fake.company()} in {fake.city()}: {fake.catch_phrase()}."


def text_of(seed: int, *, num_tokens: int, tokenizer: Any) -> str:
    """Make a text of so many tokens."""
    text = ""
    for piece in pieces(seed):
        text += piece + "\n"
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        if len(ids) >= num_tokens:
            return str(tokenizer.decode(ids[:num_tokens]))
    raise AssertionError("pieces do not end")


def build(text: str, options: Mapping[str, Any], vocabulary: Vocabulary) -> Build:
    """Build the slot of a text, and then the constraint around it."""
    with metered(CompileLimits()):  # as in compiling: without pauses of the garbage collector
        slot_ms, fragment = timed(lambda: build_slot(text, options, vocabulary))
    value = {"type": "string", "x-grounded": dict(options) or True}
    schema = {"type": "object", "properties": {"value": value}, "required": ["value"], "additionalProperties": False}

    def compile_it() -> Any:
        grounding = Grounding((text,), is_default=False)
        return compile_constraint(json_grammar(schema, grounding=grounding), vocabulary)

    constraint_ms, _ = timed(compile_it)  # the slot is there already
    return Build(slot_ms, slot_ms + constraint_ms, fragment.num_states, len(fragment.token))


def build_slot(text: str, options: Mapping[str, Any], vocabulary: Vocabulary) -> Any:
    """Build the slot of a text."""
    slot = Grounding((text,)).slot(Span(**options), ALL, "json")
    if slot is None:
        raise AssertionError("the text has spans")
    return slot_fragment((slot,), vocabulary)


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Give the milliseconds of CPU time, and what was made."""
    begin = time.process_time()
    made = work()
    return 1e3 * (time.process_time() - begin), made


def measure(options: Mapping[str, Any], run: argparse.Namespace, tokenizer: Any) -> dict[str, list[Build]]:
    """Measure all kinds of text under one set of options."""
    found: dict[str, list[Build]] = {kind: [] for kind in KINDS}
    server = prepared(tokenizer)
    build(text_of(run.seed, num_tokens=run.tokens, tokenizer=tokenizer), options, server)
    for seed in range(run.seed + 1, run.seed + 1 + run.num):
        text = text_of(seed, num_tokens=run.tokens, tokenizer=tokenizer)
        message = text_of(seed + 10_000, num_tokens=run.tokens // 10, tokenizer=tokenizer)
        fresh = prepared(tokenizer)
        gc.collect()
        found["first"].append(build(text, options, fresh))
        found["new"].append(build(text, options, server))
        found["longer"].append(build(f"{text}\n{message}", options, server))
        found["again"].append(build(f"{text}\n{message}", options, server))
    return found


def prepared(tokenizer: Any) -> Vocabulary:
    """Give a vocabulary that has its tables and has spelt next to nothing yet."""
    vocabulary = Vocabulary.from_tokenizer(tokenizer)
    vocabulary.prepare()
    for options in OPTIONS.values():
        build("Some long text, to begin with.", options, vocabulary)
    return vocabulary


def summarize(name: str, kind: str, builds: list[Build]) -> dict[str, Any]:
    """Give the best, the median and the 95th percentile of the times, and the median sizes."""
    slot, whole = sorted(b.slot_ms for b in builds), sorted(b.constraint_ms for b in builds)
    at = min(len(builds) - 1, round(0.95 * (len(builds) - 1)))
    return {
        "options": name,
        "text": kind,
        "slot_ms_best": round(slot[0], 3),
        "slot_ms_p50": round(statistics.median(slot), 3),
        "slot_ms_p95": round(slot[at], 3),
        "constraint_ms_p50": round(statistics.median(whole), 3),
        "constraint_ms_p95": round(whole[at], 3),
        "num_states": round(statistics.median(b.num_states for b in builds)),
        "num_edges": round(statistics.median(b.num_edges for b in builds)),
    }


def print_table(rows: list[dict[str, Any]], *, tokens: int) -> None:
    """Print the table for people."""
    table = Table(
        title=f"Grounded slots of {tokens} tokens, ms of CPU time (best, median, 95th percentile; median, 95th)"
    )
    for name in ("options", "text", "slot", "", "", "states", "edges", "constraint", ""):
        table.add_column(name, justify="left" if name in ("options", "text") else "right")
    for row in rows:
        slot = tuple(f"{row[f'slot_ms_{name}']:.2f}" for name in ("best", "p50", "p95"))
        whole = (f"{row['constraint_ms_p50']:.2f}", f"{row['constraint_ms_p95']:.2f}")
        table.add_row(row["options"], row["text"], *slot, str(row["num_states"]), str(row["num_edges"]), *whole)
    Console().print(table)


def main() -> None:
    """Read the options, measure, print the table and a last line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokenizer", type=Path, required=True, help="folder with a tokenizer.json")
    parser.add_argument("--tokens", type=int, default=2000, help="tokens of a text")
    parser.add_argument("--num", type=int, default=20, help="texts")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path)
    run = parser.parse_args()
    tokenizer = load_tokenizer(run.tokenizer)
    load = os.getloadavg()[0]
    rows = []
    for name, options in OPTIONS.items():
        found = measure(options, run, tokenizer)
        rows += [summarize(name, kind, found[kind]) for kind in KINDS]
    words = [arg if arg != str(run.tokenizer) else "GEMMA3_DIR" for arg in sys.argv]
    report = {
        "machine": dataclasses.asdict(this_machine()),
        "command": shlex.join(["python", *words]),
        "load_of_other_work": round(load, 2),
        "num_texts": run.num,
        "num_tokens": run.tokens,
        "vocabulary": len(tokenizer),
        "rows": rows,
    }
    print_table(rows, tokens=run.tokens)
    if run.json is not None:
        run.json.parent.mkdir(parents=True, exist_ok=True)
        run.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(report))


if __name__ == "__main__":
    main()
