"""A compiled constraint: a deterministic token automaton, pruned and packed for the trellis.

States that cannot reach the end are gone, so every state has a way to finish, and knows how many tokens the
shortest one takes. After an end token the automaton rests in its final state, which takes any token (or the
vocabulary's tail token).
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from agentflow.constraint import index_kernels, kernels, lift_kernels
from agentflow.constraint.assemble import ConflictError, TokenAutomaton, assemble
from agentflow.constraint.atoms import make_atoms
from agentflow.constraint.automaton import BoolArray, IntArray
from agentflow.constraint.grammar import Grammar
from agentflow.constraint.kernels import distances, sort_edges
from agentflow.constraint.limits import metered
from agentflow.constraint.store import Store
from agentflow.constraint.vocabulary import Vocabulary
from agentflow.errors import SchemaBudgetError, UnsatisfiableSchemaError

_MAX_CACHED_BYTES, _MAX_PASSING_BYTES = 256 << 20, 32 << 20


class Statistics(NamedTuple):
    """Size of a constraint.

    Attributes:
        num_states: States of the token automaton.
        num_edges: Its edges, each with a label.
        num_labels: Distinct token sets on edges.
        num_atoms: Blocks of the finest partition of the tokens; every label is a union of atoms.
        min_tokens: Fewest tokens of a valid output, the end token included.
        max_tokens: Most tokens, or ``None`` where there is no bound.
    """

    num_states: int
    num_edges: int
    num_labels: int
    num_atoms: int
    min_tokens: int
    max_tokens: int | None


@dataclass(frozen=True, eq=False)
class Constraint:
    """A grammar compiled for a vocabulary. Made by `compile_constraint`; immutable and shared.

    Attributes:
        vocabulary: The vocabulary.
        row: ``(S + 1,)`` int64, where the edges of each state begin.
        edge_label: ``(E,)`` int32.
        edge_target: ``(E,)`` int32.
        label_begin: ``(C + 1,)`` int64, where the atoms of each label begin.
        label_atoms: ``(N,)`` int32.
        token_atom: ``(V,)`` int32, the atom of each token.
        num_atoms: Number of atoms.
        distance: ``(S,)`` int32, fewest tokens from each state to the end.
        final: The absorbing state.
        copy: ``(S,)`` int32, the copy of a fragment that each state stands in, -1: none.
        origin: ``(S,)`` int32, what the state is a copy of, -1: nothing. Copies go on by the same labels to the
            same places of their copies, and differ where they are left.
        part: ``(S,)`` int32, which brackets of a value without a schema are open, 0: none; see `Containers`. Parts of
            one copy go on alike, too, in states that are copies of one thing.
    """

    vocabulary: Vocabulary
    row: npt.NDArray[np.int64]
    edge_label: IntArray
    edge_target: IntArray
    label_begin: npt.NDArray[np.int64]
    label_atoms: IntArray
    token_atom: IntArray
    num_atoms: int
    distance: IntArray
    final: int
    copy: IntArray
    origin: IntArray
    part: IntArray

    @property
    def start_state(self) -> int:
        """State before the first token."""
        return 0

    @property
    def num_states(self) -> int:
        """Number of states."""
        return len(self.distance)

    @property
    def min_tokens(self) -> int:
        """Fewest tokens of a valid output, the end token included."""
        return int(self.distance[0])

    def is_accepting(self, state: int) -> bool:
        """Say whether the output is complete: its end token was read."""
        return state == self.final

    def tokens_to_end(self, state: int) -> int:
        """Give the fewest tokens from `state` to the end, the end token included."""
        return int(self.distance[state])

    def advance(self, state: int, ids: Iterable[int]) -> int:
        """Read tokens.

        Args:
            state: Where to begin.
            ids: Token ids.

        Returns:
            The state after them.

        Raises:
            ValueError: A token is not allowed; the message names it, its place and the state.
        """
        for i, token in enumerate(ids):
            following = self._step(state, int(token))
            if following < 0:
                spelt = self.vocabulary.token_bytes[int(token)] if 0 <= int(token) < len(self.vocabulary) else None
                raise ValueError(f"token {int(token)} ({spelt!r}) is not allowed at position {i} in state {state}")
            state = following
        return state

    def accepts(self, ids: Iterable[int]) -> bool:
        """Say whether `ids` is a complete output, its end token included."""
        state = 0
        for token in ids:
            state = self._step(state, int(token))
            if state < 0:
                return False
        return self.is_accepting(state)

    def allowed(self, state: int, *, num_tokens_left: int | None = None) -> BoolArray:
        """Give the tokens that may come next, ``(V,)`` bool.

        Args:
            state: Where the output stands.
            num_tokens_left: Tokens that may still be written, the next one included; only tokens after which the
                output can still end within them are given. ``None``: no bound.
        """
        mask = np.zeros(self.num_atoms, bool)
        edges = np.arange(self.row[state], self.row[state + 1])
        if num_tokens_left is not None:
            edges = edges[self.distance[self.edge_target[edges]] < num_tokens_left]
        for label in np.unique(self.edge_label[edges]):
            mask[self.label_atoms[self.label_begin[label] : self.label_begin[label + 1]]] = True
        return mask[self.token_atom]

    def has_one_token(self, state: int) -> bool:
        """Say whether one token alone may come next."""
        edges = slice(int(self.row[state]), int(self.row[state + 1]))
        labels = np.unique(self.edge_label[edges])
        atoms = [self.label_atoms[self.label_begin[label] : self.label_begin[label + 1]] for label in labels]
        return int(self.atom_size[np.unique(np.concatenate(atoms))].sum()) == 1

    def _step(self, state: int, token: int) -> int:
        if not 0 <= token < len(self.token_atom):
            return -1
        return self.row_by_atom(state).get(int(self.token_atom[token]), -1)

    def row_by_atom(self, state: int) -> dict[int, int]:
        """Give the state after each atom that may come next."""
        row = self._rows.get(state)
        if row is None:
            row = self._rows[state] = {}
            for edge in range(self.row[state], self.row[state + 1]):
                label, target = self.edge_label[edge], int(self.edge_target[edge])
                for atom in self.label_atoms[self.label_begin[label] : self.label_begin[label + 1]].tolist():
                    row[atom] = target
        return row

    @cached_property
    def _rows(self) -> dict[int, dict[int, int]]:
        return {}

    def find_tokens(self, data: bytes) -> list[int] | None:
        """Give the shortest way to write `data` as a complete output, without its end token; ``None``: there is none.

        Control tokens cannot be asked for; use `accepts` for outputs that hold them.
        """
        table, longest = self.vocabulary.ids_by_bytes
        layers: list[dict[int, tuple[int, int, int]]] = [{} for _ in range(len(data) + 1)]
        layers[0][0] = (0, -1, -1)
        for at in range(len(data)):
            for state, (cost, _, _) in list(layers[at].items()):
                row = self.row_by_atom(state)
                for end in range(at + 1, min(len(data), at + longest) + 1):
                    token = table.get(data[at:end])
                    target = row.get(int(self.token_atom[token]), -1) if token is not None else -1
                    if target >= 0 and cost + 1 < layers[end].get(target, (1 << 30, 0, 0))[0]:
                        layers[end][target] = (cost + 1, state, token if token is not None else -1)
        return self._trace(layers, data)

    def _trace(self, layers: list[dict[int, tuple[int, int, int]]], data: bytes) -> list[int] | None:
        ends = [
            (cost, state) for state, (cost, _, _) in layers[-1].items()
            if any(self._step(state, end) == self.final for end in self.vocabulary.end_ids)
        ]  # fmt: skip
        if not ends:
            return None
        tokens: list[int] = []
        state, at = min(ends)[1], len(data)
        while at:
            _, before, token = layers[at][state]
            tokens.append(token)
            state, at = before, at - len(self.vocabulary.token_bytes[token] or b"")
        return tokens[::-1]

    @cached_property
    def only_token(self) -> IntArray:
        """``(K,)`` int32, the token of an atom that has one, else -1."""
        only = np.full(self.num_atoms, -1, np.int32)
        only[self.token_atom] = np.arange(len(self.token_atom))
        return np.where(self.atom_size == 1, only, -1).astype(np.int32)

    @cached_property
    def atom_size(self) -> npt.NDArray[np.int64]:
        """``(K,)``, tokens of each atom."""
        return np.bincount(self.token_atom, minlength=self.num_atoms)

    @cached_property
    def tokens_by_atom(self) -> tuple[IntArray, npt.NDArray[np.int64]]:
        """Token ids sorted by atom ``(V,)``, and where those of each atom begin ``(K + 1,)``."""
        order = np.argsort(self.token_atom, kind="stable").astype(np.int32)
        return order, np.searchsorted(self.token_atom[order], np.arange(self.num_atoms + 1))

    @cached_property
    def edge_source(self) -> IntArray:
        """``(E,)`` int32, source of each edge."""
        return np.repeat(np.arange(self.num_states, dtype=np.int32), np.diff(self.row))

    @cached_property
    def _first_positions(self) -> dict[int, IntArray]:
        return {}

    def first_positions(self, state: int) -> IntArray:
        """Give the fewest tokens from `state` to each state, ``(S,)`` int32, -1: not reached."""
        found = self._first_positions.get(state)
        if found is None:
            goal = np.array([state], np.int32)
            found = distances(self.num_states, self.edge_target, self.edge_source, goal)
            self._first_positions[state] = found
        return found

    @cached_property
    def max_tokens(self) -> int | None:
        """Most tokens of an output, the end token included; ``None`` where there is no bound."""
        return _longest(self)

    def statistics(self) -> Statistics:
        """Give the sizes."""
        return Statistics(
            num_states=self.num_states,
            num_edges=len(self.edge_target),
            num_labels=len(self.label_begin) - 1,
            num_atoms=self.num_atoms,
            min_tokens=self.min_tokens,
            max_tokens=self.max_tokens,
        )


def _longest(constraint: Constraint) -> int | None:
    """Find the longest path to the final state, peeling states without unread followers (Kahn)."""
    is_loop = (constraint.edge_source == constraint.final) & (constraint.edge_target == constraint.final)
    source, target = constraint.edge_source[~is_loop], constraint.edge_target[~is_loop]
    length = np.where(np.arange(constraint.num_states) == constraint.final, 0, -1)
    open_edges = np.bincount(source, minlength=constraint.num_states)
    order = np.argsort(target, kind="stable")
    begin = np.searchsorted(target[order], np.arange(constraint.num_states + 1))
    todo = [constraint.final]
    num_done = 0
    while todo:
        state = todo.pop()
        num_done += 1
        for edge in order[begin[state] : begin[state + 1]].tolist():
            before = int(source[edge])
            length[before] = max(length[before], length[state] + 1)
            open_edges[before] -= 1
            if open_edges[before] == 0:
                todo.append(before)
    return int(length[0]) if num_done == constraint.num_states else None


def check_budget(constraint: Constraint, state: int, num_tokens: int) -> None:
    """Make sure that a valid output fits.

    Args:
        constraint: The constraint.
        state: Where the output stands.
        num_tokens: Tokens that may still be written.

    Raises:
        SchemaBudgetError: The shortest valid output needs more.
    """
    needed = constraint.tokens_to_end(state)
    if needed > num_tokens:
        raise SchemaBudgetError(num_tokens_needed=needed, num_tokens_given=num_tokens)


_CACHE = Store(_MAX_CACHED_BYTES)
"""Constraints by the identity of their vocabulary, which they hold on to, and the key of their grammar."""

_PASSING = Store(_MAX_PASSING_BYTES)
"""Those that copy from texts: a conversation that went on does not come again, so few of them are kept."""


def attach(constraint: Constraint, name: str, value: Any) -> None:
    """Let a constraint hold on to what was made of it, as an attribute; the cache where it lies counts it from now."""
    vars(constraint)[name] = value
    for store in (_CACHE, _PASSING):
        store.recount(constraint)


def compile_constraint(grammar: Grammar, vocabulary: Vocabulary) -> Constraint:
    """Compile a grammar for a vocabulary; equal grammars are compiled once.

    Raises:
        UnsatisfiableSchemaError: No output is valid.
        UnsupportedSchemaError: The automaton is larger than the grammar's limits.
        ConfigurationError: The vocabulary lacks a control token that the grammar writes.
    """
    key = (id(vocabulary), grammar.key)
    store = _PASSING if grammar.is_passing else _CACHE
    known: Constraint | None = store.get(key)
    if known is not None:
        return known
    kernels.warm_up()
    lift_kernels.warm_up()
    index_kernels.warm_up()
    with metered(grammar.limits):
        constraint = _pack(_assemble(grammar, vocabulary), vocabulary)
    store[key] = constraint
    return constraint


def _assemble(grammar: Grammar, vocabulary: Vocabulary) -> TokenAutomaton:
    """Take values without a schema as slots, and write them out where they stand beside other values."""
    with suppress(ConflictError):
        return assemble(grammar.graph, vocabulary)
    return assemble(grammar.expanded, vocabulary)  # when all of the first attempt is gone


def _pack(automaton: TokenAutomaton, vocabulary: Vocabulary) -> Constraint:
    """Drop what cannot finish, number atoms and labels, and sort the edges."""
    goal = np.array([automaton.final], np.int32)
    distance = distances(automaton.num_states, automaton.source, automaton.target, goal)
    if distance[0] < 0:
        raise UnsatisfiableSchemaError("no value satisfies the schema")
    reached = distances(automaton.num_states, automaton.target, automaton.source, np.zeros(1, np.int32)) >= 0
    keep = (distance >= 0) & reached
    rank = np.where(keep, np.cumsum(keep) - 1, -1).astype(np.int32)
    final = int(rank[automaton.final])
    source, target = np.append(automaton.source, goal), np.append(automaton.target, goal)
    label = np.append(automaton.label, np.int32(len(automaton.labels)))  # the last edge is the loop of the final state
    row, label, target, used = sort_edges(source, label, target, rank, len(automaton.labels) + 1)
    labels = [automaton.labels[i] for i in used[:-1].tolist()]
    atoms = make_atoms(labels, automaton.fragments, vocabulary)
    return Constraint(
        vocabulary=vocabulary,
        row=row,
        edge_label=label,
        edge_target=target,
        label_begin=atoms.begin,
        label_atoms=atoms.members,
        token_atom=atoms.token_atom,
        num_atoms=atoms.num_atoms,
        distance=distance[keep],
        final=final,
        copy=automaton.copy[keep],
        origin=automaton.origin[keep],
        part=automaton.part[keep],
    )
