"""Structured-generation engines on real schemas: what they take, what they accept, how fast they are.

    python benchmarks/schemas.py --data maskbench.jsonl --tokenizer DIR [--engine agentflow] [--json OUT]

Each line of the data is ``{"id", "family", "schema", "tests": [{"valid", "data"}]}``. A schema counts as compiled
when everything that a decoding step needs is there. Instances are written in the engine's canonical form (schema
property order, compact) before they are tested; peers get the same text. For agentflow, strings are also
drawn under random logits and judged by `jsonschema` with format checks. One thread, times are CPU times; prints a
table and one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import platform
import signal
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

ENGINES = ("agentflow", "llguidance", "xgrammar", "outlines-core")


class Refused(Exception):  # noqa: N818 - an outcome, not a failure
    """The engine does not take the schema; the message is the reason."""


class Matcher(Protocol):
    """A compiled schema."""

    def accepts(self, text: str) -> bool:
        """Say whether the text is a complete output."""


class Engine(Protocol):
    """One engine with its vocabulary."""

    def compile(self, schema: Any) -> Matcher:
        """Compile a schema or raise `Refused`."""


# ------------------------------------------------------------ agentflow


class AgentflowEngine:
    """This project's engine."""

    def __init__(self, tokenizer: Any, num_positions: int) -> None:
        from agentflow.constraint import Vocabulary

        self.vocabulary = Vocabulary.from_tokenizer(tokenizer)
        self.vocabulary.prepare()
        self.num_positions = num_positions

    def compile(self, schema: Any) -> AgentflowMatcher:
        """Make the grammar and the token automaton, past the cache."""
        from agentflow.constraint import compile_constraint, json_grammar
        from agentflow.errors import SchemaError

        try:
            constraint = compile_constraint(json_grammar(schema), self.vocabulary)
        except SchemaError as error:
            keyword = getattr(error, "keyword", type(error).__name__)
            raise Refused(f"{keyword}: {str(error.message)[:160]}") from error
        return AgentflowMatcher(constraint, self.num_positions)


class AgentflowMatcher:
    """A compiled constraint."""

    def __init__(self, constraint: Any, num_positions: int) -> None:
        self.constraint = constraint
        self.num_positions = num_positions

    def accepts(self, text: str) -> bool:
        """Find tokens that the automaton takes and that spell the text."""
        return self.constraint.find_tokens(text.encode()) is not None

    def draw(self, generator: np.random.Generator) -> tuple[str | None, float]:
        """Draw one output under random class sums; give its text and the milliseconds of the posterior."""
        from agentflow.constraint.trellis import condition_atoms

        length = max(self.num_positions, self.constraint.min_tokens + 8)
        log_sum = generator.normal(0.0, 4.0, (length, self.constraint.num_atoms))
        log_sum -= np.log(np.exp(log_sum).sum(axis=1, keepdims=True))
        condition_atoms(log_sum, self.constraint).draw_ids(generator)  # warm up
        begin = time.process_time()
        row = condition_atoms(log_sum, self.constraint)
        row.marginals  # noqa: B018 - computed when asked for
        ids = row.draw_ids(generator)
        duration_ms = 1e3 * (time.process_time() - begin)
        spelt = b""
        for token in ids:
            if token in self.constraint.vocabulary.end_ids:
                return spelt.decode(), duration_ms
            spelt += self.constraint.vocabulary.token_bytes[token] or b"?"
        return None, duration_ms


# ------------------------------------------------------------ peers


class LlguidanceEngine:
    """llguidance, left to right."""

    def __init__(self, tokenizer: Any) -> None:
        import llguidance
        import llguidance.hf

        self.module = llguidance
        self.tokenizer = llguidance.hf.from_tokenizer(tokenizer)

    def compile(self, schema: Any) -> Any:
        """Compile and compute the first mask."""
        grammar = self.module.LLMatcher.grammar_from_json_schema(
            schema, overrides={"whitespace_flexible": False, "item_separator": ",", "key_separator": ":"}
        )
        matcher = self.module.LLMatcher(self.tokenizer, grammar)
        if matcher.get_error():
            raise Refused(matcher.get_error().splitlines()[0][:160])
        matcher.compute_bitmask()
        if matcher.get_error():
            raise Refused(matcher.get_error().splitlines()[0][:160])
        return _LlguidanceMatcher(matcher, self.tokenizer)


class _LlguidanceMatcher:
    def __init__(self, matcher: Any, tokenizer: Any) -> None:
        self._matcher = matcher
        self._tokenizer = tokenizer

    def accepts(self, text: str) -> bool:
        self._matcher.reset()
        ids = self._tokenizer.tokenize_str(text)
        return self._matcher.try_consume_tokens(ids) == len(ids) and self._matcher.is_accepting()


