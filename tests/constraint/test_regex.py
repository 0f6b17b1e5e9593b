"""Patterns: which strings they describe, under the readings of ECMA-262 and of Python."""

from __future__ import annotations

import random
import re

import pytest

from agentflow.constraint.regex import pattern_dfa

ALPHABET = "ax- 1é—٣\u200b\x1c\x85\ufeff_字\n"
PATTERNS = (
    r"\bx\b", r"\Bx", r"x\B", r"^\W+$", r"^[^\W]+$", r"^\D*$", r"^\S+$", r"\s", r"[^\s]", r"^(?!\w)", r"^(?!.*\W)",
    r"\d", r"^[\D]+$", r"^a$", "(?:a|x-)*1", r"^(?!.*\bx)a",
)  # fmt: skip


@pytest.mark.parametrize("pattern", PATTERNS)
def test_narrow_and_wide_readings_enclose_pythons(pattern):
    """What is described narrowly matches for Python in Unicode; what is described widely covers both of its modes."""
    narrow, wide = pattern_dfa(pattern), pattern_dfa(pattern, is_wide=True)
    generator = random.Random(0)  # noqa: S311 - not for secrets
    for _ in range(600):
        text = "".join(generator.choices(ALPHABET, k=generator.randrange(4)))
        is_match = bool(re.search(pattern, text))
        assert not narrow.accepts(text) or is_match, repr(text)
        assert wide.accepts(text) or not (is_match or re.search(pattern, text, re.ASCII)), repr(text)


@pytest.mark.parametrize("pattern", [r"^[a-c]+\d{2}$", r"\bab\b", r"^(?:x|1-)*$", r"a(?=x)", r"^\w+$"])
def test_plain_ascii_strings_are_read_exactly(pattern):
    """Where the readings agree nothing is lost: on ASCII text the automaton and `re` say the same."""
    dfa = pattern_dfa(pattern)
    generator = random.Random(1)  # noqa: S311 - not for secrets
    for _ in range(600):
        text = "".join(generator.choices("abcx1- _", k=generator.randrange(6)))
        assert dfa.accepts(text) == bool(re.search(pattern, text)), repr(text)
