"""Parts of a graph that come again are assembled once, and what comes out is the same language."""

from __future__ import annotations

from typing import Any

import pytest
from constraint_helpers import make_vocabulary

from agentflow.constraint import assemble, call_grammar, json_grammar
from agentflow.constraint.automaton import universal
from agentflow.constraint.compiled import Constraint, _pack
from agentflow.constraint.fragment import SlotSpec
from agentflow.constraint.grammar import Grammar
from agentflow.constraint.graph import END, END_NODE, START_NODE, Graph
from agentflow.constraint.parts import Scope, StateKey, find_parts
from agentflow.constraint.ways import Ways
from agentflow.types import ToolSpec

_VOCABULARY = make_vocabulary()
_POINT = {
    "type": "object",
    "properties": {"name": {"enum": ["a", "b", "name"]}, "kind": {"type": "boolean"}, "at": {"type": "string"}},
    "required": ["name", "at"],
    "additionalProperties": False,
}
_SCHEMAS: dict[str, Any] = {
    "references": {
        "$defs": {"point": _POINT},
        "type": "object",
        "properties": {key: {"$ref": "#/$defs/point"} for key in ("from", "to", "by")},
        "additionalProperties": False,
    },
    "recursion": {
        "$defs": {
            "tree": {
                "type": "object",
                "properties": {"name": {"type": "string", "maxLength": 2}, "a": {"$ref": "#/$defs/tree"},
                               "b": {"$ref": "#/$defs/tree"}, "p": _POINT},
                "required": ["name"],
                "additionalProperties": False,
            }
        },
        "$ref": "#/$defs/tree",
    },
    "arrays": {
        "$defs": {"points": {"type": "array", "items": _POINT, "minItems": 1, "maxItems": 3}},
        "type": "array",
        "prefixItems": [{"$ref": "#/$defs/points"}, {"$ref": "#/$defs/points"}, {"anyOf": [_POINT, {"const": 3}]}],
        "items": {"$ref": "#/$defs/points"},
    },
    "free values": {
        "$defs": {"any": {"type": "object", "properties": {"x": {}, "y": {"type": "integer"}}, "required": ["x", "y"]}},
        "type": "object",
        "properties": {key: {"$ref": "#/$defs/any"} for key in ("a", "b")},
        "required": ["a", "b"],
        "additionalProperties": {"$ref": "#/$defs/any"},
    },
}  # fmt: skip


def _compile(grammar: Grammar, monkeypatch: pytest.MonkeyPatch, *, has_parts: bool) -> tuple[Constraint, int]:
    """Assemble a grammar; give the constraint and how many components were placed."""
    num_places = 0
    write_place = assemble._Assembler._write_place

    def count(self: Any, *args: Any) -> None:
        nonlocal num_places
        num_places += 1
        write_place(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(assemble._Assembler, "_write_place", count)
        if not has_parts:
            patch.setattr(assemble, "find_parts", lambda _: Scope())
        try:
            automaton = assemble.assemble(grammar.graph, _VOCABULARY)
        except assemble.ConflictError:
            automaton = assemble.assemble(grammar.expanded, _VOCABULARY)
    return _pack(automaton, _VOCABULARY), num_places


def _steps(constraint: Constraint, state: int) -> dict[int, int]:
    ids = constraint.allowed(state).nonzero()[0].tolist()
    return {token: constraint.advance(state, [token]) for token in ids}


def _assert_equal(left: Constraint, right: Constraint) -> None:
    """Walk two deterministic automata side by side."""
    seen = {(left.start_state, right.start_state)}
    todo = list(seen)
    while todo:
        a, b = todo.pop()
        assert left.distance[a] == right.distance[b]
        steps, others = _steps(left, a), _steps(right, b)
        assert steps.keys() == others.keys()
        new = {(steps[token], others[token]) for token in steps} - seen
        seen |= new
        todo += new


@pytest.mark.slow
@pytest.mark.parametrize("name", _SCHEMAS)
def test_parts_assemble_to_the_same_language(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Token by token the same strings are taken, whether parts are assembled once or each in its place."""
    grammar = json_grammar(_SCHEMAS[name])
    apart, none = _compile(grammar, monkeypatch, has_parts=False)
    shared, some = _compile(grammar, monkeypatch, has_parts=True)
    assert none == 0
    assert some > 1
    _assert_equal(apart, shared)


def test_parts_of_calls_are_shared_between_tools(monkeypatch: pytest.MonkeyPatch) -> None:
    """The call syntax takes the same calls, too."""
    parameters = {"$defs": {"point": _POINT}, "type": "object", "required": ["a", "b"],
                  "properties": {"a": {"$ref": "#/$defs/point"}, "b": {"$ref": "#/$defs/point"}}}  # fmt: skip
    tools = [ToolSpec(name=name, description="", parameters=parameters) for name in ("ab", "kind")]
    grammar = call_grammar(tools=tools)
    apart, _ = _compile(grammar, monkeypatch, has_parts=False)
    shared, _ = _compile(grammar, monkeypatch, has_parts=True)
    _assert_equal(apart, shared)


def test_copies_know_the_fragments_inside_components(monkeypatch: pytest.MonkeyPatch) -> None:
    """States of slots inside a component that stands in several places are copies of the same states."""
    constraint, _ = _compile(json_grammar(_SCHEMAS["references"]), monkeypatch, has_parts=True)
    origins = constraint.origin[constraint.origin >= 0]
    assert len(set(constraint.copy[constraint.copy >= 0].tolist())) >= 3
    assert len(origins) > len(set(origins.tolist()))


def test_states_inside_are_told_from_those_at_the_ends() -> None:
    """A state belongs to a part if nothing that follows it depends on the place of the part."""
    graph = json_grammar(_SCHEMAS["references"]).graph
    ways = Ways(graph, _VOCABULARY)
    scope = find_parts(graph)
    copy = graph.copies[0]
    inside = [node for node in copy.nodes if node not in copy.ends and graph.runs[node]]
    for node in inside:
        here = scope.around(frozenset({node}), None, ways)
        there = scope.around(frozenset({node + copy.offset}), None, ways)
        assert here is not None
        assert there is not None
        assert here.part is there.part
        assert there.offset == copy.offset
        key = StateKey(frozenset({node}), None, 0)
        assert key.moved(copy.offset, ways).moved(-copy.offset, ways) == key
    for node in copy.ends:
        assert scope.around(frozenset({node}), None, ways) is None
    assert inside


def test_a_slot_that_nothing_follows_is_a_dead_end() -> None:
    """Values behind which the schema leaves no way on are left out, and the others stay."""
    graph = Graph()
    begin, dead = graph.add_node(), graph.add_node()
    graph.add_run(START_NODE, ('"',), begin)
    graph.add_slot(begin, SlotSpec(universal(), style="json"), dead)
    graph.add_run(START_NODE, ("7", END), END_NODE)
    constraint = _pack(assemble.assemble(graph, _VOCABULARY), _VOCABULARY)
    assert constraint.find_tokens(b"7") is not None
    assert constraint.num_states == 3