class XgrammarEngine:
    """xgrammar, left to right."""

    def __init__(self, tokenizer: Any) -> None:
        import xgrammar

        self.module = xgrammar
        info = xgrammar.TokenizerInfo.from_huggingface(tokenizer)
        self.compiler = xgrammar.GrammarCompiler(info, max_threads=1, cache_enabled=False)

    def compile(self, schema: Any) -> Any:
        """Compile with compact white space."""
        try:
            compiled = self.compiler.compile_json_schema(
                json.dumps(schema), any_whitespace=False, separators=(",", ":"), strict_mode=False
            )
        except RuntimeError as error:
            raise Refused(str(error).splitlines()[-1][:160]) from error
        return _XgrammarMatcher(self.module, compiled)


class _XgrammarMatcher:
    def __init__(self, module: Any, compiled: Any) -> None:
        self._module = module
        self._compiled = compiled

    def accepts(self, text: str) -> bool:
        matcher = self._module.GrammarMatcher(self._compiled, terminate_without_stop_token=True)
        return matcher.accept_string(text) and matcher.is_terminated()


class OutlinesEngine:
    """outlines-core: a schema becomes a regular expression."""

    def __init__(self, tokenizer: Any) -> None:
        import outlines_core
        from outlines_core.json_schema import build_regex_from_schema

        self.build = build_regex_from_schema
        end = tokenizer.eos_token_id
        pieces: dict[str, list[int]] = defaultdict(list)
        for token in range(len(tokenizer)):
            if token != end:
                pieces[tokenizer.convert_tokens_to_string([tokenizer.convert_ids_to_tokens(token)])].append(token)
        self.module = outlines_core
        self.vocabulary = outlines_core.Vocabulary(end, dict(pieces))

    def compile(self, schema: Any) -> Any:
        """Build the index of the schema's regular expression."""
        import re

        try:
            pattern = self.build(json.dumps(schema), whitespace_pattern="")
            self.module.Index(pattern, self.vocabulary)
        except Exception as error:  # the library raises plain exceptions of many kinds
            raise Refused(str(error)[:160]) from error
        return _RegexMatcher(re.compile(pattern))


class _RegexMatcher:
    def __init__(self, pattern: Any) -> None:
        self._pattern = pattern

    def accepts(self, text: str) -> bool:
        return self._pattern.fullmatch(text) is not None


# ------------------------------------------------------------ the run


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Interrupt an engine that hangs."""

    def stop(*_: object) -> None:
        raise Refused(f"longer than {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class Tally:
    """Counts and times of one family, or of all."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.compile_ms: list[float] = []
        self.canvas_ms: list[float] = []

    def summary(self) -> dict[str, Any]:
        """Give the row of the table."""
        names = (
            "schemas", "compiled", "refused", "valid_accepted", "valid_rejected", "invalid_rejected",
            "invalid_accepted", "draws", "invalid_draws", "unfinished_draws", "unwritable",
        )  # fmt: skip
        row: dict[str, Any] = {name: self.counts[name] for name in names}
        for share in (50, 95, 100):
            name = f"compile_ms_p{share}" if share < 100 else "compile_ms_max"
            row[name] = _quantile(self.compile_ms, share)
        row["canvas_ms_p50"] = _quantile(self.canvas_ms, 50)
        row["canvas_ms_p90"] = _quantile(self.canvas_ms, 90)
        return row


def _quantile(values: list[float], percent: int) -> float | None:
    return round(float(np.percentile(values, percent)), 3) if values else None


def validator_of(schema: Any) -> Any:
    """Give the independent judge."""
    import jsonschema

    kind = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
    return kind(schema, format_checker=kind.FORMAT_CHECKER)


def run_schema(
    engine: Engine, entry: dict[str, Any], tallies: list[Tally], options: argparse.Namespace, notes: list[Any]
) -> None:
    """Compile one schema and test its instances and draws."""
    count(tallies, "schemas")
    schema = entry["schema"]
    begin = time.process_time()
    try:
        with time_limit(options.timeout_s):
            matcher = engine.compile(schema)
    except Refused as reason:
        count(tallies, "refused")
        notes.append(("refused", entry["id"], str(reason)))
        return
    duration_ms = 1e3 * (time.process_time() - begin)
    count(tallies, "compiled")
    for tally in tallies:
        tally.compile_ms.append(duration_ms)
    for i, test in enumerate(entry["tests"]):
        text = write(test["data"], schema)
        if text is None:
            count(tallies, "unwritable")
            continue
        is_accepted = matcher.accepts(text)
        outcome = ("valid_" if test["valid"] else "invalid_") + ("accepted" if is_accepted else "rejected")
        count(tallies, outcome)
        if is_accepted != test["valid"]:
            notes.append((outcome, entry["id"], f"test {i}"))
    if isinstance(matcher, AgentflowMatcher):
        draw_outputs(matcher, schema, entry["id"], tallies, options, notes)


