"""A batch of constraints laid out for a device: padded tables, one for each distinct constraint.

Tokens are summed by *pieces*. Piece 0 is the atom with the most tokens, 99 % of a large vocabulary, which is summed
while the logits stream by. All other atoms are cut into pieces of at most `WIDTH` tokens, so that a kernel can hold
many at once; every label is a union of pieces. States are numbered by their edges, the widest first, so that states
that are summed together are about equally wide.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from agentflow.constraint.chain import Chain, chain_of
from agentflow.constraint.compiled import Constraint

WIDTH = 32
_MAX_CACHED = 16


class _Table(NamedTuple):
    """One constraint on the host; see `DeviceTables`."""

    token_piece: npt.NDArray[np.int32]
    order: npt.NDArray[np.int32]
    piece_begin: npt.NDArray[np.int64]
    piece_size: npt.NDArray[np.int64]
    piece_tokens: npt.NDArray[np.int64]
    member: npt.NDArray[np.float64]  # (C, P)
    row_out: npt.NDArray[np.int64]
    label_out: npt.NDArray[np.int64]
    target_out: npt.NDArray[np.int64]
    row_in: npt.NDArray[np.int64]
    label_in: npt.NDArray[np.int64]
    source_in: npt.NDArray[np.int64]
    row_label: npt.NDArray[np.int64]
    source_label: npt.NDArray[np.int64]
    target_label: npt.NDArray[np.int64]
    rank: npt.NDArray[np.int64]  # (S,) number of each chain state here


@dataclass(frozen=True, eq=False)
class DeviceTables:
    """Padded tables of the distinct constraints of a batch. Key: ``T`` tables; the rest as in `device_kernels`.

    Attributes:
        constraints: The distinct constraints.
        chains: Their chains.
        arrays: Tensors by the names of `_Table`, each ``(T, ...)``, int32, but `member` float64.
        ranks: Number of each chain state here, by table.
        widest: Most edges of a state.
    """

    constraints: tuple[Constraint, ...]
    chains: tuple[Chain, ...]
    arrays: dict[str, Tensor]
    ranks: tuple[npt.NDArray[np.int64], ...]
    widest: int

    @property
    def num_pieces(self) -> int:
        """Pieces of the largest table (``P``)."""
        return self.arrays["member"].shape[2]

    @property
    def num_labels(self) -> int:
        """Labels of the largest table (``C``)."""
        return self.arrays["member"].shape[1]

    @property
    def num_states(self) -> int:
        """States of the largest table (``S``)."""
        return self.arrays["row_out"].shape[1] - 1

    @property
    def num_edges(self) -> int:
        """Edges of the largest table (``E``)."""
        return self.arrays["label_out"].shape[1]


_CACHE: OrderedDict[tuple[Any, ...], DeviceTables] = OrderedDict()


def tables_of(constraints: Sequence[Constraint], device: torch.device) -> tuple[DeviceTables, list[int]]:
    """Give the tables of a batch, and which one each canvas has; tables of equal batches are made once."""
    distinct = list(dict.fromkeys(constraints))
    key = (str(device), *map(id, distinct))
    tables = _CACHE.get(key)
    if tables is None or tables.constraints != tuple(distinct):
        tables = _CACHE[key] = _stack(distinct, device)
        while len(_CACHE) > _MAX_CACHED:
            _CACHE.popitem(last=False)
    _CACHE.move_to_end(key)
    place = {constraint: i for i, constraint in enumerate(distinct)}
    return tables, [place[constraint] for constraint in constraints]


def _stack(constraints: Sequence[Constraint], device: torch.device) -> DeviceTables:
    tables = [_make_table(constraint, chain_of(constraint)) for constraint in constraints]
    arrays = {
        name: _pad([getattr(table, name) for table in tables], is_row=name.startswith("row_")).to(device)
        for name in _Table._fields
        if name != "rank"
    }
    chains = tuple(chain_of(constraint) for constraint in constraints)
    return DeviceTables(
        tuple(constraints), chains, arrays, tuple(table.rank for table in tables), max(c.widest for c in chains)
    )


def _pad(parts: list[npt.NDArray[Any]], *, is_row: bool) -> Tensor:
    """Stack arrays of different sizes; offsets go on with their last value, so that what is added has no edges."""
    shape = [max(part.shape[d] for part in parts) for d in range(parts[0].ndim)]
    kind = np.float64 if parts[0].dtype == np.float64 else np.int32
    stacked: npt.NDArray[Any] = np.zeros((len(parts), *shape), kind)
    for i, part in enumerate(parts):
        stacked[i][tuple(slice(n) for n in part.shape)] = part
        if is_row:
            stacked[i, len(part) :] = part[-1]
    return torch.from_numpy(stacked)


def _make_table(c: Constraint, chain: Chain) -> _Table:
    begin = chain.row.astype(np.int64)
    width = begin[1:] - begin[:-1]
    state_order = np.argsort(-width, kind="stable")
    rank = np.empty(len(width), np.int64)
    rank[state_order] = np.arange(len(width))
    source = rank[np.repeat(np.arange(len(width)), width)]
    label, target = chain.edge_label.astype(np.int64), rank[chain.edge_target.astype(np.int64)]
    out, into, by_label = (np.argsort(key, kind="stable") for key in (source, target, label))
    states, labels = np.arange(len(width) + 1), np.arange(len(chain.label_begin))
    return _Table(
        **_cut(c, chain)._asdict(),
        row_out=np.searchsorted(source[out], states),
        label_out=label[out],
        target_out=target[out],
        row_in=np.searchsorted(target[into], states),
        label_in=label[into],
        source_in=source[into],
        row_label=np.searchsorted(label[by_label], labels),
        source_label=source[by_label],
        target_label=target[by_label],
        rank=rank,
    )


class _Pieces(NamedTuple):
    token_piece: npt.NDArray[np.int32]
    order: npt.NDArray[np.int32]
    piece_begin: npt.NDArray[np.int64]
    piece_size: npt.NDArray[np.int64]
    piece_tokens: npt.NDArray[np.int64]
    member: npt.NDArray[np.float64]


def _cut(c: Constraint, chain: Chain) -> _Pieces:
    """Cut the atoms into pieces."""
    big = int(np.argmax(c.atom_size))
    order, begin = c.tokens_by_atom
    small = np.concatenate([order[: begin[big]], order[begin[big + 1] :]])  # all tokens but the big atom's
    sizes = c.atom_size.copy()
    sizes[big] = 0
    num_cuts = np.asarray((sizes + WIDTH - 1) // WIDTH, np.int64)  # (K,)
    atom = np.repeat(np.arange(c.num_atoms), num_cuts)  # of each piece but the first
    number = np.arange(len(atom)) - np.repeat(np.cumsum(num_cuts) - num_cuts, num_cuts)
    size = np.minimum(sizes[atom] - number * WIDTH, WIDTH)
    first = np.cumsum(size) - size
    piece_of = np.zeros(len(c.token_atom), np.int32)
    piece_of[small] = np.repeat(np.arange(1, len(atom) + 1), size)
    num_members = chain.label_begin[1:] - chain.label_begin[:-1]  # (C,)
    has_atom = np.zeros((len(num_members), c.num_atoms))  # (C, K)
    has_atom[np.repeat(np.arange(len(has_atom)), num_members), chain.label_atoms] = 1.0
    return _Pieces(
        token_piece=piece_of,
        order=small.astype(np.int32),
        piece_begin=np.append(0, first),
        piece_size=np.append(0, size),
        piece_tokens=np.append(c.atom_size[big], size),
        member=has_atom[:, np.append(big, atom)],
    )
