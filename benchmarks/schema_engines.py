"""Structured-generation engines behind one small interface, for `benchmarks/schemas.py`.

Each engine gets the whole vocabulary, one thread, compact JSON and no cache of its own. The peers are optional:
``pip install llguidance``, ``pip install xgrammar``, ``pip install outlines-core``.
"""

from __future__ import annotations

import json
import re
import time
from collections import defaultdict
from typing import Any, Protocol

import numpy as np

MIN_TIMED_S = 0.04
"""CPU seconds over which a posterior is repeated and averaged: clocks of threads may tick in steps of 4 ms."""
ENGINES = ("agentflow", "llguidance", "llguidance-lenient", "xgrammar", "outlines-core")


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


class AgentflowEngine:
    """This project's engine.

    With `on_unsupported` ``"check"`` it leaves what it cannot express to the check that generation makes after
    decoding: an instance counts as accepted when the automaton and the check take it, and a draw that fails the check
    is drawn again, as often as `agentflow.Model` does.
    """

    def __init__(self, tokenizer: Any, num_positions: int, on_unsupported: str = "raise") -> None:
        from agentflow.constraint import Vocabulary

        self.vocabulary = Vocabulary.from_tokenizer(tokenizer)
        self.vocabulary.prepare()
        self.num_positions = num_positions
        self.on_unsupported: Any = on_unsupported

    def compile(self, schema: Any) -> Matcher:
        """Make the grammar and the token automaton, past the cache."""
        from agentflow.constraint import compile_constraint, json_grammar
        from agentflow.errors import SchemaError, UnsatisfiableSchemaError

        try:
            grammar = json_grammar(schema, on_unsupported=self.on_unsupported)
            constraint = compile_constraint(grammar, self.vocabulary)
        except UnsatisfiableSchemaError:
            return NothingMatcher()
        except SchemaError as error:
            keyword = getattr(error, "keyword", type(error).__name__)
            raise Refused(f"{keyword}: {str(error.message)[:240]}") from error
        return AgentflowMatcher(constraint, self.num_positions, schema if grammar.unchecked else None)


class NothingMatcher:
    """A schema that no value satisfies, as the engine found out."""

    def accepts(self, text: str) -> bool:
        """Reject everything."""
        del text
        return False


class AgentflowMatcher:
    """A compiled constraint; `checked` is the schema that outputs are held to after decoding, or ``None``."""

    def __init__(self, constraint: Any, num_positions: int, checked: Any = None) -> None:
        self.constraint = constraint
        self.num_positions = num_positions
        self.checked = checked

    def passes(self, text: str) -> bool:
        """Say whether an output passes the check after decoding."""
        from agentflow.constraint.judge import find_problem

        return self.checked is None or find_problem(json.loads(text), self.checked) is None

    def accepts(self, text: str) -> bool:
        """Find tokens that the automaton takes and that spell the text."""
        return self.constraint.find_tokens(text.encode()) is not None and self.passes(text)

    def draw(self, generator: np.random.Generator) -> tuple[str | None, float]:
        """Draw one output under random class sums; give its text and the milliseconds of the posterior.

        The sums are given: what is timed is conditioning, the marginals of all atoms, entropies and one joint draw.
        """
        from agentflow.constraint.trellis import condition_sums, normalise_atoms

        length = max(self.num_positions, self.constraint.min_tokens + 8)
        log_sum = generator.normal(0.0, 4.0, (length, self.constraint.num_atoms))
        sums = normalise_atoms(log_sum, self.constraint)

        def run() -> list[int]:
            row = condition_sums(sums, self.constraint)
            row.marginals  # noqa: B018 - computed when asked for
            return row.draw_ids(generator)

        run()  # warm up
        num_runs, begin = 0, time.thread_time()
        while (duration_s := time.thread_time() - begin) < MIN_TIMED_S:
            ids = run()
            num_runs += 1
        duration_ms = 1e3 * duration_s / num_runs
        spelt = b""
        for token in ids:
            if token in self.constraint.vocabulary.end_ids:
                return spelt.decode(), duration_ms
            spelt += self.constraint.vocabulary.token_bytes[token] or b"?"
        return None, duration_ms


