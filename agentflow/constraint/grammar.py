"""Grammars: what an output may be, before any vocabulary is known.

    json_grammar   a value in JSON, then an end token
    call_grammar   calls of tools in the call syntax of Gemma 4, then <|tool_response>
    turn_grammar   one model turn: an optional thought, then an answer or calls

Making a grammar reads the schemas completely, so every refusal comes from here.
"""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from threading import Lock
from typing import Any, NamedTuple

from agentflow.constraint import set_kernels
from agentflow.constraint.automaton import universal
from agentflow.constraint.first_use import announce_compiling
from agentflow.constraint.fragment import SlotSpec
from agentflow.constraint.graph import END, END_NODE, START_NODE, Control, Graph, Run, concat
from agentflow.constraint.grounding import Grounding, OpenGrounding
from agentflow.constraint.limits import CompileLimits, metered
from agentflow.constraint.printers import Printer, Surface, Whitespace
from agentflow.constraint.trees import Trees
from agentflow.constraint.values import Depth, Piece, Reached, TooLargeError, ValueWriter
from agentflow.errors import ConfigurationError, InvalidSchemaError, UnsatisfiableSchemaError, UnsupportedSchemaError
from agentflow.types import JsonSchema, OnUnsupported, ToolSpec

CALL_START, _CALL_END = Control("<|tool_call>"), Control("<tool_call|>")
_TURN_END, _RESPONSE_START = Control("<turn|>"), Control("<|tool_response>")
_CHANNEL_START, _CHANNEL_END = Control("<|channel>"), Control("<channel|>")
_SOFT_NODES = 2_000
_LARGE_NODES = 15_000
_MAX_CACHED = 256
_MAX_CACHED_NODES = 100_000
"""Nodes of all graphs that are kept: about 1 KB each, with the literals that begin there."""


@dataclass(frozen=True, eq=False)
class Grammar:
    """What an output may be. Made by the functions of this module; compiled by `compile_constraint`.

    Attributes:
        graph: The grammar graph.
        key: Equal for equal grammars.
        limits: Limits for compiling.
        unchecked: Keywords left to a check after decoding, each with its JSON pointer.
        is_cut: Whether a recursion was cut off, so that very deep values are left out.
        expand: Makes `expanded`; ``None``: it is `graph`.
        is_passing: Whether it copies from texts, so that it will hardly come again.
    """

    graph: Graph
    key: str
    limits: CompileLimits
    unchecked: tuple[tuple[str, str], ...] = ()
    is_cut: bool = False
    expand: Callable[[], Graph] | None = None
    is_passing: bool = False

    @cached_property
    def expanded(self) -> Graph:
        """The graph with values without a schema written out, which may be read beside other values."""
        return self.graph if self.expand is None else self.expand()

    @cached_property
    def num_nodes(self) -> int:
        """Size of the graph."""
        return self.graph.num_nodes


@dataclass(frozen=True)
class _Options:
    """How schemas are read and written."""

    printer: Printer
    grounding: Grounding | None
    limits: CompileLimits
    is_strict: bool
    unchecked: list[tuple[str, str]] | None


def json_grammar(
    schema: JsonSchema | bool,
    *,
    surface: Surface = "json",
    whitespace: Whitespace = "compact",
    is_fenced: bool = False,
    grounding: Grounding | None = None,
    is_strict: bool = False,
    on_unsupported: OnUnsupported = "raise",
    limits: CompileLimits | None = None,
) -> Grammar:
    """Describe a value, followed by one of the vocabulary's end tokens.

    Args:
        schema: A JSON Schema, draft 2020-12 or older; ``$schema`` says which.
        surface: ``"json"``, or ``"gemma"`` for a bare value in the call syntax.
        whitespace: How JSON is laid out.
        is_fenced: Put the value into a Markdown fence, as chat models like to.
        grounding: Texts that free strings and numbers must come from.
        is_strict: Objects that declare properties and do not mention others have no others.
        on_unsupported: ``"check"`` leaves keywords that cannot be expressed to a check after decoding; they are
            listed in `Grammar.unchecked`.
        limits: How much work the schema may cause.

    Raises:
        InvalidSchemaError: It is no schema.
        UnsupportedSchemaError: A keyword cannot be expressed; names keyword and JSON pointer.
        UnsatisfiableSchemaError: No value is valid.
    """
    limits = limits or CompileLimits()
    unchecked: list[tuple[str, str]] | None = [] if on_unsupported == "check" else None
    options = _Options(Printer(surface, whitespace), grounding, limits, is_strict, unchecked)

    def write(builder: _Builder) -> None:
        piece = builder.write_schema(schema, options)
        head: Run = ("```json\n",) if is_fenced else ()
        builder.enter([START_NODE], head, piece.heads)
        builder.leave(piece.exits, ("\n```", END) if is_fenced else (END,), END_NODE)

    key = _key("json", schema, surface, whitespace, is_fenced, grounding, is_strict, on_unsupported, limits)
    return _build(write, key, limits, unchecked, is_passing=_is_passing(grounding))


