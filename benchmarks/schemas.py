"""Structured-generation engines on real schemas: what they take, what they accept, how fast they are.

    python benchmarks/schemas.py --data maskbench.jsonl --tokenizer DIR [--engine agentflow] [--json OUT]

Each line of the data is ``{"id", "family", "schema", "tests": [{"valid", "data"}]}``. A schema counts as compiled
when everything that a decoding step needs is there, or when the engine says that no value satisfies it. Instances are
written in the engine's canonical form (schema property order, compact) before they are tested; peers get the same
text. For agentflow, strings are also drawn under random logits and judged by `jsonschema` with format checks. One
thread, times are CPU times; prints a table and one line of JSON. A schema that takes longer than ``--timeout-s`` counts
as refused. With ``--log FILE`` every finished schema is written down, and a later call goes on where one stopped
(``--budget-s``); ``--shard i/n`` lets several calls share the work. ``--engine all`` runs one engine after the other.
``--on-unsupported check`` lets agentflow leave what it cannot express to a check after decoding, with redraws; that
is reported as an engine of its own, ``agentflow-check``.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import platform
import resource
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from schema_engines import ENGINES, AgentflowMatcher, Engine, Refused, make_engine

NUM_RETRIES = 2
"""Tries of `agentflow.Model` after the first, when an answer fails the check after decoding."""
Record = dict[str, Any]
"""What came out for one schema: ``id``, ``family``, ``reason`` or times, ``counts``, ``notes``."""
COUNTS = (
    "valid_accepted", "valid_rejected", "invalid_rejected", "invalid_accepted", "draws", "invalid_draws",
    "unfinished_draws", "redraws", "given_up_draws", "unwritable",
)  # fmt: skip


def validator_of(schema: Any) -> Any:
    """Give the independent judge."""
    import jsonschema

    kind = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
    return kind(schema, format_checker=kind.FORMAT_CHECKER)


def run_schema(engine: Engine, entry: dict[str, Any], options: argparse.Namespace) -> Record:
    """Compile one schema and test its instances and draws."""
    schema = entry["schema"]
    record: Record = {"id": entry["id"], "family": entry["family"], "counts": Counter(), "notes": []}
    begin = time.process_time()
    try:
        matcher = engine.compile(schema)
    except Refused as reason:
        return record | {"reason": str(reason), "compile_ms": 1e3 * (time.process_time() - begin)}
    record["compile_ms"] = 1e3 * (time.process_time() - begin)
    for i, test in enumerate(entry["tests"]):
        text = write(test["data"], schema)
        if text is None:
            record["counts"]["unwritable"] += 1
            continue
        is_accepted = matcher.accepts(text)
        outcome = ("valid_" if test["valid"] else "invalid_") + ("accepted" if is_accepted else "rejected")
        record["counts"][outcome] += 1
        if is_accepted != test["valid"]:
            record["notes"].append((outcome, f"test {i}"))
    if isinstance(matcher, AgentflowMatcher):
        draw_outputs(matcher, schema, record, options)
    return record


def draw_outputs(matcher: AgentflowMatcher, schema: Any, record: Record, options: argparse.Namespace) -> None:
    """Draw outputs under random logits and have them judged."""
    validator = validator_of(schema)
    generator = np.random.default_rng(options.seed)
    record["canvas_ms"] = []
    for _ in range(options.draws):
        text, duration_ms = matcher.draw(generator)
        record["canvas_ms"].append(duration_ms)
        for _ in range(NUM_RETRIES):
            if text is None or matcher.passes(text):
                break
            record["counts"]["redraws"] += 1
            text, _ = matcher.draw(generator)
        if text is None or not matcher.passes(text):
            record["counts"]["unfinished_draws" if text is None else "given_up_draws"] += 1
            continue
        record["counts"]["draws"] += 1
        try:
            error = next(validator.iter_errors(json.loads(text)), None)
        except Exception as problem:  # noqa: BLE001 - a judge that fails is a finding, not a crash
            error = problem
        if error is not None:
            record["counts"]["invalid_draws"] += 1
            record["notes"].append(("invalid_draw", f"{text[:300]!r}: {str(error)[:200]}"))


def write(instance: Any, schema: Any) -> str | None:
    """Write an instance in canonical form; where the schema cannot be read, as it is."""
    from agentflow.constraint.canonical import canonical_text
    from agentflow.errors import SchemaError

    try:
        return canonical_text(instance, schema)
    except SchemaError:
        return json.dumps(instance, separators=(",", ":"), ensure_ascii=False)
    except RecursionError:
        return None


# ------------------------------------------------------------ the run


class Worker:
    """A child process that runs schemas, and is replaced when one takes too long."""

    def __init__(self, engine: Engine, options: argparse.Namespace) -> None:
        self._engine = engine
        self._options = options
        self._context = multiprocessing.get_context("fork")
        self._process: Any = None

    def run(self, entry: dict[str, Any]) -> Record:
        """Run one schema; a crash or a time-out is a refusal."""
        if self._process is None:
            self._pipe, theirs = self._context.Pipe()
            self._process = self._context.Process(target=self._serve, args=(theirs,), daemon=True)
            self._process.start()
            theirs.close()
        self._pipe.send(entry)
        with suppress(EOFError, ConnectionError):
            record: Record = self._pipe.recv()
            return record
        self._process.join()
        is_late = self._process.exitcode == -signal.SIGXCPU
        reason = f"longer than {self._options.timeout_s:g} s" if is_late else "the engine crashed"
        self.close()
        return {"id": entry["id"], "family": entry["family"], "counts": {}, "notes": [], "reason": reason}

    def _serve(self, pipe: Any) -> None:
        """Answer until the pipe is closed; the system ends the process where a schema takes too much CPU time."""
        with suppress(EOFError):
            while True:
                entry = pipe.recv()
                last_s = int(time.process_time() + self._options.timeout_s) + 1
                resource.setrlimit(resource.RLIMIT_CPU, (last_s, resource.RLIM_INFINITY))
                pipe.send(run_schema(self._engine, entry, self._options))

    def close(self) -> None:
        """End the child."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._process = None


