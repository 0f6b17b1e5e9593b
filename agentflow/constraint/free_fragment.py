"""Values without a schema x vocabulary -> what the fragment of a place is made of.

The deepest automaton is lifted once; a place that may be less deep takes the part of that lift that it may reach.
The lift is made lean before it is kept, because it is copied into every open place and the trellis runs over its
edges: ``true``, ``false`` and ``null`` are read as one token, and within more than two brackets no character is cut
into several. That is done where the vocabulary has tokens for these words, and where it spells by single bytes only
what it has no token for. The texts that are left out are few: characters so rare that they have no token, that deep.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from agentflow.constraint.automaton import BoolArray, IntArray, reach_forward
from agentflow.constraint.fragment import DEAD
from agentflow.constraint.free import DEEPEST, FULL_DEPTH, Containers, bracket_paths, containers
from agentflow.constraint.lift import Lifted, lift, lift_key
from agentflow.constraint.surface_bytes import spell
from agentflow.constraint.vocabulary import Vocabulary

_WORDS = frozenset((b"true", b"false", b"null"))
_MIN_CHARACTERS = 1_000
_MAX_CHARACTER_BYTES = 4


class LeanLift(NamedTuple):
    """The lift of the deepest automaton, made lean.

    Attributes:
        lifted: The lift; states within at most `FULL_DEPTH` brackets have the numbers that the automaton gives them.
        parts: ``(S,)`` int32, which brackets are open in each state; see `Containers`.
    """

    lifted: Lifted
    parts: IntArray

    @property
    def depths(self) -> IntArray:
        """``(S,)`` int32, how many brackets are open in each state."""
        return bracket_paths().depth[self.parts]


def lift_containers(dfa: Containers, vocabulary: Vocabulary) -> Lifted:
    """Give the lift of the texts of arrays and objects; where a slot begins, states have the numbers of `dfa`."""
    lean = lean_lift(dfa, vocabulary)
    return lean.lifted if dfa.depth == DEEPEST else _keep(lean, lean.depths <= dfa.depth).lifted


class Roles(NamedTuple):
    """Where the states of a fragment stand; each array is ``(S,)`` int32.

    Attributes:
        part: Which brackets are open; see `Containers`.
        role: What the state is within that part; states with one role go on alike there.
    """

    part: IntArray
    role: IntArray


def roles_in_deepest(dfa: Containers, vocabulary: Vocabulary) -> Roles:
    """Say where the states of a place's fragment stand; roles are the same for places of any depth."""
    lean = lean_lift(dfa, vocabulary)
    order = np.argsort(lean.parts, kind="stable")
    size = np.bincount(lean.parts)
    rank = np.empty(len(order), np.int64)  # within its part
    rank[order] = np.arange(len(order)) - np.repeat(np.cumsum(size) - size, size)
    depth, bits = (values[lean.parts] for values in bracket_paths())
    kind = np.where(depth == 0, 0, 1 + bits % 2 + 2 * (depth > FULL_DEPTH))
    is_kept = depth <= dfa.depth
    return Roles(lean.parts[is_kept], (kind * int(size.max()) + rank)[is_kept].astype(np.int32))


def lean_lift(dfa: Containers, vocabulary: Vocabulary) -> LeanLift:
    """Give the lift of the deepest automaton of this layout, from the vocabulary's store or made new."""
    whole = containers(DEEPEST, dfa.comma, dfa.colon)
    found: LeanLift | None = vocabulary.fragments.get(lean_key(whole))
    if found is None:
        found = vocabulary.fragments[lean_key(whole)] = _make_lean(whole, vocabulary)
    return found


def lean_key(whole: Containers) -> tuple[object, ...]:
    """Give the name under which the vocabulary's store keeps the lift of the deepest automaton."""
    return ("lean", *lift_key(whole.starts, whole.table, whole.accepting.astype(np.int32), "value"))


def _make_lean(whole: Containers, vocabulary: Vocabulary) -> LeanLift:
    lifted = lift(whole.starts, whole.table, whole.accepting.astype(np.int32), "value", vocabulary)
    table = lifted.table.copy()
    parts = _parts(whole)
    depths = bracket_paths().depth[parts]
    if _has_words(vocabulary):
        table[np.isin(table, whole.words)] = DEAD
    if _has_characters(vocabulary):
        is_deep = (np.arange(len(table)) < whole.num_states) & (depths > FULL_DEPTH)
        table[is_deep[:, None] & (table >= whole.num_states)] = DEAD
    kept = reach_forward(table) | ((np.arange(len(table)) < whole.num_states) & (depths <= FULL_DEPTH))
    return _keep(LeanLift(lifted._replace(table=table, counts=np.zeros((0, 0), np.int32)), parts), kept)


def _parts(whole: Containers) -> IntArray:
    """Say which brackets are open in each state of the lift, in those within characters too."""
    table = spell(whole.starts, whole.table, "value").table
    parts = np.append(whole.parts, np.zeros(len(table) - whole.num_states, np.int32)).astype(np.int32)
    for _ in range(_MAX_CHARACTER_BYTES - 1):  # towards the lead byte, whose state is in the part of those behind it
        inner = table[whole.num_states :]
        parts[whole.num_states :] = np.where(inner >= 0, parts[inner], 0).max(axis=1, initial=0)
    return parts


def _has_words(vocabulary: Vocabulary) -> bool:
    return _WORDS.issubset(vocabulary.token_bytes)


def _has_characters(vocabulary: Vocabulary) -> bool:
    """Say whether tokens are whole characters, of which there are many, or single bytes."""
    num = 0
    for data in vocabulary.token_bytes:
        if data is None or len(data) == 1 or data.isascii():
            continue
        try:
            num += len(data.decode()) == 1
        except UnicodeDecodeError:
            return False
    return num >= _MIN_CHARACTERS


def _keep(lean: LeanLift, is_kept: BoolArray) -> LeanLift:
    """Drop states and what leads to them."""
    lifted = lean.lifted
    rank = np.where(is_kept, np.cumsum(is_kept) - 1, DEAD).astype(np.int32)
    table = lifted.table[is_kept]
    table = np.where(table >= 0, rank[np.maximum(table, 0)], table)
    return LeanLift(lifted._replace(labels=lifted.labels[is_kept], table=table), lean.parts[is_kept])
