"""The cache that is bounded in bytes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest

from agentflow.constraint import Vocabulary, compile_constraint, compiled, json_grammar
from agentflow.constraint.automaton import IntArray
from agentflow.constraint.chain import chain_of
from agentflow.constraint.fragment import Partition
from agentflow.constraint.store import Store


class _Value(NamedTuple):
    """Arrays in a tuple and in a record."""

    own: IntArray
    partition: Partition


def _value(num_bytes: int, partition: Partition) -> _Value:
    return _Value(np.zeros(num_bytes // 4, np.int32), partition)


def test_what_was_not_asked_for_goes_first() -> None:
    """Where there is no room for another value, the one that was asked for longest ago is forgotten."""
    shared = Partition(np.zeros(0, np.int32))
    store = Store(300_000)
    for name in ("first", "second", "third"):
        store[name] = _value(70_000, shared)
    assert store.get("first") is not None
    store["fourth"] = _value(70_000, shared)
    store["fifth"] = _value(70_000, shared)
    assert [name in store for name in ("first", "second", "third", "fourth", "fifth")] == [
        True,
        False,
        True,
        True,
        True,
    ]


def test_a_shared_array_counts_once() -> None:
    """Values that hold one array take its bytes once, and give them back with the last of them."""
    store = Store(1_000_000)
    partition = Partition(np.zeros(50_000, np.int32))
    for number in range(50):
        store[number] = _value(0, partition)
    assert 200_000 < store.num_bytes < 500_000
    for number in range(50):
        store[number] = _value(0, Partition(np.zeros(0, np.int32)))
    assert store.num_bytes < 200_000


def test_a_value_larger_than_a_quarter_is_not_kept() -> None:
    """One large value does not drive out everything else."""
    store = Store(300_000)
    small, large = _value(1_000, Partition(np.zeros(0, np.int32))), _value(100_000, Partition(np.zeros(0, np.int32)))
    store["small"], store["large"] = small, large
    assert store.get("small") is small
    assert store.get("large") is None


def test_constraints_of_many_schemas_stay_within_their_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that compiles one schema after the other kept the last 256, however large: gigabytes."""
    monkeypatch.setattr(compiled, "_CACHE", Store(80_000))
    vocabulary = Vocabulary.from_bytes([bytes([i]) for i in range(256)] + [None], eos_token_ids=[256])
    grammars = [json_grammar({"type": "string", "maxLength": 40 + i}) for i in range(24)]
    last = [compile_constraint(grammar, vocabulary) for grammar in grammars][-1]
    assert compile_constraint(grammars[-1], vocabulary) is last
    assert 0 < len(compiled._CACHE) < len(grammars)
    assert compiled._CACHE.num_bytes <= 80_000


def test_what_a_value_holds_later_is_counted() -> None:
    """A value that has grown counts as it is now, and drives out others; it gives all of it back."""
    store = Store(1_000_000)
    shared = Partition(np.zeros(0, np.int32))
    grown = Partition(np.zeros(10, np.int32))
    store["grown"], store["first"], store["second"] = grown, _value(200_000, shared), _value(200_000, shared)
    vars(grown)["more"] = np.zeros(190_000, np.int32)
    store.recount(grown)
    assert [name in store for name in ("grown", "first", "second")] == [True, False, True]
    assert 960_000 < store.num_bytes <= 1_000_000
    store["third"] = _value(200_000, shared)
    store["fourth"] = _value(200_000, shared)
    assert "grown" not in store
    assert store.num_bytes < 450_000
    store.recount(grown)
    assert "grown" not in store


def test_a_chain_counts_with_its_constraint(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a denoising step makes of a constraint takes room in the cache, too."""
    monkeypatch.setattr(compiled, "_CACHE", Store(1_000_000))
    vocabulary = Vocabulary.from_bytes([bytes([i]) for i in range(256)] + [None], eos_token_ids=[256])
    constraint = compile_constraint(json_grammar({"type": "string", "maxLength": 50}), vocabulary)
    before = compiled._CACHE.num_bytes
    chain = chain_of(constraint)
    assert chain_of(constraint) is chain
    assert compiled._CACHE.num_bytes >= before + chain.row.nbytes + chain.edge_label.nbytes + chain.layout.place.nbytes