class LlguidanceEngine:
    """llguidance, left to right.

    ``oneOf`` is taken as ``anyOf`` where the options are not known to exclude each other, without which many schemas
    are refused. `is_lenient` also ignores keywords and formats that it does not know.
    """

    def __init__(self, tokenizer: Any, *, is_lenient: bool) -> None:
        import llguidance.hf

        self._tokenizer = llguidance.hf.from_tokenizer(tokenizer)
        self._options = {
            "whitespace_flexible": False, "item_separator": ",", "key_separator": ":", "coerce_one_of": True,
            "lenient": is_lenient,
        }  # fmt: skip

    def compile(self, schema: Any) -> Matcher:
        """Compile and compute the first mask."""
        import llguidance

        try:
            grammar = llguidance.LLMatcher.grammar_from_json_schema(json.dumps(schema), overrides=self._options)
        except ValueError as error:
            raise Refused(str(error)[:240]) from error
        matcher = llguidance.LLMatcher(self._tokenizer, grammar)
        if not matcher.get_error():
            matcher.compute_bitmask()
        if matcher.get_error():
            reason = matcher.get_error().splitlines()[0]
            if "nsatisfiable" in reason:
                return NothingMatcher()
            raise Refused(reason[:240])
        return _LlguidanceMatcher(matcher, self._tokenizer)


class _LlguidanceMatcher:
    def __init__(self, matcher: Any, tokenizer: Any) -> None:
        self._matcher = matcher
        self._tokenizer = tokenizer

    def accepts(self, text: str) -> bool:
        self._matcher.reset()
        ids = self._tokenizer.tokenize_str(text)
        return bool(self._matcher.try_consume_tokens(ids) == len(ids) and self._matcher.is_accepting())


class XgrammarEngine:
    """xgrammar, left to right."""

    def __init__(self, tokenizer: Any) -> None:
        import xgrammar

        info = xgrammar.TokenizerInfo.from_huggingface(tokenizer)
        self._compiler = xgrammar.GrammarCompiler(info, max_threads=1, cache_enabled=False)

    def compile(self, schema: Any) -> Matcher:
        """Compile with compact white space; objects that say nothing about others are open."""
        try:
            compiled = self._compiler.compile_json_schema(
                json.dumps(schema), any_whitespace=False, separators=(",", ":"), strict_mode=False
            )
        except (RuntimeError, ValueError) as error:
            raise Refused(str(error).splitlines()[-1][:240]) from error
        return _XgrammarMatcher(compiled)


class _XgrammarMatcher:
    def __init__(self, compiled: Any) -> None:
        self._compiled = compiled

    def accepts(self, text: str) -> bool:
        import xgrammar

        matcher = xgrammar.GrammarMatcher(self._compiled, terminate_without_stop_token=True)
        return bool(matcher.accept_string(text) and matcher.is_terminated())


class OutlinesEngine:
    """outlines-core: a schema becomes a regular expression, and that an index."""

    def __init__(self, tokenizer: Any) -> None:
        import outlines_core

        end = tokenizer.eos_token_id
        pieces: dict[str | bytes, list[int]] = defaultdict(list)
        for piece, token in tokenizer.get_vocab().items():
            byte = re.fullmatch(r"<0x([0-9A-F]{2})>", piece)
            if token != end:
                pieces[bytes([int(byte[1], 16)]) if byte else piece.replace("▁", " ")].append(token)
        self._vocabulary = outlines_core.Vocabulary(end, {_as_bytes(k): v for k, v in pieces.items()})

    def compile(self, schema: Any) -> Matcher:
        """Build the index of the schema's regular expression."""
        import outlines_core
        from outlines_core.json_schema import build_regex_from_schema

        try:
            pattern = build_regex_from_schema(json.dumps(schema), whitespace_pattern="")
            guide = outlines_core.Guide(outlines_core.Index(pattern, self._vocabulary))
            guide.get_tokens()
            return _RegexMatcher(re.compile(pattern))
        except BaseException as error:  # the library raises plain exceptions of many kinds, panics among them
            if isinstance(error, KeyboardInterrupt):
                raise
            raise Refused(str(error)[:240]) from error


def _as_bytes(piece: str | bytes) -> bytes:
    return piece.encode() if isinstance(piece, str) else piece


class _RegexMatcher:
    def __init__(self, pattern: Any) -> None:
        self._pattern = pattern

    def accepts(self, text: str) -> bool:
        return self._pattern.fullmatch(text) is not None


def make_engine(name: str, tokenizer: Any, num_positions: int, on_unsupported: str = "raise") -> Engine:
    """Build an engine.

    Raises:
        SystemExit: Its package is not installed.
    """
    try:
        if name == "agentflow":
            return AgentflowEngine(tokenizer, num_positions, on_unsupported)
        if name.startswith("llguidance"):
            return LlguidanceEngine(tokenizer, is_lenient=name.endswith("lenient"))
        return XgrammarEngine(tokenizer) if name == "xgrammar" else OutlinesEngine(tokenizer)
    except ModuleNotFoundError as error:
        package = name.removesuffix("-lenient")
        raise SystemExit(f"{error}; install it with: pip install {package}") from error
