"""Fixtures of the constraint layer's tests."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from constraint_helpers import make_vocabulary

from agentflow.constraint import Vocabulary


@pytest.fixture(scope="session")
def vocabulary() -> Vocabulary:
    """Bytes, words and control tokens."""
    return make_vocabulary()
