"""Automata of what is copied into one place, made from what may stand there alone.

    state 0 --" Oslo"--> 1 --","--> ...        spans of the texts
              any state in which one may end --mark--> final

    state 0 --"1"--> 1 --"2"--> 2              numbers
                     1, 2 --"}"--> exit        and the first token of what may follow

They are for decoding from left to right: their states know of no copies.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from agentflow.constraint.automaton import IntArray
from agentflow.constraint.compiled import Constraint
from agentflow.constraint.fragment import Fragment
from agentflow.constraint.grounding import SpanSpec
from agentflow.constraint.index import slot_fragment
from agentflow.constraint.kernels import count_up, distances, number_singles
from agentflow.constraint.limits import CompileLimits, metered
from agentflow.constraint.vocabulary import Vocabulary


def compile_spans(spec: SpanSpec, mark: int, vocabulary: Vocabulary) -> Constraint:
    """Compile the spans of a slot, each followed by a token that no span holds.

    Args:
        spec: The slot; its strings are spelt as they are (style ``"raw"``), so that no token leads out of it.
        mark: The token.
        vocabulary: The vocabulary.

    Raises:
        UnsupportedSchemaError: It is larger than the default limits.
    """
    with metered(CompileLimits()):
        fragment = slot_fragment((spec,), vocabulary)
    source, token, target = _edges(fragment, mark)
    final = fragment.num_states
    distance = distances(final + 1, source, target, np.array([final], np.int32))
    return _make_constraint(source, token, target, distance, vocabulary, final=final)


def _edges(fragment: Fragment, mark: int) -> tuple[IntArray, npt.NDArray[np.int64], IntArray]:
    """Give source, token and target of each edge, by state."""
    assert fragment.partition is None  # noqa: S101 - see `compile_spans`
    assert not fragment.exits  # noqa: S101 - see `compile_spans`
    ends = np.flatnonzero(fragment.labels)
    source = np.append(fragment.token_source, ends)
    order = np.argsort(source, kind="stable")
    token = np.append(fragment.token, np.full(len(ends), mark))[order]
    target = np.append(fragment.token_target, np.full(len(ends), fragment.num_states))[order]
    return source[order].astype(np.int32), token, target.astype(np.int32)


@dataclass(frozen=True)
class Words:
    """Strings in tokens, as a tree.

    Attributes:
        children: By node, the node behind each token; node 0 is the start.
        ends: The nodes in which a string ends.
        min_tokens: Fewest tokens of a string.
    """

    children: tuple[dict[int, int], ...]
    ends: frozenset[int]
    min_tokens: int

    @classmethod
    def of(cls, strings: Iterable[tuple[int, ...]]) -> Words:
        """Put strings into a tree; there is one at least, and none is empty."""
        children: list[dict[int, int]] = [{}]
        ends: set[int] = set()
        lengths = []
        for string in strings:
            node = 0
            for token in string:
                if token not in children[node]:
                    children[node][token] = len(children)
                    children.append({})
                node = children[node][token]
            ends.add(node)
            lengths.append(len(string))
        return cls(tuple(children), frozenset(ends), min(lengths))

    @cached_property
    def tokens(self) -> frozenset[int]:
        """All tokens of the strings."""
        return frozenset(token for row in self.children for token in row)

    def compile(
        self,
        following: Mapping[int, int],
        instead: Mapping[int, int],
        num_tokens_behind: Mapping[int, int],
        vocabulary: Vocabulary,
    ) -> tuple[Constraint, dict[int, int]]:
        """Compile the strings, each with one of the tokens that may follow; these stand in none of them.

        Args:
            following: By token, a state of another automaton.
            instead: The same of tokens that may stand there instead of a string.
            num_tokens_behind: By that state, fewest tokens from there to the end.
            vocabulary: The vocabulary.

        Returns:
            The automaton, in which nothing follows its ends, with distances that count what is behind; and by state
            in which it ends the state of the other.
        """
        num_nodes = len(self.children)
        states = dict.fromkeys([*following.values(), *instead.values()])
        exits = {state: num_nodes + i for i, state in enumerate(states)}
        ways = {token: exits[state] for token, state in following.items()}
        rows = [row | ways if node in self.ends else row for node, row in enumerate(self.children)]
        rows[0] = rows[0] | {token: exits[state] for token, state in instead.items()}
        distance = np.zeros(num_nodes + len(exits), np.int32)
        distance[num_nodes:] = [num_tokens_behind[state] for state in exits]
        for node in range(num_nodes - 1, -1, -1):  # what follows a node has a higher number
            distance[node] = 1 + min(distance[target] for target in rows[node].values())
        source = np.repeat(np.arange(num_nodes, dtype=np.int32), [len(row) for row in rows])
        token = np.array([token for row in rows for token in row], np.int64)
        target = np.array([target for row in rows for target in row.values()], np.int32)
        constraint = _make_constraint(source, token, target, distance, vocabulary, final=-1)
        return constraint, {number: state for state, number in exits.items()}


def _make_constraint(
    source: IntArray,
    token: npt.NDArray[np.int64],
    target: IntArray,
    distance: IntArray,
    vocabulary: Vocabulary,
    *,
    final: int,
) -> Constraint:
    """Pack edges of single tokens, ordered by state; a final state, which is the last one, takes what may come."""
    num_states, tail = len(distance), vocabulary.tail_id
    token_atom, order, begin = number_singles(token if tail is None else np.append(token, tail), len(vocabulary))
    num_atoms = len(begin) - 1
    atoms = np.arange(num_atoms, dtype=np.int32)
    rest = atoms if tail is None else token_atom[[tail]]  # what may follow the end
    label = token_atom[token]
    if final >= 0:
        source, target = np.append(source, np.int32(final)), np.append(target, np.int32(final))
        label = np.append(label, np.int32(num_atoms))
    nowhere = np.full(num_states, -1, np.int32)
    constraint = Constraint(
        vocabulary=vocabulary,
        row=count_up(source, num_states),
        edge_label=label,
        edge_target=target,
        label_begin=np.append(np.arange(num_atoms + 1), num_atoms + len(rest)),
        label_atoms=np.append(atoms, rest),
        token_atom=token_atom,
        num_atoms=num_atoms,
        distance=distance,
        final=final,
        copy=nowhere,
        origin=nowhere,
        part=np.zeros(num_states, np.int32),
    )
    vars(constraint)["tokens_by_atom"] = order, begin  # else they would be sorted, milliseconds of a large vocabulary
    return constraint
