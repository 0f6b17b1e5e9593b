"""Schemas that were read stay read."""

from agentflow.constraint import Grounding, json_grammar
from agentflow.constraint import trees as trees_module
from agentflow.constraint.grammar import _Kept
from agentflow.constraint.trees import Trees

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "title": "kept trees"}


def test_a_tree_is_kept_for_the_next_grammar_and_lent_to_one_at_a_time():
    """Two grammars at once never share a tree; one after the other do."""
    first, second = Trees(), Trees()
    tree = first.of(SCHEMA, unchecked=None, is_strict=True)
    assert first.of(dict(SCHEMA), unchecked=None, is_strict=True) is tree
    assert second.of(SCHEMA, unchecked=None, is_strict=True) is not tree
    first.give_back()
    assert Trees().of(SCHEMA, unchecked=None, is_strict=True) is tree


def test_a_kept_tree_gives_the_same_grammar(monkeypatch):
    """With other texts to quote, a grammar from a kept tree has the size of one that read the schema anew."""
    json_grammar(SCHEMA, grounding=Grounding(("Oslo",)))
    kept = json_grammar(SCHEMA, grounding=Grounding(("Paris to Rome",)))
    monkeypatch.setattr(trees_module, "_KEPT", type(trees_module._KEPT)())
    monkeypatch.setattr("agentflow.constraint.grammar._CACHE", _Kept())
    fresh = json_grammar(SCHEMA, grounding=Grounding(("Paris to Rome",)))
    assert fresh is not kept
    assert fresh.key == kept.key
    assert fresh.num_nodes == kept.num_nodes


def test_trees_that_leave_keywords_to_a_check_are_not_kept():
    """They note what they leave out while they are read, so they are read each time."""
    trees = Trees()
    tree = trees.of(SCHEMA, unchecked=[], is_strict=False)
    trees.give_back()
    assert Trees().of(SCHEMA, unchecked=[], is_strict=False) is not tree
