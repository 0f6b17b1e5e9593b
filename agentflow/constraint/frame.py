"""A call without what it copies: compiled once for a tool, and for a conversation only what stands in its holes.

    frame   <|tool_call> call:add_note {text: <|"|> (hole) <|"|> } <tool_call|> <|tool_response>
    span                                            Rent <|"|>                                      of this conversation

The marks around a string are tokens of their own, so no token runs over the border of a hole, and what may be written
in it does not depend on what stands around it. Numbers have no such marks: a call that may copy one has no frame where
the conversation holds numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np

from agentflow.constraint.automaton import BoolArray, IntArray
from agentflow.constraint.compiled import Constraint, compile_constraint
from agentflow.constraint.grammar import Grammar
from agentflow.constraint.graph import HOLE
from agentflow.constraint.grounded import Span
from agentflow.constraint.grounding import Grounding, Hole, OpenGrounding
from agentflow.constraint.spans import compile_spans
from agentflow.constraint.vocabulary import Vocabulary


class FilledFrame(NamedTuple):
    """A frame in a conversation.

    Attributes:
        frame: The frame.
        span: What may stand in its holes, up to the mark behind them; ``None`` where it has none.
    """

    frame: Frame
    span: Constraint | None


@dataclass(frozen=True)
class Frame:
    """The automaton of calls of one tool, with holes.

    Attributes:
        constraint: The automaton, in which a hole is one token with the mark behind it.
        behind: By state before a hole, the state behind the mark that ends it.
        is_hole: ``(S,)`` bool, the states of `behind`.
        hole: What may stand in the holes, the same in all; ``None`` where there are none.
        mark: The token that ends a hole.
        number_spans: How numbers are copied.
    """

    constraint: Constraint
    behind: dict[int, int]
    is_hole: BoolArray
    hole: Hole | None
    mark: int
    number_spans: tuple[Span, ...]

    @classmethod
    def of(cls, write: Callable[[OpenGrounding], Grammar], vocabulary: Vocabulary, *, is_default: bool) -> Frame | None:
        """Make the frame; ``None`` where holes differ, or stand beside something else.

        Args:
            write: Describes the calls, given what they are grounded in.
            vocabulary: The vocabulary.
            is_default: As of the groundings to come.

        Raises:
            SchemaError: The schema cannot be compiled.
        """
        if HOLE.text not in vocabulary.control_ids:
            return None
        grammar = write(OpenGrounding(is_default=is_default))
        holes = {hole.key: hole for hole in grammar.graph.holes}
        if len(holes) > 1:
            return None
        constraint = compile_constraint(grammar, vocabulary)
        behind, marks = _find_holes(constraint)
        if len(marks) > 1:
            return None
        is_hole = np.zeros(constraint.num_states, bool)
        is_hole[list(behind)] = True
        hole, mark = next(iter(holes.values()), None), next(iter(marks), -1)
        return cls(constraint, behind, is_hole, hole, mark, tuple(dict.fromkeys(grammar.graph.number_spans)))

    def fill(self, grounding: Grounding) -> FilledFrame | None:
        """Compile what a conversation puts into the holes; ``None`` where the frame does not do for it.

        Raises:
            SchemaError: It is larger than the limits.
        """
        if any(grounding.numbers(span) for span in self.number_spans):
            return None
        if self.hole is None:
            return FilledFrame(self, None)
        spec = grounding.fill(self.hole)
        if spec is None:
            return None
        span = compile_spans(spec, self.mark, self.constraint.vocabulary)
        return FilledFrame(self._spaced(span.min_tokens), span)

    def _spaced(self, num_tokens: int) -> Frame:
        """The frame with the distances that it has where holes take so many tokens, the mark included."""
        found = self._by_spacing.get(num_tokens)
        if found is None:
            distance = _measure(self.constraint, self.is_hole, num_tokens)
            found = replace(self, constraint=replace(self.constraint, distance=distance))
            self._by_spacing[num_tokens] = found
        return found

    @cached_property
    def _by_spacing(self) -> dict[int, Frame]:
        return {2: self}


def _measure(constraint: Constraint, is_hole: BoolArray, num_tokens: int) -> IntArray:
    """Give the fewest tokens to the end where holes take so many, ``(S,)`` int32 (Bellman and Ford)."""
    weight = np.where(is_hole[constraint.edge_source], num_tokens - 1, 1)  # (E,)
    distance = constraint.distance.astype(np.int64)  # nothing is nearer than with the least
    while True:
        further = np.full(len(distance), np.iinfo(np.int64).max)
        np.minimum.at(further, constraint.edge_source, weight + distance[constraint.edge_target])
        further[constraint.final] = 0
        if (further == distance).all():
            return distance.astype(np.int32)
        distance = further


def _find_holes(constraint: Constraint) -> tuple[dict[int, int], set[int]]:
    """Give the state behind each hole by that before it, and the tokens that end them; several if anything is odd."""
    marker = int(constraint.token_atom[constraint.vocabulary.control_ids[HOLE.text]])
    behind: dict[int, int] = {}
    marks: set[int] = set()
    for state in range(constraint.num_states):
        row = constraint.row_by_atom(state)
        if state == constraint.final or marker not in row:
            continue
        after = constraint.row_by_atom(row[marker])
        marks |= {int(constraint.only_token[atom]) for atom in after}
        if len(row) > 1:  # something else may stand here
            marks |= {-1, -2}
        behind[state] = next(iter(after.values()))
    return behind, marks
