"""The automaton of one string that is copied, made from its slot alone: what stands around it does not count.

state 0 --" Oslo"--> 1 --","--> ...        spans of the texts
          any state in which one may end --mark--> final
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from agentflow.constraint.automaton import IntArray
from agentflow.constraint.compiled import Constraint
from agentflow.constraint.fragment import Fragment
from agentflow.constraint.grounding import SpanSpec
from agentflow.constraint.index import slot_fragment
from agentflow.constraint.kernels import distances
from agentflow.constraint.limits import CompileLimits, metered
from agentflow.constraint.vocabulary import Vocabulary


def compile_spans(spec: SpanSpec, mark: int, vocabulary: Vocabulary) -> Constraint:
    """Compile the spans of a slot, each followed by a token that no span holds.

    Args:
        spec: The slot; its strings are spelt as they are (style ``"raw"``), so that no token leads out of it.
        mark: The token.
        vocabulary: The vocabulary.

    Raises:
        UnsupportedSchemaError: It is larger than the default limits.
    """
    with metered(CompileLimits()):
        fragment = slot_fragment((spec,), vocabulary)
    source, token, target = _edges(fragment, mark)
    tail = vocabulary.tail_id
    single = np.unique(token if tail is None else np.append(token, tail))  # (K - 1,)
    token_atom = np.zeros(len(vocabulary), np.int32)  # atom 0 are all others
    token_atom[single] = np.arange(1, len(single) + 1)
    num_atoms, final = len(single) + 1, fragment.num_states
    rest = np.arange(num_atoms, dtype=np.int32) if tail is None else token_atom[[tail]]  # what may follow the end
    nowhere = np.full(final + 1, -1, np.int32)
    return Constraint(
        vocabulary=vocabulary,
        row=np.searchsorted(source, np.arange(final + 2)),
        edge_label=np.append(token_atom[token], np.int32(num_atoms)),
        edge_target=target,
        label_begin=np.append(np.arange(num_atoms + 1), num_atoms + len(rest)),
        label_atoms=np.append(np.arange(num_atoms, dtype=np.int32), rest),
        token_atom=token_atom,
        num_atoms=num_atoms,
        distance=distances(final + 1, source, target, np.array([final], np.int32)),
        final=final,
        copy=nowhere,
        origin=nowhere,
        part=np.zeros(final + 1, np.int32),
    )


def _edges(fragment: Fragment, mark: int) -> tuple[IntArray, npt.NDArray[np.int64], IntArray]:
    """Give source, token and target of each edge, by state; the last is the loop of the final state, without token."""
    assert fragment.partition is None  # noqa: S101 - see `compile_spans`
    assert not fragment.exits  # noqa: S101 - see `compile_spans`
    final, ends = fragment.num_states, np.flatnonzero(fragment.labels)
    source = np.concatenate([fragment.token_source, ends])
    order = np.argsort(source, kind="stable")
    token = np.append(fragment.token, np.full(len(ends), mark))[order]
    target = np.append(fragment.token_target, np.full(len(ends), final))[order]
    return np.append(source[order], final).astype(np.int32), token, np.append(target, final).astype(np.int32)