def draw_outputs(  # noqa: PLR0917 - the parts of one run
    matcher: AgentflowMatcher,
    schema: Any,
    name: str,
    tallies: list[Tally],
    options: argparse.Namespace,
    notes: list[Any],
) -> None:
    """Draw outputs under random logits and have them judged."""
    validator = validator_of(schema)
    generator = np.random.default_rng(options.seed)
    for _ in range(options.draws):
        text, duration_ms = matcher.draw(generator)
        for tally in tallies:
            tally.canvas_ms.append(duration_ms)
        if text is None:
            count(tallies, "unfinished_draws")
            continue
        count(tallies, "draws")
        try:
            error = next(validator.iter_errors(json.loads(text)), None)
        except Exception as problem:  # noqa: BLE001 - a judge that fails is a finding, not a crash
            error = problem
        if error is not None:
            count(tallies, "invalid_draws")
            notes.append(("invalid_draw", name, f"{text[:300]!r}: {str(error)[:200]}"))


def count(tallies: list[Tally], name: str) -> None:
    """Add one everywhere."""
    for tally in tallies:
        tally.counts[name] += 1


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


def load_tokenizer(folder: Path) -> Any:
    """Load a tokenizer from a folder with a ``tokenizer.json``."""
    from transformers import PreTrainedTokenizerFast

    config = (
        json.loads((folder / "tokenizer_config.json").read_text())
        if (folder / "tokenizer_config.json").exists()
        else {}
    )
    end = config.get("eos_token") or "<eos>"
    end = end["content"] if isinstance(end, dict) else end
    return PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"), eos_token=end)


def make_engine(options: argparse.Namespace) -> Engine:
    """Build the engine that was asked for."""
    tokenizer = load_tokenizer(options.tokenizer)
    if options.engine == "agentflow":
        return AgentflowEngine(tokenizer, options.positions)
    makers = {"llguidance": LlguidanceEngine, "xgrammar": XgrammarEngine, "outlines-core": OutlinesEngine}
    return makers[options.engine](tokenizer)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--data", type=Path, required=True, help="MaskBench-format file, one schema per line")
    parser.add_argument("--engine", choices=ENGINES, default="agentflow")
    parser.add_argument("--tokenizer", type=Path, required=True, help="folder with tokenizer.json")
    parser.add_argument("--json", type=Path, help="where to write the result")
    parser.add_argument("--limit", type=int, help="take every n-th schema so that this many remain")
    parser.add_argument("--draws", type=int, default=2, help="random draws per schema")
    parser.add_argument("--positions", type=int, default=256, help="canvas positions of a draw")
    parser.add_argument("--timeout-s", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--notes", type=int, default=20, help="findings to print")
    options = parser.parse_args()
    torch.set_num_threads(1)
    entries = [json.loads(line) for line in options.data.read_text().splitlines()]
    if options.limit:
        entries = entries[:: max(1, len(entries) // options.limit)][: options.limit]
    begin = time.process_time()
    engine = make_engine(options)
    prepare_s = time.process_time() - begin
    with suppress(Refused):
        engine.compile({"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "number"}}})
    total, families = Tally(), defaultdict(Tally)
    notes: list[Any] = []
    for entry in entries:
        run_schema(engine, entry, [total, families[entry["family"]]], options, notes)
    report(total, families, notes, options, prepare_s)


def report(
    total: Tally, families: dict[str, Tally], notes: list[Any], options: argparse.Namespace, prepare_s: float
) -> None:
    """Print the table, the findings and the JSON line."""
    result = {
        "engine": options.engine,
        "data": options.data.name,
        "command": "python " + " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "machine": f"{platform.machine()}, {platform.system()}, Python {platform.python_version()}",
        "versions": versions(),
        "prepare_s": round(prepare_s, 2),
        "total": total.summary(),
        "families": {name: families[name].summary() for name in sorted(families)},
        "reasons": Counter(text.partition(":")[0] for kind, _, text in notes if kind == "refused").most_common(),
        "exceptions": [note for note in notes if note[0] != "refused"],
    }
    columns = ("schemas", "compiled", "valid_accepted", "valid_rejected", "invalid_rejected", "invalid_accepted", "invalid_draws", "compile_ms_p50", "compile_ms_p95", "canvas_ms_p50")  # fmt: skip  # noqa: E501
    print(f"{'family':28}" + "".join(f"{c.replace('_', ' '):>17}" for c in columns))
    for name, row in [*result["families"].items(), ("total", result["total"])]:
        print(f"{name:28}" + "".join(f"{row[c] if row[c] is not None else '-':>17}" for c in columns))
    print("refused:", result["reasons"])
    for note in [n for n in notes if n[0] != "refused"][: options.notes] + [n for n in notes if n[0] == "refused"][
        : options.notes
    ]:
        print("  ", *note)
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps({"engine": options.engine, "total": result["total"]}))


def versions() -> dict[str, str]:
    """Give the versions of what was measured."""
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for name in ("torch", "llguidance", "xgrammar", "outlines-core", "jsonschema", "numba", "numpy", "tokenizers"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


if __name__ == "__main__":
    main()
