"""A call without what it copies: compiled once for a tool, and for a conversation only what stands in its holes.

    frame   <|tool_call> call:pay {text: <|"|> (hole 0) <|"|> ,amount: (hole 1) } <tool_call|> <|tool_response>
    hole 0                                     Rent <|"|>                            strings of this conversation
    hole 1                                                             12 }          its numbers, and what follows

The marks around a string are tokens of their own, so no token runs over the border of a hole, and what may be written
in it does not depend on what stands around it. Numbers have no such marks. Where the vocabulary has no token that runs
over their border either, they end with the first token behind the hole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from agentflow.constraint.automaton import IntArray
from agentflow.constraint.compiled import Constraint, compile_constraint
from agentflow.constraint.copied import Words, compile_spans
from agentflow.constraint.grammar import Grammar
from agentflow.constraint.graph import HOLE
from agentflow.constraint.grounding import Grounding, Hole, NumberHole, OpenGrounding
from agentflow.constraint.vocabulary import Vocabulary

_MAX_SPACINGS = 16


class Place(NamedTuple):
    """A hole in a frame.

    Attributes:
        kind: Its kind.
        inside: The states between that before it and that behind it.
        following: The states behind tokens that may stand behind it, by token: the closing mark of a string, or what
            follows a number; -1 for sets of tokens.
        instead: The states behind tokens that may stand there instead, by token; only of numbers.
    """

    kind: int
    inside: tuple[int, ...]
    following: dict[int, int]
    instead: dict[int, int]


class Filling(NamedTuple):
    """What stands in a hole, and the way back.

    Attributes:
        constraint: Its automaton.
        leads: By state in which it ends, the state of the frame with which to go on.
        num_tokens_behind: Fewest tokens from there to the end of the turn, where the distances do not count them.
    """

    constraint: Constraint
    leads: dict[int, int]
    num_tokens_behind: int


@dataclass(frozen=True)
class Frame:
    """The automaton of calls of one tool, with holes.

    Attributes:
        constraint: The automaton.
        places: The holes, by the state before them.
        holes: What may stand in a hole, by its kind.
        has_numbers: Whether it is for conversations that hold numbers, or for others.
    """

    constraint: Constraint
    places: dict[int, Place]
    holes: tuple[Hole | NumberHole, ...]
    has_numbers: bool
    _distances: dict[tuple[int, ...], Constraint] = field(default_factory=dict)  # automata by what holes take

    @classmethod
    def of(
        cls,
        write: Callable[[OpenGrounding], Grammar],
        vocabulary: Vocabulary,
        *,
        is_default: bool,
        has_numbers: bool,
    ) -> Frame | None:
        """Make the frame; ``None`` where something else may stand where a hole is.

        Args:
            write: Describes the calls, given what they are grounded in.
            vocabulary: The vocabulary.
            is_default: As of the groundings to come.
            has_numbers: Whether these hold numbers.

        Raises:
            SchemaError: The schema cannot be compiled.
        """
        if HOLE.text not in vocabulary.control_ids:
            return None
        grammar = write(OpenGrounding(is_default=is_default, holds_numbers=has_numbers))
        constraint = compile_constraint(grammar, vocabulary)
        places = _find_places(constraint, grammar.graph.holes)
        if places is None or len({place.kind for place in places.values()}) < len(grammar.graph.holes):
            return None
        return cls(constraint, places, tuple(grammar.graph.holes), has_numbers)

    def fill(self, grounding: Grounding) -> FilledFrame | None:
        """Compile what a conversation puts into the holes; ``None`` where the frame does not do for it.

        Raises:
            SchemaError: It is larger than the limits.
        """
        if grounding.has_numbers != self.has_numbers:
            return None
        contents: list[Constraint | Words] = []
        for kind, hole in enumerate(self.holes):
            content = self._fill(hole, kind, grounding)
            if content is None:
                return None
            contents.append(content)
        return FilledFrame(self, self._spaced(tuple(content.min_tokens for content in contents)), tuple(contents))

    def _fill(self, hole: Hole | NumberHole, kind: int, grounding: Grounding) -> Constraint | Words | None:
        vocabulary = self.constraint.vocabulary
        if isinstance(hole, Hole):
            spec = grounding.fill(hole)
            (mark,) = self._following(kind)  # a token of its own
            return None if spec is None else compile_spans(spec, mark, vocabulary)
        texts = grounding.number_texts(hole.span, hole.members)
        if not texts or isinstance(texts, NumberHole) or any(text[0] in vocabulary.number_borders for text in texts):
            return None
        words = Words.of(map(vocabulary.encode, texts))
        return words if words.tokens.isdisjoint(self._following(kind)) else None

    def _following(self, kind: int) -> set[int]:
        """The tokens that may stand behind holes of a kind, or instead of one; -1 for sets of tokens."""
        places = [place for place in self.places.values() if place.kind == kind]
        return {token for place in places for row in (place.following, place.instead) for token in row}

    def _spaced(self, spacing: tuple[int, ...]) -> Constraint:
        """The automaton with the distances that it has where holes of each kind take so many tokens."""
        found = self._distances.get(spacing)
        if found is None:
            if len(self._distances) >= _MAX_SPACINGS:
                self._distances.clear()
            found = self._distances[spacing] = replace(self.constraint, distance=self._measure(spacing))
        return found

    def _measure(self, spacing: tuple[int, ...]) -> IntArray:
        """Give the fewest tokens to the end where holes take so many, ``(S,)`` int32 (Bellman and Ford)."""
        constraint, final = self.constraint, self.constraint.final
        edges = np.flatnonzero(constraint.edge_source != final)
        source, target = constraint.edge_source[edges], constraint.edge_target[edges]
        weight = np.ones(len(edges), np.int64)
        is_inside = np.zeros(constraint.num_states, bool)
        for state, place in self.places.items():
            is_string = isinstance(self.holes[place.kind], Hole)
            is_begin = (source == state) & (target == place.inside[0])
            weight[is_begin] = spacing[place.kind] - is_string  # whose mark counts apart
            is_inside[list(place.inside)] = True
        weight[is_inside[source]] = 0
        distance = np.zeros(constraint.num_states, np.int64)
        while True:
            further = np.full(len(distance), np.iinfo(np.int32).max, np.int64)
            further[final] = 0
            np.minimum.at(further, source, weight + distance[target])
            if (further == distance).all():
                return distance.astype(np.int32)
            distance = further


class FilledFrame(NamedTuple):
    """A frame in a conversation.

    Attributes:
        frame: The frame.
        constraint: Its automaton, with the distances that it has in this conversation.
        contents: What may stand in holes of each kind: an automaton up to the mark that ends a string, or numbers.
    """

    frame: Frame
    constraint: Constraint
    contents: tuple[Constraint | Words, ...]

    def fillings(self) -> Iterator[tuple[int, Filling]]:
        """Give each hole: the state before it, and what stands in it."""
        for state, place in self.frame.places.items():
            content = self.contents[place.kind]
            if isinstance(content, Constraint):
                (behind,) = place.following.values()
                yield state, Filling(content, {content.final: behind}, self.constraint.tokens_to_end(behind))
            else:
                targets = {*place.following.values(), *place.instead.values()}
                distances = {target: self.constraint.tokens_to_end(target) for target in targets}
                vocabulary = self.constraint.vocabulary
                yield state, Filling(*content.compile(place.following, place.instead, distances, vocabulary), 0)


def _find_places(constraint: Constraint, holes: Sequence[Hole | NumberHole]) -> dict[int, Place] | None:
    """Find the holes, by the state before each; ``None`` if something may stand there that cannot be told from them."""
    marker = constraint.vocabulary.control_ids[HOLE.text]
    places: dict[int, Place] = {}
    for state in range(constraint.num_states):
        row = _by_token(constraint, state)
        if state == constraint.final or marker not in row:
            continue
        found = list(_read_kinds(constraint, row.pop(marker), marker))
        if not found:  # it is the marker behind the kind
            continue
        kind, inside, behind = found[0]
        if len(found) > 1 or (row and isinstance(holes[kind], Hole)) or -1 in row:
            return None
        places[state] = Place(kind, inside, _by_token(constraint, behind), row)
    return places


def _read_kinds(
    constraint: Constraint, state: int, marker: int, digits: str = "", before: tuple[int, ...] = ()
) -> Iterator[tuple[int, tuple[int, ...], int]]:
    """Read the kinds that may stand between two markers: each with the states before and the one behind."""
    path = (*before, state)
    for token, target in _by_token(constraint, state).items():
        text = constraint.vocabulary.token_bytes[token] if token >= 0 else None
        if token == marker and digits:
            yield int(digits), path, target
        elif text is not None and text.isdigit():
            yield from _read_kinds(constraint, target, marker, digits + text.decode(), path)


def _by_token(constraint: Constraint, state: int) -> dict[int, int]:
    """Give the state behind each token that may come next; -1 stands for sets of tokens."""
    return {int(constraint.only_token[atom]): target for atom, target in constraint.row_by_atom(state).items()}
