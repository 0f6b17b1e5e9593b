"""Whether a constraint takes a written value, however it is cut into tokens; for tests and tools, not for decoding."""

from __future__ import annotations

from agentflow.constraint.compiled import Constraint
from agentflow.constraint.graph import Run


def takes(constraint: Constraint, run: Run) -> bool:
    """Say whether texts and control tokens, and then an end token, are a complete output in some tokens.

    Args:
        constraint: The constraint.
        run: What `agentflow.constraint.canonical.canonical_run` writes.
    """
    states = {constraint.start_state}
    for piece in run:
        if isinstance(piece, str):
            states = _read(constraint, states, piece.encode())
        else:
            control = constraint.vocabulary.control_ids.get(piece.text, -1)
            states = _step(constraint, states, control)
    ends = constraint.vocabulary.end_ids
    return any(constraint.is_accepting(state) for end in ends for state in _step(constraint, states, end))


def _step(constraint: Constraint, states: set[int], token: int) -> set[int]:
    return {constraint._step(state, token) for state in states} - {-1}  # noqa: SLF001 - one room


def _read(constraint: Constraint, states: set[int], data: bytes) -> set[int]:
    """Read bytes, cut in every way."""
    table, longest = constraint.vocabulary.ids_by_bytes
    layers = [states, *(set() for _ in data)]
    for at in range(len(data)):
        for end in range(at + 1, min(len(data), at + longest) + 1):
            token = table.get(data[at:end])
            if token is not None and layers[at]:
                layers[end] |= _step(constraint, layers[at], token)
    return layers[-1]
