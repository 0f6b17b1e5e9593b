"""The lift of values without a schema: what is left out where it costs much, and what never is."""

from __future__ import annotations

import json

import numpy as np
import pytest

from agentflow.constraint import Constraint, Vocabulary, compile_constraint, json_grammar
from agentflow.constraint.free import containers
from agentflow.constraint.free_fragment import lean_lift, lift_containers

BYTES = [None, *(bytes([b]) for b in range(256))]
WORDS = [b"true", b"false", b"null"]
CHARACTERS = [chr(code).encode() for code in range(0x4E00, 0x4E00 + 1_100)]
RARE = "龍"  # beyond the characters above


def free_values(tokens: list[bytes | None]) -> Constraint:
    """Compile the schema that allows everything."""
    return compile_constraint(json_grammar({}), Vocabulary.from_bytes(tokens, eos_token_ids=[0]))


def takes(constraint: Constraint, value: object) -> bool:
    """Say whether a value can be written."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    return constraint.find_tokens(text.encode()) is not None


@pytest.mark.slow
def test_words_that_are_tokens_are_not_cut() -> None:
    """Within arrays and objects ``true`` is one token where there is one, and its bytes where there is none."""
    spelt, whole = free_values(BYTES), free_values([*BYTES, *WORDS])
    for value in ([True, False, None], {"a": {"b": {"c": [None]}}}):
        assert takes(spelt, value)
        assert takes(whole, value)
    assert whole.statistics().num_states < 0.8 * spelt.statistics().num_states
    text = b"[1,true]"
    assert spelt.accepts([*(byte + 1 for byte in text), 0])
    assert not whole.accepts([*(byte + 1 for byte in text), 0])


@pytest.mark.slow
def test_deep_characters_are_not_cut_where_rare_ones_alone_are() -> None:
    """A character without a token is spelt by bytes within two brackets, one with a token anywhere."""
    constraint = free_values([*BYTES, *WORDS, *CHARACTERS])
    common = CHARACTERS[5].decode()
    assert takes(constraint, {"a": [RARE, common]})
    assert takes(constraint, {"a": [[common]]})
    assert not takes(constraint, {"a": [[RARE]]})


@pytest.mark.slow
def test_characters_may_be_cut_where_tokens_cut_them() -> None:
    """A byte-level vocabulary, whose tokens break characters, or one that has few of them, writes all of them."""
    for tokens in ([*BYTES, *WORDS], [*BYTES, *CHARACTERS, b"\x8d\xe9"]):
        assert takes(free_values(tokens), {"a": [{"b": [RARE, "é"]}]})


@pytest.mark.slow
def test_a_shallow_lift_is_a_part_of_the_deepest() -> None:
    """Cutting the deepest lift leaves the states of a depth, with the numbers that slots begin in."""
    vocabulary = Vocabulary.from_bytes([*BYTES, *WORDS, b'{"', b'":', b"}}", b'"]}'], eos_token_ids=[0])
    whole = lean_lift(containers(7, ",", ":"), vocabulary)
    for depth in (1, 3, 7):
        dfa = containers(depth, ",", ":")
        lifted = lift_containers(dfa, vocabulary)
        assert len(lifted.table) == (whole.depths <= depth).sum()
        assert lifted.table.max() < len(lifted.table)
        entry = dfa.step(dfa.step(0, ord("{")), ord('"'))
        cell = int(lifted.partition.cells[257 + len(WORDS)])
        assert lifted.table[0, cell] == entry
        assert np.flatnonzero(lifted.labels).tolist() == [1]
