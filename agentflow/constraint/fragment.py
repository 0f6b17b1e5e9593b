"""Slots and their fragments, as values.

A slot is a place whose text is open: a free string, a pattern, a number. Its `Fragment` is a small token
automaton; `agentflow.constraint.index` makes it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from agentflow.constraint.automaton import CharDfa, IntArray
from agentflow.constraint.names import Names, number_symbols
from agentflow.constraint.surface_bytes import Style

DEAD = -1
_MAX_COUNTED = 256
_MAX_COUNTED_LONG = 1_024
_LONG_TOKEN = 16
_MIN_COUNTED = 24
_MAX_COUNTED_STATES = 2_048
NO_EDGES = np.zeros(0, np.int32)


@dataclass(frozen=True)
class SlotSpec:
    """What may stand in a slot: strings of a regular set, of a length.

    Attributes:
        dfa: The set.
        minimum: Fewest characters.
        maximum: Most characters, or ``None``.
        style: How characters are spelt.
        without: Single strings that may not stand there, the names of declared properties.
        entry: What was written of the text before the slot begins.
    """

    dfa: CharDfa
    minimum: int = 0
    maximum: int | None = None
    style: Style = "raw"
    without: frozenset[str] = frozenset()
    entry: str = ""

    @cached_property
    def key(self) -> tuple[object, ...]:
        """What makes two slots equal."""
        return (*self.base_key, self.without, self.entry)

    @cached_property
    def base_key(self) -> tuple[object, ...]:
        """What makes two slots equal but for single strings and where they begin."""
        return (self.dfa.key, self.minimum, self.maximum, self.style)

    @cached_property
    def unit(self) -> int:
        """Characters that are counted as one beyond the fewest; more than 1 where there are many to count."""
        if self.maximum is None:
            return 1
        num_counted = min(max(_MAX_COUNTED_STATES // max(1, self.dfa.num_states), _MIN_COUNTED), _MAX_COUNTED)
        num_free = self.maximum - self.minimum
        if num_free > _LONG_TOKEN * num_counted and self.dfa.is_universal:  # each token counts as one
            num_counted = min(-(-num_free // _LONG_TOKEN), _MAX_COUNTED_LONG)
        return max(1, -(-num_free // num_counted))

    @property
    def num_states(self) -> int:
        """About how many states the slot will have."""
        num_levels = self.minimum + 1 + (0 if self.maximum is None else (self.maximum - self.minimum) // self.unit)
        return self.dfa.num_states * num_levels

    @cached_property
    def start(self) -> int:
        """State of the automaton in which the slot begins; -1 where no text begins like that."""
        state = 0
        for char in self.entry:
            if state >= 0:
                state = self.dfa.step(state, ord(char))
        return state


class Exit(NamedTuple):
    """A token leaves the slot: which sets accept what was read, and what it spells after that."""

    label: int
    rest: bytes


class Row(NamedTuple):
    """What may follow in one state of a fragment; targets as in `Fragment`.

    Attributes:
        sets: Target by set of cells.
        by_cell: The set of each cell.
        tokens: Target by token.
        without: Tokens that are taken out, by set.
    """

    sets: dict[int, int]
    by_cell: dict[int, int]
    tokens: dict[int, int]
    without: dict[int, frozenset[int]]

    def step(self, token: int, cell: int) -> int:
        """Give the target of a token that lies in `cell`, `DEAD` where there is none."""
        if token in self.tokens:
            return self.tokens[token]
        name = self.by_cell.get(cell, -1)
        return DEAD if token in self.without.get(name, ()) else self.sets.get(name, DEAD)


@dataclass(frozen=True, eq=False)
class Partition:
    """Cells of tokens that move every state of an automaton alike.

    Attributes:
        cells: ``(V,)`` int32 cell of each token; cell 0 holds the tokens that are never allowed.
    """

    cells: IntArray

    @cached_property
    def num_cells(self) -> int:
        """Number of cells."""
        return int(self.cells.max()) + 1

    @cached_property
    def num_tokens(self) -> int:
        """Number of tokens that are allowed anywhere."""
        return int(np.count_nonzero(self.cells))


@dataclass(frozen=True, eq=False)
class Fragment:
    """A slot's token automaton; state 0 is the start.

    Attributes:
        labels: ``(S,)`` int32, bit k: the k-th of the slot's sets accepts here.
        partition: The cells; ``None`` where all edges are single tokens.
        sets: The sets of cells that edges are labelled with; all cells with one target are one edge.
        source: ``(E,)`` int32 state of each edge, ascending.
        cells: ``(E,)`` int32 its set of cells.
        target: ``(E,)`` int32 next state; -2 - i is ``exits[i]``.
        token_source: ``(T,)`` int32 state of each edge of a single token, ascending.
        token: ``(T,)`` int32.
        token_target: ``(T,)`` int32.
        exits: The exits.
        without: Tokens that are taken out of a state's edge, by state and set.
    """

    labels: IntArray
    partition: Partition | None
    sets: tuple[tuple[int, ...], ...]
    source: IntArray
    cells: IntArray
    target: IntArray
    token_source: IntArray
    token: IntArray
    token_target: IntArray
    exits: tuple[Exit, ...]
    without: dict[tuple[int, int], frozenset[int]]

    @property
    def num_states(self) -> int:
        """Number of states."""
        return len(self.labels)

    @cached_property
    def rests(self) -> dict[int, dict[str, int]]:
        """For each label of exits, what tokens spell beyond the slot, and the number of that exit."""
        found: dict[int, dict[str, int]] = {}
        for i, (label, rest) in enumerate(self.exits):
            found.setdefault(label, {})[rest.decode()] = i
        return found

    @cached_property
    def flat_sets(self) -> tuple[npt.NDArray[np.int64], IntArray]:
        """Where the cells of each set begin, and the cells of all sets one after the other."""
        begin = np.zeros(len(self.sets) + 1, np.int64)
        np.cumsum([len(cells) for cells in self.sets], out=begin[1:])
        return begin, np.array(list(chain.from_iterable(self.sets)), np.int32)

    @cached_property
    def set_edges(self) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.intp]]:
        """The sets that edges are labelled with, and for each edge the place of its set among them."""
        return np.unique(self.cells, return_inverse=True)

    @cached_property
    def token_edges(self) -> Names:
        """The tokens that edges are labelled with, and for each edge the place of its token among them."""
        return number_symbols(self.token)

    @cached_property
    def all_edges(self) -> tuple[IntArray, IntArray]:
        """For each edge, those of sets first, its state and its target: that of exit i is the number of states + i.

        Dead ones, if there are any, stand behind the last exit.
        """
        target = np.append(self.target, self.token_target)
        exits = np.where(target < DEAD, -2 - target, len(self.exits)) + self.num_states
        return np.append(self.source, self.token_source), np.where(target >= 0, target, exits).astype(np.int32)

    @cached_property
    def ends(self) -> dict[int, IntArray]:
        """The states in which some of the slot's sets accept, by label."""
        labels = dict.fromkeys(self.labels[self.labels != 0].tolist())
        return {label: np.flatnonzero(self.labels == label).astype(np.int32) for label in labels}

    @cached_property
    def _begins(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        states = np.arange(self.num_states + 1)
        return np.searchsorted(self.source, states), np.searchsorted(self.token_source, states)

    @cached_property
    def _rows(self) -> dict[int, Row]:
        return {}

    def row(self, state: int) -> Row:
        """Give what may follow in a state; not to be changed."""
        found = self._rows.get(state)
        if found is None:
            found = self._rows[state] = self._make_row(state)
        return found

    def _make_row(self, state: int) -> Row:
        edges, tokens = self._begins
        a, b, c, d = edges[state], edges[state + 1], tokens[state], tokens[state + 1]
        sets = dict(zip(self.cells[a:b].tolist(), self.target[a:b].tolist(), strict=True))
        by_cell = {cell: name for name in sets for cell in self.sets[name]}
        single = dict(zip(self.token[c:d].tolist(), self.token_target[c:d].tolist(), strict=True))
        without = {name: self.without[state, name] for name in sets if (state, name) in self.without}
        return Row(sets, by_cell, single, without)

    def cell_of(self, token: int) -> int:
        """Give the cell of a token."""
        return -1 if self.partition is None else int(self.partition.cells[token])
