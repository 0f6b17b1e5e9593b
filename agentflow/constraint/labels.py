"""The labels of a chain, each distinct set of atoms once, written so that few atoms have to be added up.

The labels of free text are nearly all tokens each, and differ in a few: what many labels share is summed once, as a
*part*, and a label is its parts and the atoms that are left:

    part 0 = a + b + c + d        label 0 = part 0 + e        label 1 = part 0 + f + g
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

_MIN_TO_SHARE = 2_000
_MAX_PARTS = 64
_MIN_GAIN = 64
_MIN_SIZE = 8
_PARTS_OF_ALL = 1_000
_SMALLEST_SHARE = 8
_WORD_BITS = 64


class Labels(NamedTuple):
    """Key: ``C`` distinct labels, ``K`` atoms, ``P`` parts.

    Attributes:
        number: The distinct label of each label.
        begin: ``(C + 1,)`` int64, where the atoms of each distinct label begin.
        atoms: The atoms of all labels, one label after the other.
        sum_begin: ``(P + C + 1,)`` int64, where the members of each part and then of each label begin.
        sum_members: Atoms, and from ``K`` parts, each of which stands before what it is a member of.
        num_parts: ``P``.
    """

    number: npt.NDArray[np.int64]
    begin: npt.NDArray[np.int64]
    atoms: npt.NDArray[np.int64]
    sum_begin: npt.NDArray[np.int64]
    sum_members: npt.NDArray[np.int64]
    num_parts: int


def make_labels(begin: npt.NDArray[np.int64], atoms: npt.NDArray[Any], num_atoms: int) -> Labels:
    """Find the distinct labels, and what they share.

    Args:
        begin: Where the atoms of each label begin, and where the last one ends.
        atoms: Atoms of all labels, one label after the other.
        num_atoms: Number of atoms.
    """
    size = np.diff(begin)
    salt = np.random.default_rng(0).integers(1 << 63, size=num_atoms + 1, dtype=np.uint64)
    sums = np.add.reduceat(np.append(salt[atoms], salt[-1]), begin[:-1])
    sums[size == 0] = 0
    first, number = np.unique(sums, return_index=True, return_inverse=True)[1:]
    own = np.concatenate([[0], np.cumsum(size[first])])
    kept = np.repeat(begin[:-1][first] - own[:-1], size[first]) + np.arange(own[-1])
    distinct = atoms[kept].astype(np.int64)
    if len(distinct) < _MIN_TO_SHARE:
        return Labels(number, own, distinct, own, distinct, 0)
    return Labels(number, own, distinct, *_share(own, distinct, num_atoms))


def _share(
    begin: npt.NDArray[np.int64], atoms: npt.NDArray[np.int64], num_atoms: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], int]:
    """Take out of the labels, again and again, the part that saves most beside the largest of them."""
    num_labels = len(begin) - 1
    has = np.zeros((num_labels, -(-num_atoms // _WORD_BITS) * _WORD_BITS), bool)
    has[np.repeat(np.arange(num_labels), np.diff(begin)), atoms] = True
    words = np.packbits(has, axis=1, bitorder="little").view(np.uint64)  # (C, words)
    large = np.flatnonzero(np.diff(begin) >= _MIN_SIZE)
    left = words[large]  # what is not in parts yet
    parts: list[npt.NDArray[np.uint64]] = []
    uses: list[npt.NDArray[np.int64]] = []
    is_open = np.ones(len(large), bool)
    least_gain = max(_MIN_GAIN, len(atoms) // _PARTS_OF_ALL)
    size = np.bitwise_count(left).sum(axis=1).astype(np.int64)
    while len(parts) < _MAX_PARTS and is_open.any():
        leader = int(np.argmax(np.where(is_open, size, -1)))  # each round closes it, or makes a part
        overlap = np.bitwise_count(left & left[leader]).sum(axis=1).astype(np.int64)
        nearest = np.flatnonzero(overlap >= max(_MIN_SIZE, overlap[leader] // _SMALLEST_SHARE))
        nearest = nearest[np.argsort(-overlap[nearest], kind="stable")]
        common = np.bitwise_and.accumulate(left[nearest], axis=0)
        rank = np.arange(len(nearest))
        gain = np.bitwise_count(common).sum(axis=1).astype(np.int64) * rank - rank
        best = int(np.argmax(gain)) if len(gain) else 0
        if not len(gain) or gain[best] < least_gain:
            is_open[leader] = False
            continue
        chosen = nearest[: best + 1]
        left[chosen] &= ~common[best]
        size[chosen] -= int(np.bitwise_count(common[best]).sum())
        parts.append(common[best])
        uses.append(large[chosen])
    words[large] = left
    return _write(words, parts, uses, num_atoms)


def _write(
    words: npt.NDArray[np.uint64],
    parts: list[npt.NDArray[np.uint64]],
    uses: list[npt.NDArray[np.int64]],
    num_atoms: int,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], int]:
    """Write bits as lists of members: those of the parts, and then those of the labels."""
    num_parts = len(parts)
    row, atom = np.nonzero(np.unpackbits(np.vstack([*parts, words]).view(np.uint8), axis=1, bitorder="little"))
    used = np.concatenate([*uses, np.zeros(0, np.int64)]) + num_parts
    part = np.repeat(np.arange(num_parts), [len(labels) for labels in uses]) + num_atoms
    source, member = np.append(row, used), np.append(atom, part)
    order = np.argsort(source, kind="stable")
    begin = np.searchsorted(source[order], np.arange(num_parts + len(words) + 1))
    return begin, member[order], num_parts