def call_grammar(
    *,
    tools: Sequence[ToolSpec],
    is_parallel: bool = True,
    grounding: Grounding | None = None,
    is_strict: bool = True,
    limits: CompileLimits | None = None,
) -> Grammar:
    """Describe one or several calls, followed by ``<|tool_response>``."""
    return turn_grammar(
        tools=tools,
        tool_choice="required",
        is_parallel=is_parallel,
        grounding=grounding,
        is_strict=is_strict,
        limits=limits,
    )


def turn_grammar(
    *,
    tools: Sequence[ToolSpec] = (),
    tool_choice: str = "auto",
    is_parallel: bool = True,
    output_schema: JsonSchema | None = None,
    has_text: bool = True,
    has_preamble: bool = False,
    has_thought: bool = False,
    grounding: Grounding | None = None,
    whitespace: Whitespace = "compact",
    is_strict: bool = True,
    on_unsupported: OnUnsupported = "raise",
    limits: CompileLimits | None = None,
) -> Grammar:
    """Describe one model turn, its end token included.

    Args:
        tools: Tools that may be called.
        tool_choice: ``"auto"``, ``"none"``, ``"required"``, or the name of the one tool to call.
        is_parallel: Allow several calls in the turn.
        output_schema: Schema of the answer, which is then JSON; ``None``: the answer is text.
        has_text: Whether the turn may be an answer in text (without an output schema).
        has_preamble: Whether text may stand before calls.
        has_thought: Whether a thought may come first.
        grounding: Texts that free strings and numbers of calls and of a JSON answer must come from.
        whitespace: How a JSON answer is laid out.
        is_strict: Objects that declare properties and do not mention others have no others.
        on_unsupported: See `json_grammar`.
        limits: How much work the schemas may cause.

    Raises:
        ConfigurationError: The options leave nothing to write, or `tool_choice` names no tool.
        InvalidSchemaError: A schema is none.
        UnsupportedSchemaError: A keyword cannot be expressed.
        UnsatisfiableSchemaError: No output is valid.
    """
    callable_tools = _choose(tools, tool_choice)
    has_answer = tool_choice in ("auto", "none") and (output_schema is not None or has_text)
    if not callable_tools and not has_answer:
        raise ConfigurationError("the turn can hold neither an answer nor a call", hint="pass tools, or has_text=True")
    limits = limits or CompileLimits()
    unchecked: list[tuple[str, str]] | None = [] if on_unsupported == "check" else None
    options = _Options(Printer("json", whitespace), grounding, limits, is_strict, unchecked)
    call_options = _Options(Printer("gemma"), grounding, limits, is_strict, unchecked)

    def write(builder: _Builder) -> None:
        starts = [START_NODE, builder.write_thought()] if has_thought else [START_NODE]
        if callable_tools:
            begins = [*starts, *(builder.write_text(s) for s in starts)] if has_preamble else starts
            builder.write_calls(begins, callable_tools, call_options, is_parallel=is_parallel)
        if has_answer and output_schema is not None:
            piece = builder.write_schema(output_schema, options)
            builder.enter(starts, (), piece.heads)
            builder.leave(piece.exits, (_TURN_END,), END_NODE)
        elif has_answer:
            for start in starts:
                builder.graph.add_run(builder.write_text(start), (_TURN_END,), END_NODE)

    key = _key(
        "turn", [[t.name, t.parameters] for t in callable_tools], is_parallel, output_schema, has_answer, has_preamble,
        has_thought, whitespace, grounding, is_strict, on_unsupported, limits,
    )  # fmt: skip
    return _build(write, key, limits, unchecked, is_passing=_is_passing(grounding))


def _choose(tools: Sequence[ToolSpec], tool_choice: str) -> list[ToolSpec]:
    """Give the tools that may be called."""
    if tool_choice == "none":
        return []
    if tool_choice in ("auto", "required"):
        return list(tools)
    chosen = [tool for tool in tools if tool.name == tool_choice]
    if not chosen:
        names = ", ".join(repr(tool.name) for tool in tools) or "none"
        raise ConfigurationError(f"tool_choice {tool_choice!r} names no tool; the tools are: {names}")
    return chosen


def _is_passing(grounding: Grounding | None) -> bool:
    """Whether a grammar copies from texts."""
    return grounding is not None and not isinstance(grounding, OpenGrounding)


