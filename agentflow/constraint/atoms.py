"""Atoms: the blocks of the coarsest partition of the tokens of which every label of an automaton is a union.

Fragments bring partitions of their own; joining these is the only work that grows with the vocabulary, so joins
are kept in the vocabulary's store: most schemas use the same few fragments.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, cast

import numpy as np
import numpy.typing as npt

from agentflow.constraint.assemble import Label
from agentflow.constraint.automaton import BoolArray, IntArray
from agentflow.constraint.fragment import Fragment, Partition
from agentflow.constraint.kernels import expand_sets, split_blocks, split_many
from agentflow.constraint.vocabulary import Vocabulary

_MOST_PAIRS = 1 << 20  # of a block and a cell, for a table of them


class Atoms(NamedTuple):
    """The atoms, and which of them each label holds.

    Attributes:
        token_atom: ``(V,)`` int32.
        num_atoms: Their number ``K``.
        begin: ``(C + 1,)`` int64, where the atoms of each label begin.
        members: Atoms of all labels, one label after the other.
    """

    token_atom: IntArray
    num_atoms: int
    begin: npt.NDArray[np.int64]
    members: IntArray


class _Joint(NamedTuple):
    """A joint partition; it holds on to its parts, by whose identity it is stored."""

    blocks: IntArray
    first: IntArray
    parts: tuple[Partition, ...]


def make_atoms(labels: Sequence[Label | int], fragments: Sequence[Fragment], vocabulary: Vocabulary) -> Atoms:
    """Find the atoms; tokens named one by one are atoms of their own.

    One more label stands at the end, for the tail: the vocabulary's own tail token, or everything.
    """
    tokens = np.array([label if isinstance(label, int) else -1 for label in labels], np.int64)  # (C,)
    alone = np.flatnonzero(tokens >= 0)
    sets = {i: cast("Label", labels[i]) for i in np.flatnonzero(tokens < 0).tolist()}
    tail = [] if vocabulary.tail_id is None else [vocabulary.tail_id]
    named = [*tail, *_NO_TOKENS.union(*(label.without for label in sets.values()))]
    singles = np.unique(np.append(tokens[alone], np.array(named, np.int64)))
    used = sorted({label.fragment for label in sets.values()})
    joint = _join([p for name in used if (p := fragments[name].partition) is not None], vocabulary)
    num_blocks = len(joint.first)
    token_atom = joint.blocks.copy()
    token_atom[singles] = num_blocks + np.arange(len(singles))
    members = np.concatenate([joint.first, singles]).astype(np.int64)  # (K,) a token of each atom
    by_label = _expand_all(sets, fragments, members, token_atom)
    by_label[len(labels)] = token_atom[tail] if tail else np.arange(len(members), dtype=np.int32)
    size = np.ones(len(labels) + 1, np.int64)
    size[list(by_label)] = [len(atoms) for atoms in by_label.values()]
    begin = np.append(0, np.cumsum(size))
    found = np.empty(begin[-1], np.int32)
    found[begin[alone]] = token_atom[tokens[alone]]
    for i, atoms in by_label.items():
        found[begin[i] : begin[i + 1]] = atoms
    return Atoms(token_atom, len(members), begin, found)


_NO_TOKENS: frozenset[int] = frozenset()


def _expand_all(
    sets: dict[int, Label], fragments: Sequence[Fragment], members: npt.NDArray[np.int64], token_atom: IntArray
) -> dict[int, IntArray]:
    """Give the atoms of each label that is a set of tokens."""
    by_fragment: dict[int, list[int]] = {}
    for i, label in sets.items():
        by_fragment.setdefault(label.fragment, []).append(i)
    is_out = np.zeros(len(members), bool)
    by_label: dict[int, IntArray] = {}
    for name, own in by_fragment.items():
        begin, atoms = _expand(fragments[name], [sets[i].name for i in own], members)
        for i, low, high in zip(own, begin[:-1].tolist(), begin[1:].tolist(), strict=True):
            by_label[i] = atoms[low:high]
            if sets[i].without:
                by_label[i] = _without(by_label[i], token_atom[list(sets[i].without)], is_out)
    return by_label


def _expand(
    fragment: Fragment, chosen: list[int], members: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], IntArray]:
    """Write sets of a fragment's cells as atoms: where each begins, and the atoms."""
    if fragment.partition is None:
        raise AssertionError("labels name sets of cells only where there are cells")
    cells = fragment.partition.cells[members]
    by_cell = np.argsort(cells, kind="stable").astype(np.int32)
    cell_begin = np.searchsorted(cells[by_cell], np.arange(fragment.partition.num_cells + 1))
    begin, atoms = expand_sets(*fragment.flat_sets, np.array(chosen, np.int64), by_cell, cell_begin)
    return begin, atoms


def _without(atoms: IntArray, taken: IntArray, is_out: BoolArray) -> IntArray:
    """Take atoms out of a set; `is_out` is all false, ``(K,)``, before and after."""
    is_out[taken] = True
    left = atoms[~is_out[atoms]]
    is_out[taken] = False
    return left


def _join(partitions: Sequence[Partition], vocabulary: Vocabulary) -> _Joint:
    """Give the joint partition of the tokens, from the vocabulary's store or made new."""
    distinct = {id(p): p for p in partitions}
    parts = tuple(sorted(distinct.values(), key=lambda p: (-p.num_tokens, id(p))))
    joint = _Joint(np.zeros(len(vocabulary), np.int32), np.zeros(1, np.int32), ())
    for i, part in enumerate(parts):
        key = ("joint", *map(id, parts[: i + 1]))
        found = vocabulary.fragments.get(key)
        if found is None:
            found = vocabulary.fragments[key] = _Joint(*_split(joint, part), parts[: i + 1])
        joint = found
    return joint


def _split(joint: _Joint, part: Partition) -> tuple[IntArray, IntArray]:
    """Refine a joint partition by one more part: the block of each token, and the first token of each block."""
    num_blocks = len(joint.first)
    if num_blocks * part.num_cells <= _MOST_PAIRS:
        split: tuple[IntArray, IntArray] = split_blocks(joint.blocks, num_blocks, part.cells, part.num_cells)
    else:
        split = split_many(joint.blocks, part.cells, part.num_cells)
    return split
