"""A turn with calls, compiled call by call: only what is called costs time.

The automaton of a turn holds the arguments of every tool, and what may be copied from the conversation changes with
every turn, so that it has to be compiled again. But decoding from left to right reads little of it:

    <|tool_call> call : add _note { text : <|"|> Rent <|"|> } <tool_call|> <|tool_response>
    `-- start   `-- names        `-- the arguments of add_note, and the end of the turn

The names of the tools do not depend on the conversation: they are followed in an automaton of the same tools that was
compiled for another one (`Scout`). Then come the arguments of the tool that was named: in a `Frame`, which is compiled
once for a tool, with the values of this conversation in its holes, or else compiled for this conversation. What is
decoded is what the automaton of the whole turn would give; a test holds that.

Posteriors need the whole automaton: for them there is `compile_constraint`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import numpy as np
import torch

from agentflow.constraint.automaton import BoolArray
from agentflow.constraint.compiled import Constraint, check_budget
from agentflow.constraint.frame import FilledFrame
from agentflow.constraint.grammar import CALL_START
from agentflow.constraint.greedy import Favourites, decode_greedily

_STRIDE = 1 << 32
_MAX_NAME_STATES = 10_000
_MARGIN = 64
_Named: TypeAlias = dict[int, tuple[str, tuple[int, ...]]]

Favour: TypeAlias = Callable[[int, Sequence[int]], Favourites]
"""Gives favourites of positions; see `StagedConstraint.decode`."""


@dataclass(frozen=True)
class Scout:
    """The names of tools in an automaton of turns that call them.

    Attributes:
        constraint: The automaton up to the end of a name, of any conversation.
        call: The token that begins a call.
        first: The state behind it.
        named: By state behind a whole name, the name, and the tokens from `call` to there.
        stops: ``(S,)`` bool, the states of `named`.
        num_ample_tokens: Budget with which any call fits, so that the choice of a tool does not depend on it: twice the
            longest way to an end, and some more.
    """

    constraint: Constraint
    call: int
    first: int
    named: _Named
    stops: BoolArray
    num_ample_tokens: int

    @classmethod
    def of(cls, constraint: Constraint, names: Sequence[str]) -> Scout | None:
        """Find the names; ``None`` if they cannot be told from what stands behind them.

        Args:
            constraint: The automaton of turns that call the tools.
            names: Names of the tools.
        """
        call = constraint.vocabulary.control_ids[CALL_START.text]
        whole = {f"call:{name}".encode(): name for name in names}
        if any(a != b and a.startswith(b) for a in whole for b in whole):
            return None
        first = constraint.advance(constraint.start_state, [call])
        named = _find_names(constraint, whole, first, call)
        if named is None or {name for name, _ in named.values()} != set(names):
            return None
        num_ample_tokens = 2 * int(constraint.distance.max()) + _MARGIN
        part, number = _cut(constraint, first, frozenset(named))
        named = {number[state]: name for state, name in named.items()}
        return cls(part, call, number[first], named, _mark(part, named), num_ample_tokens)


def _mark(constraint: Constraint, states: Iterable[int]) -> BoolArray:
    """Say of each state of an automaton whether it is one of some, ``(S,)`` bool."""
    is_one = np.zeros(constraint.num_states, bool)
    is_one[list(states)] = True
    return is_one


def _find_names(constraint: Constraint, whole: dict[bytes, str], first: int, call: int) -> _Named | None:
    """Follow all tokens up to the end of a name; ``None`` if one spells more than names."""
    order, begin = constraint.tokens_by_atom
    named: _Named = {}
    texts = {first: b""}
    todo: list[tuple[int, tuple[int, ...]]] = [(first, (call,))]
    while todo:
        state, path = todo.pop()
        for atom, target in constraint.row_by_atom(state).items():
            for token in order[begin[atom] : begin[atom + 1]].tolist():
                content = constraint.vocabulary.token_bytes[token]
                text = texts[state] + (content or b"")
                if content is None or not any(name.startswith(text) for name in whole):
                    return None
                if text in whole:
                    named[target] = whole[text], (*path, token)
                elif texts.setdefault(target, text) != text or len(texts) > _MAX_NAME_STATES:
                    return None
                else:
                    todo.append((target, (*path, token)))
    return named


def _cut(constraint: Constraint, first: int, last: frozenset[int]) -> tuple[Constraint, dict[int, int]]:
    """Keep what is between two places, and the way to the first; give new numbers of the states, too."""
    edges = [e for e in _edges_of(constraint, constraint.start_state) if constraint.edge_target[e] == first]
    number = {constraint.start_state: 0, first: 1}
    rows = [edges]
    states = [first]
    for state in states:  # more are found on the way
        rows.append([] if state in last else _edges_of(constraint, state))
        for target in constraint.edge_target[rows[-1]].tolist():
            if target not in number:
                number[target] = len(number)
                states.append(target)
    kept = np.concatenate([np.array(row, np.int64) for row in rows])
    old = list(number)
    target = np.array([number[state] for state in constraint.edge_target[kept].tolist()], np.int32)
    return replace(
        constraint, row=np.cumsum([0, *map(len, rows)]), edge_label=constraint.edge_label[kept], edge_target=target,
        distance=constraint.distance[old], final=-1, copy=constraint.copy[old], origin=constraint.origin[old],
        part=constraint.part[old],
    ), number  # fmt: skip


def _edges_of(constraint: Constraint, state: int) -> list[int]:
    return list(range(int(constraint.row[state]), int(constraint.row[state + 1])))


@dataclass(frozen=True)
class _Stage:
    """A piece of the turn.

    Attributes:
        constraint: Its automaton.
        stops: ``(S,)`` bool, states in which another piece takes over; ``None``: none.
        is_call: Whether it is in the arguments of a call that is compiled by itself.
        leads: By state in which another piece takes over, the state with which that begins, where it is known: before
            and behind holes.
        num_tokens_behind: Fewest tokens behind it to the end, where its distances do not count them.
    """

    constraint: Constraint
    stops: BoolArray | None = None
    is_call: bool = False
    leads: dict[int, int] = field(default_factory=dict)
    num_tokens_behind: int = 0


class StagedConstraint:
    """The automaton of a turn for decoding from left to right; of one request, and of one thread.

    Args:
        scout: The names of the tools.
        compile_call: Compiles turns of one or several calls of the tool of that name, or fills the frame of them.
        compile_answer: Compiles turns that call nothing; ``None`` where something must be called.
        compile_whole: Compiles the whole turn, where the pieces do not do.
    """

    def __init__(
        self,
        scout: Scout,
        *,
        compile_call: Callable[[str], Constraint | FilledFrame],
        compile_answer: Callable[[], Constraint] | None,
        compile_whole: Callable[[], Constraint],
    ) -> None:
        self._scout = scout
        self._compile_call = compile_call
        self._compile_answer = compile_answer
        self._compile_whole = compile_whole
        self._stages = [_Stage(scout.constraint, scout.stops)]
        self._numbers: dict[tuple[str, ...], int] = {}  # of stages
        self.compile_time_s = 0.0
        """Processor seconds of compiling stages so far."""

    @property
    def start_state(self) -> int:
        """State before the first token."""
        return self._scout.constraint.start_state

    def is_accepting(self, state: int) -> bool:
        """Say whether the output is complete: its end token was read."""
        number, inner = divmod(state, _STRIDE)
        stage = self._stages[number]
        return number > 0 and inner not in stage.leads and stage.constraint.is_accepting(inner)

    def has_one_token(self, state: int) -> bool:
        """Say whether one token alone may come next."""
        stage, inner = divmod(self._settle(state), _STRIDE)
        if stage == 0 and inner == self.start_state:
            return self._compile_answer is None
        return self._stages[stage].constraint.has_one_token(inner)

    def advance(self, state: int, ids: Iterable[int]) -> int:
        """Read tokens; see `Constraint.advance`."""
        for token in ids:
            if state == self.start_state and token != self._scout.call and self._compile_answer is not None:
                state = self._answer_stage() * _STRIDE  # where every automaton begins
            state = self._settle(state)
            stage, inner = divmod(state, _STRIDE)
            state += self._stages[stage].constraint.advance(inner, [token]) - inner
        return state

    def decode(
        self,
        logits: torch.Tensor,
        state: int,
        *,
        num_tokens_left: int,
        reference: Sequence[int] | None = None,
        favour: Favour | None = None,
    ) -> tuple[list[int], int]:
        """See `decode_greedily`, of which this is the whole.

        Args:
            logits: As there.
            state: As there.
            num_tokens_left: As there.
            reference: As there.
            favour: Gives the favourites of the positions from some on, where the arguments of a call begin or go on,
                given that position and the tokens before it.

        Raises:
            SchemaError: The arguments of the tool that was chosen cannot be compiled, or do not fit the budget.
        """
        num_positions = min(len(logits) if reference is None else len(reference), num_tokens_left)
        tokens: list[int] = []
        favourites: tuple[int, Favourites] | None = None  # of the call that is being written, from a position on
        while len(tokens) < num_positions and not self.is_accepting(state):
            at, num_left = len(tokens), num_tokens_left - len(tokens)
            wanted = None if reference is None else reference[at:]
            if state == self.start_state:
                found, state = self._begin(logits[at], num_left)
            else:
                state = self._settle(state, num_left)
                if favour is None or not self._stages[state // _STRIDE].is_call:
                    favourites = None
                elif favourites is None:
                    favourites = at, favour(at, tokens)
                liked = None if favourites is None else favourites[1][at - favourites[0] :]
                found, state = self._decode_stage(logits[at:], state, num_left, wanted, liked)
            tokens += found
            if not found or (wanted is not None and found != list(wanted[: len(found)])):
                break
        return tokens, state

    def _begin(self, scores: torch.Tensor, num_left: int) -> tuple[list[int], int]:
        """Take the best first token, of an answer or of a call."""
        call = self._scout.call
        if self._compile_answer is None or int(scores.numpy().argmax()) == call:
            return [call], self._scout.first
        number = self._answer_stage()
        answer = self._stages[number].constraint
        found, inner = decode_greedily(scores[None], answer, answer.start_state, num_tokens_left=num_left)
        if found and (float(scores[found[0]]), -found[0]) > (float(scores[call]), -call):
            return found, number * _STRIDE + inner
        return [call], self._scout.first

    def _decode_stage(
        self,
        logits: torch.Tensor,
        state: int,
        num_left: int,
        wanted: Sequence[int] | None,
        favourites: Favourites | None,
    ) -> tuple[list[int], int]:
        """Decode until the stage of a state ends."""
        number, inner = divmod(state, _STRIDE)
        stage = self._stages[number]
        found, end = decode_greedily(
            logits,
            stage.constraint,
            inner,
            num_tokens_left=num_left - stage.num_tokens_behind,
            reference=wanted,
            stops=stage.stops,
            favourites=favourites,
        )
        return found, number * _STRIDE + end

    # ------------------------------------------------------------ stages

    def _settle(self, state: int, num_left: int | None = None) -> int:
        """Go over to the next stage where one ends.

        That is behind a name, at and behind a hole, and behind the token that begins another call.
        """
        number, inner = divmod(state, _STRIDE)
        stage = self._stages[number]
        if inner in stage.leads:
            return self._settle(stage.leads[inner], num_left)
        if stage.stops is None or not stage.stops[inner]:
            return state
        if number:
            is_ample = num_left is None or num_left >= self._scout.num_ample_tokens
            return self._scout.first if is_ample else self._enter(None, (self._scout.call,), num_left)
        name, path = self._scout.named[inner]
        return self._enter(name, path, num_left)

    def _enter(self, name: str | None, path: tuple[int, ...], num_left: int | None) -> int:
        """Give the state behind the beginning of a call of a tool, or of any."""
        number = self._whole_stage() if name is None else self._call_stage(name)
        constraint = self._stages[number].constraint
        inner = constraint.advance(constraint.start_state, path)
        if num_left is not None:
            check_budget(constraint, inner, num_left)
        return number * _STRIDE + inner

    def _answer_stage(self) -> int:
        assert self._compile_answer is not None  # noqa: S101 - the callers' case
        return self._number(("answer",), self._compile_answer)

    def _whole_stage(self) -> int:
        return self._number(("whole",), self._compile_whole)

    def _call_stage(self, name: str) -> int:
        return self._number(("call", name), lambda: self._compile_call(name))

    def _number(self, key: tuple[str, ...], compile_stage: Callable[[], Constraint | FilledFrame]) -> int:
        """Give the number of a stage, which is compiled when it is first asked for."""
        number = self._numbers.get(key)
        if number is None:
            started_s = time.thread_time()
            compiled = compile_stage()
            self.compile_time_s += time.thread_time() - started_s
            number = self._numbers[key] = len(self._stages)
            if key[0] == "call":
                self._add_call(compiled)
            else:
                assert isinstance(compiled, Constraint)  # noqa: S101 - only calls have frames
                self._stages.append(_Stage(compiled))
        return number

    def _add_call(self, compiled: Constraint | FilledFrame) -> None:
        """Add the stage of a call."""
        if isinstance(compiled, FilledFrame):
            self._add_frame(compiled)
            return
        self._stages.append(_Stage(compiled, _mark(compiled, [self._behind_call(compiled)]), is_call=True))

    def _add_frame(self, filled: FilledFrame) -> None:
        """Add the stage of a call, and one for each of its holes."""
        constraint, number = filled.constraint, len(self._stages)
        stops = _mark(constraint, [*filled.frame.places, self._behind_call(constraint)])
        stage = _Stage(constraint, stops, is_call=True)
        self._stages.append(stage)
        for state, filling in filled.fillings():
            stage.leads[state] = len(self._stages) * _STRIDE  # where every automaton begins
            leads = {end: number * _STRIDE + behind for end, behind in filling.leads.items()}
            self._stages.append(
                _Stage(
                    filling.constraint,
                    _mark(filling.constraint, filling.leads),
                    is_call=True,
                    leads=leads,
                    num_tokens_behind=filling.num_tokens_behind,
                )
            )

    def _behind_call(self, constraint: Constraint) -> int:
        """The state behind the token that begins a call."""
        return constraint.advance(constraint.start_state, [self._scout.call])
