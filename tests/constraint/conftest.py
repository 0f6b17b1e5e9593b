"""Fixtures of the constraint layer's tests."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from constraint_helpers import make_vocabulary  # noqa: E402 - found through the line above

from agentflow.constraint import Vocabulary  # noqa: E402


@pytest.fixture(scope="session")
def vocabulary() -> Vocabulary:
    """Bytes, words and control tokens."""
    return make_vocabulary()
