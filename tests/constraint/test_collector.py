"""The garbage collector is paused for a block and comes back, whatever happens in it."""

from __future__ import annotations

import gc
from contextlib import suppress

import pytest

from agentflow.constraint import json_grammar
from agentflow.constraint.collector import collector_paused


def test_overlapping_blocks() -> None:
    """The collector rests until the last block is done."""
    with collector_paused():
        with collector_paused():
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()


def test_after_an_error() -> None:
    """An error in the block brings the collector back."""
    with suppress(ValueError), collector_paused():
        raise ValueError
    assert gc.isenabled()


def test_left_off() -> None:
    """A collector that the caller switched off stays off."""
    gc.disable()
    try:
        with collector_paused():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_schema_that_is_refused() -> None:
    """Compiling a schema that is refused brings the collector back."""
    with pytest.raises(Exception, match="back reference"):
        json_grammar({"type": "string", "pattern": r"(a)\1"})
    assert gc.isenabled()
