"""Prepared vocabularies: kept on disk, read back, and made anew where the file is damaged."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from agentflow.constraint import Vocabulary, compile_constraint, json_grammar
from agentflow.constraint.lift import exit_tokens, exits_key
from agentflow.constraint.vocabulary import Trie

SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "integer"}}, "required": ["a"]}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Cache even small vocabularies, in a folder of the test's own."""
    monkeypatch.setenv("AGENTFLOW_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr("agentflow.constraint.vocabulary._LARGE", 0)
    return tmp_path / "vocabularies"


def make_vocabulary() -> Vocabulary:
    """Make a vocabulary of bytes and a few longer tokens, with id 0 as its end."""
    words = [b'{"', b'":"', b'"}', b'","', b'":', b"ab", b"}}", b'},"']
    return Vocabulary.from_bytes([None, *(bytes([b]) for b in range(256)), *words], eos_token_ids=[0])


def test_prepared_again(folder: Path) -> None:
    """A second vocabulary with the same bytes reads what the first one wrote, and compiles to the same automaton."""
    first = make_vocabulary()
    first.prepare()
    (path,) = folder.glob("*.npz")
    written = path.stat().st_mtime_ns
    second = make_vocabulary()
    second.prepare()
    assert path.stat().st_mtime_ns == written
    for part, other in zip(first.trie, second.trie, strict=True):
        np.testing.assert_array_equal(part, other)
    for style in ("json", "raw", "value"):
        assert second.fragments.get(exits_key(style)) == exit_tokens(first, style)
    a, b = (compile_constraint(json_grammar(SCHEMA), vocabulary) for vocabulary in (first, second))
    np.testing.assert_array_equal(a.edge_target, b.edge_target)
    np.testing.assert_array_equal(a.token_atom, b.token_atom)
    assert b.find_tokens(b'{"a":"x","b":3,"c":{"d":[1]}}') is not None


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty"])
def test_prepared_damaged(folder: Path, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    """A damaged file is reported in the log and made anew."""
    make_vocabulary().prepare()
    (path,) = folder.glob("*.npz")
    whole = path.read_bytes()
    middle = len(whole) // 2
    broken = {
        "cut": whole[:middle],
        "flipped": whole[:middle] + bytes([whole[middle] ^ 255]) + whole[middle + 1 :],
        "empty": b"",
    }
    path.write_bytes(broken[damage])
    vocabulary = make_vocabulary()
    with caplog.at_level(logging.WARNING):
        vocabulary.prepare()
    assert "is made anew" in caplog.text
    assert isinstance(vocabulary.trie, Trie)
    fresh = make_vocabulary()
    caplog.clear()
    fresh.prepare()
    assert not caplog.text


def test_other_vocabulary_has_other_file(folder: Path) -> None:
    """The bytes and the end ids are part of the name."""
    make_vocabulary().prepare()
    Vocabulary.from_bytes([None, *(bytes([b]) for b in range(256))], eos_token_ids=[0]).prepare()
    assert len(list(folder.glob("*.npz"))) == 2


def test_container_slots_hold_the_same_language() -> None:
    """Arrays and objects without a schema, read as one slot, are those that are written out beside other values."""
    vocabulary = make_vocabulary()
    grammar = json_grammar({"type": "object", "properties": {"a": True}})
    assert grammar.graph.containers
    assert not grammar.expanded.containers
    whole = compile_constraint(grammar, vocabulary)
    beside = {"anyOf": [{"type": "object", "required": ["b"]}, {"properties": {"a": {"type": "object"}, "b": False}}]}
    mixed = compile_constraint(json_grammar(beside), vocabulary)
    for text in ('{"a":{"x":[1,{"y":null}]}}', '{"a":{"b":"}"}}', '{"a":{},"c":[[],{}]}'):
        assert whole.find_tokens(text.encode()) is not None
        assert mixed.find_tokens(text.encode()) is not None
    for text in ('{"a":{"x":[1,]}}', '{"a":{"x":1}', '{"a":{x:1}}', '{"a":[01]}'):
        assert whole.find_tokens(text.encode()) is None
        assert mixed.find_tokens(text.encode()) is None


def test_many_open_values_are_shallow_and_sound() -> None:
    """Where many values are open their depth shrinks to 1, and brackets within brackets are no way in.

    A beginning that a shallow value cannot have, ``[{"``, used to enter its automaton in a wrong state, which let
    ``[{"6,"`` through.
    """
    vocabulary = make_vocabulary()
    names = [f"p{i}" for i in range(60)]
    schema = {"type": "object", "properties": dict.fromkeys(names, True), "additionalProperties": False}
    constraint = compile_constraint(json_grammar(schema), vocabulary)
    for text in ('{"p1":[1,"a"]}', '{"p1":{"a":1},"p2":[]}'):
        assert constraint.find_tokens(text.encode()) is not None
    for text in ('{"p1":[{"6,"b3"]}', '{"p1":[{"6"]}', '{"p1":[{"a":1}]}'):
        assert constraint.find_tokens(text.encode()) is None
