"""Grammar graph x vocabulary -> the graph token by token, as arrays.

Each literal becomes its canonical tokens. Behind a slot, a token may spell the slot's end and the beginning of a
literal at once, as ``",`` does; so of literals that stand there, what is left behind each such beginning is spelt too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from agentflow.constraint.automaton import IntArray
from agentflow.constraint.fragment import SlotSpec
from agentflow.constraint.graph import END, END_NODE, START_NODE, Graph, Run, Slot
from agentflow.constraint.lift import exit_tokens
from agentflow.constraint.place_kernels import Net
from agentflow.constraint.spelling_kernels import reach, spell
from agentflow.constraint.surface_bytes import Style
from agentflow.constraint.vocabulary import Vocabulary
from agentflow.errors import ConfigurationError

LongArray: TypeAlias = npt.NDArray[np.int64]


class Spelling:
    """A graph, spelt.

    Attributes:
        net: The graph as arrays.
        slots: The distinct slots.
        pairs: Number of a slot and the node behind it, by number of the pair.
        rests: What tokens spell beyond the end of a slot: its name in `net`.
    """

    def __init__(self, graph: Graph, vocabulary: Vocabulary) -> None:
        self._graph = graph
        self._vocabulary = vocabulary
        self.slots: list[Slot] = []
        self.pairs: list[tuple[int, int]] = []
        self._numbers: dict[object, int] = {}
        pair_begin, pairs = self._read_slots()
        styles = dict.fromkeys(slot.style for slot in self.slots if isinstance(slot, SlotSpec))
        found = dict.fromkeys(rest for style in styles for rest in _rests(style, vocabulary))
        self.rests = {rest: name for name, rest in enumerate(found)}
        self._longest_rest = max(map(len, self.rests), default=0)
        self.net = self._make_net(pair_begin, pairs)

    def number_of(self, slot: Slot) -> int:
        """Give the number of a slot."""
        number = self._numbers.setdefault(slot.key, len(self.slots))
        if number == len(self.slots):
            self.slots.append(slot)
        return number

    def _read_slots(self) -> tuple[LongArray, IntArray]:
        """Number the slots with the nodes behind them; give where those of each node begin, and the pairs."""
        known: dict[tuple[int, int], int] = {}
        found = [
            known.setdefault((self.number_of(slot), target), len(known))
            for ways in self._graph.slots
            for slot, target in ways
        ]
        self.pairs = list(known)
        return _begins(self._graph.slots), np.array(found, np.int32)

    def _make_net(self, pair_begin: LongArray, pairs: IntArray) -> Net:
        graph = self._graph
        kinds: dict[Run, int] = {}
        run = np.array([kinds.setdefault(run, len(kinds)) for ways in graph.runs for run, _ in ways], np.int32)
        run_target = np.array([target for ways in graph.runs for _, target in ways], np.int32)
        run_begin, jump_begin = _begins(graph.runs), _begins(graph.jumps)
        jumps = np.array(list(chain.from_iterable(graph.jumps)), np.int32)
        behind = np.array([target for _, target in self.pairs], np.int32)
        steps = (run_begin, run_target, jump_begin, jumps)
        is_used = reach(np.array([START_NODE], np.int32), *steps, pair_begin, behind[pairs])
        is_behind = is_used & reach(behind, jump_begin, jumps, jump_begin, jumps, jump_begin, jumps)
        num_runs = np.diff(run_begin)
        spelt = self._spell_kinds(
            kinds, set(run[np.repeat(is_used, num_runs)].tolist()), set(run[np.repeat(is_behind, num_runs)].tolist())
        )
        token_begin, tokens, middle, rest_begin, rests = spell(run_begin, run, run_target, is_used, *spelt)
        num_nodes = graph.num_nodes + len(middle)
        has_runs = num_runs > 0
        has_runs[END_NODE] = True
        return Net(
            token_begin, tokens, middle, jump_begin, jumps, pair_begin, pairs, rest_begin, rests, has_runs,
            np.full(num_nodes, -1, np.int32), np.zeros(num_nodes, np.int64), np.zeros(len(self.pairs), np.int64),
            np.full(len(self._vocabulary), -1, np.int32),
        )  # fmt: skip

    def _spell_kinds(self, kinds: Iterable[Run], used: set[int], behind: set[int]) -> tuple[npt.NDArray[Any], ...]:
        """Give the tokens of each kind of literal, and of what is left of it behind each beginning; see `spell`."""
        cut_begin, rest_begin = [], []
        ways: list[tuple[int, ...]] = []
        names: list[int] = []
        for kind, run in enumerate(kinds):
            cut_begin.append(len(ways))
            if kind in used:
                ways += self._spellings(run)
            rest_begin.append(len(ways))
            names += [-1] * (len(ways) - len(names))
            if kind in behind:
                for name, remainder in self._remainders(run):
                    ways += self._spellings(remainder) if remainder else [()]
                    names += [name] * (len(ways) - len(names))
        cut_begin.append(len(ways))
        return (
            np.array(cut_begin, np.int64), np.array(rest_begin, np.int64), np.array(names, np.int32), _begins(ways),
            np.array(list(chain.from_iterable(ways)), np.int32),
        )  # fmt: skip

    def _spellings(self, run: Run) -> list[tuple[int, ...]]:
        """Cut a run into tokens; the end of a value has as many as there are end ids."""
        if len(run) == 1 and isinstance(run[0], str):
            return [self._vocabulary.encode(run[0])]
        if run[-1] == END:
            before = self._tokens(run[:-1])
            return [(*before, end) for end in sorted(self._vocabulary.end_ids)]
        return [self._tokens(run)]

    def _tokens(self, run: Run) -> tuple[int, ...]:
        tokens: list[int] = []
        for piece in run:
            if isinstance(piece, str):
                tokens += self._vocabulary.encode(piece)
            elif piece.text in self._vocabulary.control_ids:
                tokens.append(self._vocabulary.control_ids[piece.text])
            else:
                raise ConfigurationError(
                    f"the vocabulary has no control token {piece.text!r}",
                    hint="use the tokenizer of a DiffusionGemma or Gemma 4 checkpoint, or the surface 'json'",
                )
        return tuple(tokens)

    def _remainders(self, run: Run) -> list[tuple[int, Run]]:
        """Give what is left of a run behind each beginning that a token may spell."""
        first = run[0]
        if not isinstance(first, str):
            return []
        found: list[tuple[int, Run]] = []
        for length in range(1, min(len(first), self._longest_rest) + 1):
            name = self.rests.get(first[:length])
            if name is not None:
                found.append((name, (first[length:], *run[1:]) if length < len(first) else run[1:]))
        return found


def _begins(lists: Sequence[Sequence[Any]]) -> LongArray:
    begin = np.zeros(len(lists) + 1, np.int64)
    np.cumsum(np.fromiter(map(len, lists), np.int64, len(lists)), out=begin[1:])
    return begin


def _rests(style: Style, vocabulary: Vocabulary) -> tuple[str, ...]:
    """Give what the vocabulary's tokens spell beyond the end of a slot, from the vocabulary's store or made new."""
    key = ("rests", style)
    found: tuple[str, ...] | None = vocabulary.fragments.get(key)
    if found is None:
        distinct = dict.fromkeys(exit_tokens(vocabulary, style)[2])
        found = vocabulary.fragments[key] = tuple(rest.decode() for rest in distinct)
    return found
