"""The automata of grounded slots, against a small reference that writes every span out."""

from __future__ import annotations

import random
import re
from itertools import pairwise

import pytest

from agentflow.constraint.automaton import from_strings, intersect, length_between
from agentflow.constraint.fragment import Exit, SlotSpec
from agentflow.constraint.grounding import SpanSpec
from agentflow.constraint.index import slot_fragment
from agentflow.constraint.regex import pattern_dfa
from agentflow.constraint.span_fragment import span_fragment
from agentflow.constraint.span_text import SpanText
from agentflow.constraint.surface_bytes import escape

STOPS = re.compile(r"\w+|[^\w\s]")
ALPHABET = ["ab", *'abßé日😀  \t.,"\\()-_1\x01', "  "]


def borders(line: str, *, is_whole: bool) -> tuple[list[int], list[int]]:
    """Say where spans begin and end: at words, and at marks next to white space, quotes and brackets."""
    if not is_whole:
        places = [i for i, char in enumerate(line) if not char.isspace()]
        return places, [i + 1 for i in places]
    starts, ends = [], []
    for match in STOPS.finditer(line):
        before = line[match.start() - 1] if match.start() else " "
        after = line[match.end()] if match.end() < len(line) else " "
        is_word = match[0][0].isalnum() or match[0][0] == "_"
        if is_word or before.isspace() or before in "\"'([{<":
            starts.append(match.start())
        if is_word or ((after.isspace() or after in "\"')]}>,;:.!?") and match[0] not in ",;:"):
            ends.append(match.end())
    return starts, ends


def spans(lines, *, is_whole: bool) -> list[tuple[str, int, int]]:
    """Write every span out: its line and where it lies in it."""
    found = []
    for line in lines:
        starts, ends = borders(line, is_whole=is_whole)
        found += [(line, start, end) for start in starts for end in ends if start < end]
    return found


def canonical(line: str, start: int, end: int, style, vocabulary) -> tuple[int, ...]:
    """Spell a span piece by piece: to the end of its first chunk, then chunk by chunk with the white space before."""
    cuts = [m.end() for m in re.finditer(r"\s*\S+", line) if start < m.end() < end]
    pieces = pairwise([start, *cuts, end])
    return tuple(token for a, b in pieces for token in vocabulary.encode(escape(line[a:b], style)))


def sequences(fragment) -> set[tuple[int, ...]]:
    """Write out what a fragment without cycles accepts."""
    found, todo = set(), [(0, ())]
    while todo:
        state, read = todo.pop()
        if fragment.labels[state]:
            found.add(read)
        todo += [(target, (*read, token)) for token, target in fragment.row(state).tokens.items()]
    return found


def random_lines(seed: int) -> tuple[str, ...]:
    """A few short lines of awkward characters, some of them alike."""
    rng = random.Random(seed)  # noqa: S311 - test data
    lines = ["".join(rng.choices(ALPHABET, k=rng.randint(1, 14))).strip() for _ in range(rng.randint(1, 4))]
    return tuple(dict.fromkeys(line for line in lines if line))


@pytest.mark.slow
@pytest.mark.parametrize("is_whole", [True, False], ids=["whole", "any"])
@pytest.mark.parametrize("style", ["json", "raw"])
def test_the_automaton_takes_each_span_in_its_own_tokens(style, is_whole, vocabulary):
    """Every span in its canonical tokens, word by word, and nothing else."""
    for seed in range(40):
        lines = random_lines(seed)
        wanted = {canonical(*span, style, vocabulary) for span in spans(lines, is_whole=is_whole)}
        spec = SpanSpec(lines, style, is_whole)
        assert spec.text.has_spans is bool(wanted), lines
        if wanted:
            assert sequences(span_fragment(spec, vocabulary)) == wanted, lines


def test_borders_lie_where_the_reference_has_them():
    """Also for characters outside the tables of ASCII."""
    for seed in range(200):
        for line in random_lines(seed):
            for is_whole in (True, False):
                text = SpanText((line,), is_whole=is_whole)
                assert (text.starts.tolist(), text.ends.tolist()) == borders(line, is_whole=is_whole), line


def test_equal_ends_are_one_state(vocabulary):
    """A line that ends like another one shares its states with it: the automaton is as small as it can be."""
    alone = span_fragment(SpanSpec(("go to the station",), "json"), vocabulary)
    both = span_fragment(SpanSpec(("go to the station", "come to the station"), "json"), vocabulary)
    assert both.num_states <= alone.num_states + len(vocabulary.encode("come")) + 1


def readings(fragment, vocabulary) -> set[tuple[object, ...]]:
    """Write out what a fragment accepts, and the tokens with which it is left, with what these spell behind it."""
    found, todo = set(), [(0, ())]
    while todo:
        state, read = todo.pop()
        if fragment.labels[state]:
            found.add(read)
        row = fragment.row(state)
        for token in range(len(vocabulary)):
            target = row.step(token, fragment.cell_of(token))
            if target >= 0:
                todo.append((target, (*read, token)))
            elif target <= -2:
                found.add((*read, token, fragment.exits[-2 - target]))
    return found


def some_set(seed: int):
    """A length, a pattern, or both."""
    rng = random.Random(seed)  # noqa: S311 - test data
    low = rng.randint(1, 3)
    lengths = length_between(low, rng.choice([None, low, low + 2]))
    return (
        lengths if seed % 2 else intersect(lengths, pattern_dfa(rng.choice(["a", "^[a-bé日]*$", r"^\w+\W\w+$", '"'])))
    )


@pytest.mark.slow
@pytest.mark.parametrize("is_whole", [True, False], ids=["whole", "any"])
@pytest.mark.parametrize("style", ["json", "raw"])
def test_spans_in_a_set_are_read_like_other_strings(style, is_whole, vocabulary):
    """The spans that are in a set, in every cut into tokens and with every token that may end them."""
    num_sets = 0
    for seed in range(30):
        lines, allowed = random_lines(seed), some_set(seed)
        found = {line[a:b] for line, a, b in spans(lines, is_whole=is_whole) if allowed.accepts(line[a:b])}
        spec = SpanSpec(lines, style, is_whole, allowed)
        assert spec.has_spans is bool(found), lines
        if found:
            others = readings(slot_fragment((SlotSpec(from_strings(found), 1, None, style),), vocabulary), vocabulary)
            if style == "raw":  # such strings end with a control token: no token can end them and go on
                others = {read for read in others if not isinstance(read[-1], Exit)}
            assert readings(span_fragment(spec, vocabulary), vocabulary) == others, lines
            num_sets += 1
    assert num_sets > 15
