"""Values that come again are copied into the graph instead of being written anew."""

from __future__ import annotations

from typing import Any

import pytest

from agentflow.constraint import copies, grammar, trees
from agentflow.constraint.graph import Graph
from agentflow.constraint.values import Reached

_ADDRESS = {
    "type": "object",
    "properties": {
        "street": {"type": "string"},
        "kind": {"enum": ["home", "work"]},
        "tags": {"type": "array", "items": {"type": "string", "maxLength": 3}},
        "note": {},
    },
    "additionalProperties": False,
}
_REFERENCES = {
    "$defs": {"address": _ADDRESS},
    "type": "object",
    "properties": {name: {"$ref": "#/$defs/address"} for name in ("home", "work", "other")},
    "required": ["home"],
}
_RECURSION = {
    "$defs": {
        "tree": {
            "type": "object",
            "properties": {
                "name": {"type": "string"},
                "left": {"$ref": "#/$defs/tree"},
                "right": {"$ref": "#/$defs/tree"},
                "leaf": {"$ref": "#/$defs/leaf"},
            },
            "required": ["name"],
        },
        "leaf": {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "boolean"}, "c": True}},
    },
    "$ref": "#/$defs/tree",
}


def _graph(schema: Any, whitespace: Any, monkeypatch: pytest.MonkeyPatch, *, has_copies: bool) -> tuple[Graph, int]:
    num_copies = 0
    copy, find = copies.Templates.copy, copies.Templates.find

    def count(self: Any, template: Any, nesting: int) -> int:
        nonlocal num_copies
        num_copies += 1
        return copy(self, template, nesting)

    monkeypatch.setattr(grammar, "_CACHE", grammar._Kept())
    trees._KEPT.clear()
    with monkeypatch.context() as patch:
        patch.setattr(copies.Templates, "copy", count)
        patch.setattr(copies.Templates, "find", find if has_copies else lambda *_: None)
        found = grammar.json_grammar(schema, whitespace=whitespace)
    return found.graph, num_copies


@pytest.mark.parametrize("whitespace", ["compact", "pretty"])
@pytest.mark.parametrize("schema", [_REFERENCES, _RECURSION])
def test_copies_write_the_same_graph(schema: Any, whitespace: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A graph with copied values is the one that is written without them, node for node."""
    anew, none = _graph(schema, whitespace, monkeypatch, has_copies=False)
    copied, some = _graph(schema, whitespace, monkeypatch, has_copies=True)
    assert none == 0
    assert some > 0
    assert copied.runs == anew.runs
    assert copied.jumps == anew.jumps
    assert copied.slots == anew.slots
    assert copied.containers == anew.containers


def test_recursion_is_bounded_alike_in_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    """A value is not copied to a place where recursion leaves it less depth."""
    copied, _ = _graph(_RECURSION, "compact", monkeypatch, has_copies=True)
    shallow, _ = _graph({**_RECURSION, "$ref": "#/$defs/leaf"}, "compact", monkeypatch, has_copies=True)
    assert copied.num_nodes > 10 * shallow.num_nodes


def test_the_deepest_plan_that_fits_is_found() -> None:
    """Halving finds what trying one plan after the other finds, and asks less often."""
    plans = [grammar._Attempt(recursion, 1, 100) for recursion in (9, 7, 5, 3, 1)]

    class Built:
        def __init__(self, *, is_whole: bool, plan: grammar._Attempt) -> None:
            self.is_whole, self.plan = is_whole, plan
            self.reached = Reached(recursion=99, depth=99)

    for deepest in (9, 7, 5, 3, 1, 0):
        asked: list[int] = []

        def attempt(plan: grammar._Attempt, deepest: int = deepest, asked: list[int] = asked) -> Any:
            asked.append(plan.recursion)
            return Built(is_whole=plan.recursion <= deepest, plan=plan)

        found: Any = grammar._deepest(attempt, plans)
        assert (found.plan.recursion if found else 0) == deepest
        assert len(asked) <= 4
        assert deepest or asked == [9, 1]
