"""Automata that copy from a conversation do not fill the room of those that come again."""

import pytest

from agentflow.backend.diffusion.untrained import build_tokenizer
from agentflow.constraint import Grounding, Vocabulary, compile_constraint, compiled, json_grammar

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "title": "passing"}


@pytest.fixture(scope="module")
def vocabulary():
    """A small vocabulary."""
    tokenizer = build_tokenizer()
    return Vocabulary.from_tokenizer(tokenizer, end_ids=frozenset({1}), size=len(tokenizer))


def test_what_copies_is_kept_apart(vocabulary):
    """New conversations add nothing to the stores of what comes again, and the same one is compiled once."""
    compile_constraint(json_grammar(SCHEMA), vocabulary)
    number = len(compiled._CACHE)
    spans, passing = len(vocabulary.passing_fragments), len(compiled._PASSING)
    found = [
        compile_constraint(json_grammar(SCHEMA, grounding=Grounding((f"From Oslo to town {i}.",))), vocabulary)
        for i in (0, 1, 2, 1)
    ]

    assert found[3] is found[1]
    assert len(vocabulary.passing_fragments) == spans + 3
    assert len(compiled._PASSING) == passing + 3
    assert len(compiled._CACHE) == number


def test_few_of_them_are_kept(vocabulary, monkeypatch):
    """What copies from old conversations goes first when its room is full."""
    store = type(compiled._PASSING)(200_000)
    monkeypatch.setattr(compiled, "_PASSING", store)
    for i in range(60):
        compile_constraint(json_grammar(SCHEMA, grounding=Grounding((f"By train to city {i}.",))), vocabulary)

    assert 0 < len(store) < 60
    assert store.num_bytes <= 200_000