def run_engine(name: str, entries: list[dict[str, Any]], options: argparse.Namespace) -> dict[str, Any] | None:
    """Run all schemas, or as many as there is time for; ``None``: some are left for another call."""
    shard = options.shard.partition("/")
    log = options.log / f"{name}.{shard[0]}.jsonl" if options.log else None
    header, done = read_logs(name, options.log)
    own = entries[int(shard[0]) :: int(shard[2])]
    left = [entry for entry in own if entry["id"] not in done]
    if left:
        started = time.monotonic()
        tokenizer = load_tokenizer(options.tokenizer)
        begin = time.process_time()
        engine = make_engine(options.engine, tokenizer, options.positions, options.on_unsupported)
        header = header or {"prepare_s": round(time.process_time() - begin, 2)}
        with suppress(Refused):
            engine.compile({"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "number"}}})
        if log and not log.exists():
            log.parent.mkdir(parents=True, exist_ok=True)
            log.write_text(json.dumps(header) + "\n")
        worker = Worker(engine, options)
        for entry in left:
            if options.budget_s and time.monotonic() - started > options.budget_s:
                break
            done[entry["id"]] = record = worker.run(entry)
            if log:
                with log.open("a") as file:
                    file.write(json.dumps(record) + "\n")
        worker.close()
    num_left = sum(entry["id"] not in done for entry in entries)
    if num_left:
        print(f"{name}: {num_left} of {len(entries)} schemas are left; call again with the same --log")
        return None
    return summarise(name, [done[entry["id"]] for entry in entries], header, options)


def read_logs(name: str, folder: Path | None) -> tuple[dict[str, Any], dict[str, Record]]:
    """Read what earlier calls, and those for other shards, wrote down."""
    header: dict[str, Any] = {}
    done: dict[str, Record] = {}
    for log in sorted(folder.glob(f"{name}.*.jsonl")) if folder else ():
        first, *records = (json.loads(line) for line in log.read_text().splitlines())
        header = header or first
        done |= {record["id"]: record for record in records}
    return header, done


# ------------------------------------------------------------ the report


def summarise(name: str, records: list[Record], header: dict[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """Put the records of one engine together."""
    refused = [record for record in records if "reason" in record]
    families = sorted({record["family"] for record in records})
    return {
        "engine": name,
        "data": options.data.name,
        "command": "python benchmarks/schemas.py " + " ".join(sys.argv[1:]),
        "machine": describe_machine(),
        "versions": versions(),
        **header,
        "total": summary(records),
        "families": {family: summary(r for r in records if r["family"] == family) for family in families},
        "reasons": Counter(record["reason"].partition(":")[0] for record in refused).most_common(),
        "refusals": [[record["id"], record["reason"]] for record in refused],
        "exceptions": [[record["id"], *note] for record in records for note in record["notes"]],
    }


def summary(records: Iterable[Record]) -> dict[str, Any]:
    """Give one row of the table; times are those of compiled schemas."""
    records = list(records)
    compiled = [record for record in records if "reason" not in record]
    times = [record["compile_ms"] for record in compiled]
    canvas = [ms for record in compiled for ms in record.get("canvas_ms", ())]
    row: dict[str, Any] = {
        "schemas": len(records),
        "compiled": len(compiled),
        "refused": len(records) - len(compiled),
        **{name: sum(record["counts"].get(name, 0) for record in compiled) for name in COUNTS},
    }
    for name, percent in (("p50", 50), ("p95", 95), ("max", 100)):
        row[f"compile_ms_{name}"] = _quantile(times, percent)
    row["canvas_ms_p50"] = _quantile(canvas, 50)
    row["canvas_ms_p90"] = _quantile(canvas, 90)
    row["canvas_share_under_5_ms"] = round(sum(ms < 5.0 for ms in canvas) / len(canvas), 4) if canvas else None
    return row


def _quantile(values: list[float], percent: int) -> float | None:
    return round(float(np.percentile(values, percent)), 3) if values else None


def describe_machine() -> str:
    """Name the processor."""
    with suppress(OSError, IndexError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(line for line in lines if line.startswith("model name")).partition(":")[2].strip()
        return f"{multiprocessing.cpu_count()} cores {platform.machine()}, {model}, no GPU"
    return f"{platform.machine()}, {platform.system()}"


def print_report(result: dict[str, Any], num_notes: int) -> None:
    """Print the table, the findings and the JSON line."""
    columns = (
        "schemas", "compiled", "valid_accepted", "valid_rejected", "invalid_rejected", "invalid_accepted",
        "invalid_draws", "compile_ms_p50", "compile_ms_p95", "compile_ms_max", "canvas_ms_p50",
    )  # fmt: skip
    print(f"{result['engine']:28}" + "".join(f"{c.replace('_', ' '):>17}" for c in columns))
    for name, row in [*result["families"].items(), ("total", result["total"])]:
        print(f"{name:28}" + "".join(f"{row[c] if row[c] is not None else '-':>17}" for c in columns))
    print("unwritable instances:", result["total"]["unwritable"], "| refused:", result["reasons"])
    for note in [*result["exceptions"][:num_notes], *result["refusals"][:num_notes]]:
        print("  ", *note)
    print(json.dumps({"engine": result["engine"], "total": result["total"]}))


def load_tokenizer(folder: Path) -> Any:
    """Load a tokenizer from a folder with a ``tokenizer.json``."""
    from transformers import PreTrainedTokenizerFast

    path = folder / "tokenizer_config.json"
    end = (json.loads(path.read_text()) if path.exists() else {}).get("eos_token") or "<eos>"
    end = end["content"] if isinstance(end, dict) else end
    return PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"), eos_token=end)


def versions() -> dict[str, str]:
    """Give the versions of what was measured."""
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for name in ("torch", "llguidance", "xgrammar", "outlines-core", "jsonschema", "numba", "numpy", "tokenizers"):
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def run_all(options: argparse.Namespace) -> None:
    """Run one engine after the other, each in a process of its own."""
    others = [a for i, a in enumerate(sys.argv[1:]) if a != "--engine" and sys.argv[i] not in ("--engine", "--json")]
    others = [a for a in others if a != "--json"]
    for name in ENGINES:
        out = ["--json", str(options.json.with_name(f"{options.json.stem}-{name}.json"))] if options.json else []
        subprocess.run([sys.executable, sys.argv[0], *others, "--engine", name, *out], check=True)  # noqa: S603


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="MaskBench-format file, one schema per line")
    parser.add_argument("--engine", choices=(*ENGINES, "all"), default="agentflow")
    parser.add_argument(
        "--on-unsupported", choices=("raise", "check"), default="raise", help="what to do with inexpressible keywords"
    )
    parser.add_argument("--tokenizer", type=Path, required=True, help="folder with tokenizer.json")
    parser.add_argument("--json", type=Path, help="where to write the result")
    parser.add_argument("--log", type=Path, help="folder in which finished schemas are noted, so that a run can go on")
    parser.add_argument("--budget-s", type=float, help="stop after so many seconds; needs --log to go on")
    parser.add_argument("--shard", default="0/1", help="take part i of n, so that n calls share the work; needs --log")
    parser.add_argument("--limit", type=int, help="take every n-th schema so that this many remain")
    parser.add_argument("--draws", type=int, default=2, help="random draws per schema")
    parser.add_argument("--positions", type=int, default=256, help="canvas positions of a draw")
    parser.add_argument("--timeout-s", type=float, default=30.0, help="CPU seconds for one schema")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--notes", type=int, default=20, help="findings to print")
    return parser.parse_args()


def main() -> None:
    """Run the benchmark."""
    options = parse()
    torch.set_num_threads(1)
    if options.engine == "all":
        run_all(options)
        return
    entries = [json.loads(line) for line in options.data.read_text().splitlines()]
    if options.limit:
        entries = entries[:: max(1, len(entries) // options.limit)][: options.limit]
    is_checking = options.engine == "agentflow" and options.on_unsupported == "check"
    result = run_engine("agentflow-check" if is_checking else options.engine, entries, options)
    if result is None:
        return
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(result, indent=1) + "\n")
    print_report(result, options.notes)


if __name__ == "__main__":
    main()