class _Builder:
    """Puts the parts of an output into one graph."""

    def __init__(self, attempt: _Attempt, *, has_containers: bool, trees: Trees) -> None:
        self.graph = Graph()
        self._trees = trees
        self._has_containers = has_containers
        self.is_cut = False
        self.reached = Reached()
        self.is_whole = False
        self._attempt = attempt

    def write_schema(self, schema: JsonSchema | bool, options: _Options) -> Piece:
        """Write the values of a schema."""
        tree = self._trees.of(schema, unchecked=options.unchecked, is_strict=options.is_strict)
        recursion, depth, max_nodes, max_cycles = self._attempt
        writer = ValueWriter(
            tree, self.graph, options.printer, grounding=options.grounding, max_recursion=recursion,
            max_depth=depth, max_nodes=max_nodes, max_cycles=max_cycles, unchecked=options.unchecked,
            has_containers=self._has_containers, reached=self.reached,
        )  # fmt: skip
        piece = writer.write(tree.root, Depth())
        self.is_cut = self.is_cut or writer.is_cut
        if piece.is_dead:
            raise UnsatisfiableSchemaError("no value satisfies the schema")
        return piece

    def enter(self, starts: Iterable[int], before: Run, heads: list[tuple[Run, int]]) -> None:
        """Lead from the starts over a literal into ways in."""
        for start in starts:
            for head, target in heads:
                self.graph.add_run(start, concat(before, head), target)

    def leave(self, exits: dict[Run, list[int]], after: Run, target: int) -> None:
        """Lead ways out over a literal to a node."""
        for run, nodes in exits.items():
            for node in nodes:
                self.graph.add_run(node, concat(run, after), target)

    def write_text(self, start: int) -> int:
        """Write free text, not empty; give the node behind it."""
        end = self.graph.add_node()
        self.graph.add_slot(start, SlotSpec(universal(), 1, None, "raw"), end)
        return end

    def write_thought(self) -> int:
        """Write a thought from the start; give the node behind it."""
        begin, end = self.graph.add_node(), self.graph.add_node()
        self.graph.add_run(START_NODE, (_CHANNEL_START, "thought\n"), begin)
        self.graph.add_run(self.write_text(begin), (_CHANNEL_END,), end)
        return end

    def write_calls(
        self, starts: list[int], tools: Sequence[ToolSpec], options: _Options, *, is_parallel: bool
    ) -> None:
        """Write one or several calls and the end of a calling turn."""
        between = self.graph.add_node()
        for tool in tools:
            piece = self.write_schema(_as_object(tool), options)
            self.enter([*starts, between] if is_parallel else starts, (CALL_START, f"call:{tool.name}"), piece.heads)
            self.leave(piece.exits, (_CALL_END,), between)
        self.graph.add_run(between, (_RESPONSE_START,), END_NODE)


def _as_object(tool: ToolSpec) -> JsonSchema:
    """Make sure that the arguments are an object, whatever else the schema says."""
    parameters = tool.parameters
    if isinstance(parameters, dict) and parameters.get("type") == "object":
        return parameters
    return {**parameters, "type": "object"}


class _Kept:
    """The grammars that were asked for last."""

    def __init__(self) -> None:
        self._grammars: OrderedDict[str, Grammar] = OrderedDict()
        self._num_nodes = 0
        self._lock = Lock()

    def get(self, key: str) -> Grammar | None:
        with self._lock:
            if key in self._grammars:
                self._grammars.move_to_end(key)
            return self._grammars.get(key)

    def keep(self, key: str, grammar: Grammar) -> None:
        with self._lock:
            if key in self._grammars:
                self._num_nodes -= self._grammars[key].num_nodes
            self._grammars[key] = grammar
            self._num_nodes += grammar.num_nodes
            while len(self._grammars) > 1 and self._is_full():
                self._num_nodes -= self._grammars.popitem(last=False)[1].num_nodes

    def _is_full(self) -> bool:
        return len(self._grammars) > _MAX_CACHED or self._num_nodes > _MAX_CACHED_NODES


_CACHE = _Kept()


def _build(
    write: Callable[[_Builder], None],
    key: str,
    limits: CompileLimits,
    unchecked: list[tuple[str, str]] | None,
    *,
    is_passing: bool,
) -> Grammar:
    """Give the grammar from the cache, or build it."""
    known = _CACHE.get(key)
    if known is not None:
        return known
    try:
        grammar = replace(_build_graph(write, key, limits, unchecked), is_passing=is_passing)
    except RecursionError as error:
        raise UnsupportedSchemaError("schema", reason="its parts nest or refer to each other too deeply") from error
    _CACHE.keep(key, grammar)
    return grammar


def _build_graph(
    write: Callable[[_Builder], None], key: str, limits: CompileLimits, unchecked: list[tuple[str, str]] | None
) -> Grammar:
    """Build the graph; where it has slots for values without a schema, it can be built again without these."""
    announce_compiling()
    set_kernels.warm_up()
    with metered(limits):
        builder = _write_graph(write, limits, has_containers=True)

    def expand() -> Graph:
        return _write_graph(write, limits, has_containers=False).graph

    return Grammar(
        builder.graph, key, limits, tuple(dict.fromkeys(unchecked or ())), is_cut=builder.is_cut,
        expand=expand if builder.graph.containers else None,
    )  # fmt: skip


def _write_graph(write: Callable[[_Builder], None], limits: CompileLimits, *, has_containers: bool) -> _Builder:
    """Write the graph as deep as its soft size limit allows."""
    trees = Trees()

    def attempt(plan: _Attempt) -> _Builder:
        builder = _Builder(plan, has_containers=has_containers, trees=trees)
        with suppress(TooLargeError):
            write(builder)
            builder.graph.place_containers()
            builder.is_whole = True
        return builder

    usual, last = _attempts(limits)
    builder = _deepest(attempt, usual) or _first(attempt, last)
    trees.give_back()
    return builder


def _deepest(attempt: Callable[[_Attempt], _Builder], plans: list[_Attempt]) -> _Builder | None:
    """Find the deepest plan that stays within its limit; a less deep one never makes a larger graph.

    Most schemas fit the first. Where it fails, the last is tried, and then the plans between the two are halved.
    """
    if not plans:
        return None
    builder = attempt(plans[0])
    if builder.is_whole:
        return builder
    plans = [plan for plan in plans[1:] if not plan.is_in_vain(plans[0], builder.reached)]
    found = None
    low, high = 0, len(plans)  # plans from `high` on fit
    at = high - 1
    while low < high:
        builder = attempt(plans[at])
        if builder.is_whole:
            found, high = builder, at
        else:
            low = at + 1
        at = (low + high) // 2
    return found


def _first(attempt: Callable[[_Attempt], _Builder], plans: list[_Attempt]) -> _Builder:
    """Take the first plan that stays within its limit; the last one has none."""
    failed: tuple[_Attempt, Reached] | None = None
    for plan in plans:
        if failed is not None and plan.is_in_vain(*failed):
            continue
        builder = attempt(plan)
        if builder.is_whole:
            return builder
        failed = plan, builder.reached
    raise AssertionError("the last attempt has no soft limit")


class _Attempt(NamedTuple):
    """How deep a graph is written.

    Attributes:
        recursion: Times that a schema may contain itself.
        depth: Depth of values without a schema where they are written out; as slots they are as deep as they may be.
        num_nodes: Soft limit on the size, or ``None``.
        cycles: Schemas around a value that contain themselves, or ``None``: any number.
    """

    recursion: int
    depth: int
    num_nodes: int | None = _SOFT_NODES
    cycles: int | None = None

    def is_in_vain(self, failed: _Attempt, reached: Reached) -> bool:
        """Say whether it would come to where another one failed, because neither cuts anything off before."""
        is_as_far = self.recursion >= reached.recursion and self.depth >= reached.depth
        has_cycles = self.cycles is not None and reached.recursion > 0
        return self.num_nodes == failed.num_nodes and is_as_far and not has_cycles


def _attempts(limits: CompileLimits) -> tuple[list[_Attempt], list[_Attempt]]:
    """Give the attempts, from the deepest to the least deep: those of usual size, and those of larger ones.

    Schemas that contain each other in many ways stay large however seldom each may recur; at the end their
    number is bounded, and after that each may only stand once within others.
    """
    pairs = [(limits.max_recursion, 3), (4, 3), (3, 2), (2, 2), (1, 1), (1, 0)]
    pairs = [(min(r, limits.max_recursion), min(d, limits.max_depth)) for r, d in pairs]
    *usual, (recursion, depth) = dict.fromkeys(pairs)
    attempts = [_Attempt(recursion, depth, _LARGE_NODES)]
    attempts += [_Attempt(recursion, depth, _LARGE_NODES, cycles) for cycles in (6, 4, 3, 2)]
    attempts += [_Attempt(0, depth, _LARGE_NODES), _Attempt(recursion, depth, None, 1)]
    return [_Attempt(*pair) for pair in usual], attempts


def _key(*parts: Any) -> str:
    """Hash what a grammar is made of; the order of keys counts.

    Raises:
        UnsupportedSchemaError: A schema nests too deeply to be read.
        InvalidSchemaError: It is not JSON.
    """
    try:
        text = json.dumps(parts, default=repr, ensure_ascii=False)
    except RecursionError as error:
        raise UnsupportedSchemaError("schema", reason="it nests too deeply") from error
    except ValueError as error:  # a number of thousands of digits
        raise InvalidSchemaError(f"the schema is not JSON: {error}") from error
    return hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=16).hexdigest()
