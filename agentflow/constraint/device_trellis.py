"""The posterior on a CUDA device: the same sums as `agentflow.constraint.trellis`, and the host never waits.

    logits -> read_rows, read_pieces -> label sums -> pass_messages -> weigh_labels -> entropies, marginals
                                                                   `-> draw_labels -> one joint draw

Shapes: ``B`` canvases, ``L`` positions, ``V`` tokens, ``P`` pieces, ``C`` labels, ``S`` states. The kernels run in
Triton's interpreter as well, which is how they are tested without a device.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from agentflow.constraint import device_kernels as kernels
from agentflow.constraint import trellis_best, trellis_plain
from agentflow.constraint.chain import Chain
from agentflow.constraint.compiled import Constraint
from agentflow.constraint.device_tables import WIDTH, DeviceTables, tables_of

_BLOCK_TOKENS = 4096
_BLOCK_PIECES = 32
_BLOCK_STATES = 256
_BLOCK_EDGES = 8
_BLOCK_LABELS = 16
_BLOCK_LABEL_EDGES = 64


@dataclass(frozen=True, eq=False)
class RowReading:
    """What one pass over logits tells of each position.

    Attributes:
        log_total: ``(B, L)`` float64, log of the sum of ``exp(logits / temperature)``.
        entropies: ``(B, L)`` float32, nats.
        argmax: ``(B, L)`` int64.
        sample: ``(B, L)`` int64, one draw from each position by itself.
    """

    log_total: Tensor
    entropies: Tensor
    argmax: Tensor
    sample: Tensor


@dataclass(frozen=True, eq=False)
class _Pieces:
    """The pieces of each position: probability, mean log-probability, a draw, the best token and its score."""

    mass: Tensor  # (B, L, P) float64
    mean: Tensor  # (B, L, P) float64
    token: Tensor  # (B, L, P) int64
    best: Tensor  # (B, L, P) int64
    top: Tensor  # (B, L, P) float64


def read_logits(logits: Tensor, temperature: Tensor, seeds: Tensor) -> RowReading:
    """Read ``(B, L, V)`` float32 logits once.

    Args:
        logits: On a CUDA device (or anywhere, in the interpreter).
        temperature: ``(B,)`` float32.
        seeds: ``(B,)`` int64, of the draws.
    """
    table_of = torch.zeros(len(logits), dtype=torch.int32, device=logits.device)  # (B,)
    return _read(logits, temperature, seeds, table_of, None)[0]


def _read(
    logits: Tensor, temperature: Tensor, seeds: Tensor, table_of: Tensor, tables: DeviceTables | None
) -> tuple[RowReading, _Pieces | None]:
    num_rows, length, num_tokens = logits.shape
    logits = logits.contiguous()
    double = torch.empty(num_rows, length, dtype=torch.float64, device=logits.device)  # (B, L)
    whole = torch.empty(num_rows, length, dtype=torch.long, device=logits.device)  # (B, L)
    reading = RowReading(double, double.float(), whole, torch.empty_like(whole))
    big = [torch.empty_like(kind) for kind in (double, double, whole, whole, double)]
    kernels.read_rows[(num_rows * length,)](
        logits, table_of if tables is None else tables.arrays["token_piece"], table_of, temperature, seeds,
        reading.log_total, reading.entropies, reading.argmax, reading.sample, *big, num_tokens, length,
        HAS_PIECES=tables is not None, BLOCK=min(_BLOCK_TOKENS, _power_of_two(num_tokens)),
    )  # fmt: skip
    if tables is None:
        return reading, None
    arrays, num_pieces = tables.arrays, tables.num_pieces
    mass = double.new_zeros(num_rows, length, num_pieces)  # (B, L, P)
    token = whole.new_zeros(num_rows, length, num_pieces)  # (B, L, P)
    pieces = _Pieces(mass, torch.zeros_like(mass), token, torch.zeros_like(token), torch.full_like(mass, -torch.inf))
    kernels.read_pieces[(num_rows * length, -(-num_pieces // _BLOCK_PIECES))](
        logits, arrays["order"], arrays["piece_begin"], arrays["piece_size"], table_of, temperature, seeds,
        reading.log_total, pieces.mass, pieces.mean, pieces.token, pieces.best, pieces.top, num_tokens, length,
        num_pieces, arrays["order"].shape[1], BLOCK_P=_BLOCK_PIECES, WIDTH=WIDTH,
    )  # fmt: skip
    log_mass, *rest = big
    for target, values in zip((pieces.mean, pieces.token, pieces.best, pieces.top), rest, strict=True):
        target[..., 0] = values
    pieces.mass[..., 0] = log_mass.exp()
    return reading, pieces


@dataclass(frozen=True, eq=False)
class DevicePosterior:
    """Distributions of a batch of canvases on a device, each conditioned on its constraint.

    The interface of `agentflow.constraint.trellis.Posterior`; tensors are on the device of the logits, and nothing but
    `best` waits for it. Figures are right where `is_exact` is true: elsewhere the language is less probable than
    1e-250, and the canvas wants the sums of `condition` on the CPU.

    Attributes:
        reading: What the pass over the logits told besides.
    """

    reading: RowReading
    _logits: Tensor  # (B, L, V)
    _temperature: Tensor  # (B,)
    _tables: DeviceTables
    _places: tuple[int, ...]
    _starts: tuple[int, ...]  # chain states
    _num_tokens_left: tuple[int, ...]
    _table_of: Tensor  # (B,)
    _start: Tensor  # (B,)
    _is_open: Tensor  # (B, S)
    _pieces: _Pieces
    _label: Tensor  # (B, L, C)
    _after: Tensor  # (B, L + 1, S)
    _before: Tensor  # (B, L + 1, S)
    _is_single: bool = False

    def single(self) -> DevicePosterior:
        """Give the posterior of a batch of one without the dimension ``B``."""
        return replace(self, _is_single=True)

    def _shape(self, values: Tensor) -> Tensor:
        return values[0] if self._is_single else values

    @cached_property
    def _partition(self) -> Tensor:
        return self._after[:, 0].gather(1, self._start[:, None].long())[:, 0].contiguous()  # (B,)

    @property
    def is_exact(self) -> Tensor:
        """``(B,)`` bool, whether double precision was enough."""
        return self._shape(self._partition > trellis_plain.TRUSTED)  # (B,)

    @cached_property
    def log_partition(self) -> Tensor:
        """``(B,)`` float64, log-probability in nats that the model gives to the language (and the budget)."""
        return self._shape(self._partition.log())  # (B,)

    @cached_property
    def _weight(self) -> Tensor:
        """What multiplies the probability of each piece, ``(B, L, P)`` float64."""
        num_rows, length, num_labels = self._label.shape
        arrays = self._tables.arrays
        weight = torch.empty_like(self._label)  # (B, L, C)
        kernels.weigh_labels[(num_rows * length, -(-num_labels // _BLOCK_LABELS))](
            self._after, self._before, arrays["row_label"], arrays["source_label"], arrays["target_label"],
            self._table_of, self._partition, weight, length, num_labels, self._tables.num_states,
            self._tables.num_edges, BLOCK_C=_BLOCK_LABELS, BLOCK_E=_BLOCK_LABEL_EDGES,
        )  # fmt: skip
        return torch.matmul(weight, arrays["member"][self._table_of.long()])  # (B, L, P)

    @cached_property
    def entropies(self) -> Tensor:
        """``(B, L)`` float64, entropy in nats of each position's marginal."""
        share = self._weight * self._pieces.mass  # (B, L, P)
        surprise = self._pieces.mean + self._weight.log()  # (B, L, P)
        entropies = -torch.where(share > 0, share * surprise, 0.0).sum(dim=-1)  # (B, L)
        sizes = self._tables.arrays["piece_tokens"][self._table_of.long()][:, None]  # (B, 1, P)
        num_possible = torch.where(share > trellis_plain.UNSEEN, sizes.clamp_max(2), 0).sum(dim=-1)  # (B, L)
        return self._shape(torch.where(num_possible == 1, 0.0, entropies.clamp_min(0.0)))  # (B, L)

    @property
    def entropy(self) -> Tensor:
        """``(B, L)`` float64, the same as `entropies`."""
        return self.entropies

    @cached_property
    def tail(self) -> Tensor:
        """``(B, L)`` float64, probability that the position lies behind the end token."""
        finals = [int(self._tables.ranks[place][self._tables.chains[place].final]) for place in self._places]
        rows = torch.arange(len(finals))
        share = self._before[rows, :-1, finals] * self._after[rows, :-1, finals]  # (B, L)
        return self._shape(share / self._partition[:, None])  # (B, L)

    @cached_property
    def is_forced(self) -> Tensor:
        """``(B, L)`` bool, whether the language leaves one token alone at the position, whatever the model says."""
        rows = []
        for place, start, left in zip(self._places, self._starts, self._num_tokens_left, strict=True):
            rows.append(self._tables.chains[place].is_forced(self._label.shape[1], start, left))
        return self._shape(torch.from_numpy(np.stack(rows)).to(self._label.device))  # (B, L)

    def log_marginals(self) -> Tensor:
        """``(B, L, V)`` float32, log-probability of each token at each position; -inf: impossible, or below 1e-38."""
        return self.marginals().log()  # (B, L, V)

    def marginals(self, log_probs: Tensor | None = None) -> Tensor:
        """Give the marginals, ``(B, L, V)`` float32: the one tensor of that size that is made.

        Args:
            log_probs: ``(B, L, V)``, the normalised logits, where they are at hand.
        """
        log_weight = self._weight.log()  # (B, L, P)
        if log_probs is None:
            log_weight = log_weight - self.reading.log_total[..., None]  # (B, L, P)
            log_probs = self._logits / self._temperature[:, None, None]  # (B, L, V)
        result = torch.empty_like(log_probs, dtype=torch.float32)  # (B, L, V)
        for b, place in enumerate(self._places):
            pieces = self._tables.arrays["token_piece"][place]  # (V,)
            torch.index_select(log_weight[b].float(), 1, pieces, out=result[b])
            result[b].add_(log_probs[b]).exp_()
        return self._shape(result)

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """Draw one string of each canvas from the joint posterior, ``(B, L)`` int64.

        Args:
            generator: Source of randomness for the path, on any device; tokens within a piece were drawn when the
                logits were read, so a second draw shares them.
        """
        num_rows, length, _ = self._label.shape
        device = self._label.device
        at = device if generator is None else generator.device
        uniform = torch.rand(2, num_rows, length, generator=generator, dtype=torch.float64, device=at)  # (2, B, L)
        uniform = uniform.to(device, non_blocking=True)  # (2, B, L)
        member = self._tables.arrays["member"][self._table_of.long()]  # (B, C, P)
        index = self.draw_labels(uniform[0])[..., None].expand(-1, -1, member.shape[2])  # (B, L, P)
        mass = self._pieces.mass * member.gather(1, index)  # (B, L, P)
        reached = mass.cumsum(dim=-1)  # (B, L, P)
        piece = (reached <= uniform[1][..., None] * reached[..., -1:]).sum(dim=-1, keepdim=True)  # (B, L, 1)
        last = torch.where(mass > 0, torch.arange(mass.shape[-1], device=device), -1).amax(dim=-1, keepdim=True)
        return self._shape(self._pieces.token.gather(2, torch.minimum(piece, last).clamp_min(0))[..., 0])  # (B, L)

    def draw_labels(self, uniform: Tensor) -> Tensor:
        """Draw the labels of one path of each canvas.

        Args:
            uniform: ``(B, L)`` float64 in [0, 1), on the device.

        Returns:
            ``(B, L)`` int64.
        """
        num_rows, length, num_labels = self._label.shape
        arrays = self._tables.arrays
        labels = torch.empty(num_rows, length, dtype=torch.long, device=self._label.device)  # (B, L)
        kernels.draw_labels[(num_rows,)](
            self._label, self._after, arrays["row_out"], arrays["label_out"], arrays["target_out"], self._start,
            self._table_of, uniform, labels, length, num_labels, self._tables.num_states, self._tables.num_edges,
            BLOCK_E=_power_of_two(self._tables.widest),
        )  # fmt: skip
        return labels

    def best(self) -> Tensor:
        """Give the most probable string of each canvas, ``(B, L)`` int64; the path is found on the host."""
        top, token = self._pieces.top.cpu().numpy(), self._pieces.best.cpu()  # (B, L, P)
        is_open = self._is_open.cpu().numpy()
        paths = []
        for b, place in enumerate(self._places):
            chain, rank = self._tables.chains[place], self._tables.ranks[place]
            member = self._tables.arrays["member"][place].cpu().numpy() > 0  # (C, P)
            pieces = _best_pieces(
                member, np.ascontiguousarray(top[b].T), chain, self._starts[b], is_open[b][rank] > 0
            )  # (L,)
            paths.append(token[b].gather(1, torch.from_numpy(pieces)[:, None])[:, 0])  # (L,)
        return self._shape(torch.stack(paths).to(self._label.device))  # (B, L)


def _best_pieces(
    member: npt.NDArray[np.bool_],
    top: npt.NDArray[np.float64],
    chain: Chain,
    start: int,
    is_open: npt.NDArray[np.bool_],
) -> npt.NDArray[np.int64]:
    """Find the most probable path of one canvas, as pieces ``(L,)``; `top` is ``(P, L)``."""
    begin = np.append(0, np.cumsum(member.sum(axis=1))).astype(np.uint32)  # (C + 1,)
    atoms = np.nonzero(member)[1].astype(np.uint32)  # (N,)
    label = np.ascontiguousarray(trellis_best.label_tops(top, begin, atoms).T)  # (L, C)
    edges = (chain.row, chain.edge_label, chain.edge_target)
    score = trellis_best.best_scores(label, *edges, chain.reached_within(len(label), start), is_open)
    pieces = trellis_best.trace_best(label, *edges, start, score, top, begin, atoms)
    return np.asarray(pieces, np.int64)


def condition_logits(
    logits: Tensor,
    constraints: Sequence[Constraint],
    states: Sequence[int],
    *,
    num_tokens_left: Sequence[int],
    temperature: Tensor,
    seeds: Tensor,
) -> DevicePosterior:
    """Condition canvases on a device, from logits, without waiting for it.

    Args:
        logits: ``(B, L, V)`` float32.
        constraints: One per canvas; they may differ.
        states: State of each constraint before the canvas.
        num_tokens_left: Tokens that may still follow each canvas; see `agentflow.constraint.condition`.
        temperature: ``(B,)`` float32, on the device.
        seeds: ``(B,)`` int64, on the device, of the draws within pieces.
    """
    device = logits.device
    tables, places = tables_of(constraints, device)
    num_rows, length, _ = logits.shape
    table_of = torch.tensor(places, dtype=torch.int32).to(device, non_blocking=True)  # (B,)
    starts, is_open = _borders(tables, places, states, num_tokens_left)
    start, opened = starts.to(device, non_blocking=True), is_open.to(device, non_blocking=True)  # (B,), (B, S)
    reading, pieces = _read(logits, temperature, seeds, table_of, tables)
    assert pieces is not None  # noqa: S101 - there are tables
    arrays = tables.arrays
    label = torch.matmul(pieces.mass, arrays["member"][table_of.long()].transpose(1, 2))  # (B, L, C)
    after = torch.zeros(num_rows, length + 1, tables.num_states, dtype=torch.float64, device=device)  # (B, L + 1, S)
    before = torch.zeros_like(after)  # (B, L + 1, S)
    after[:, length] = opened.double()
    before[:, 0].scatter_(1, start[:, None].long(), 1.0)
    kernels.pass_messages[(num_rows, 2)](
        label, arrays["row_out"], arrays["label_out"], arrays["target_out"], arrays["row_in"], arrays["label_in"],
        arrays["source_in"], table_of, after, before, length, tables.num_labels, tables.num_states, tables.num_edges,
        BLOCK_S=min(_BLOCK_STATES, _power_of_two(tables.num_states)), BLOCK_E=_BLOCK_EDGES,
    )  # fmt: skip
    blocks = tuple(int(tables.chains[p].block[int(s)]) for p, s in zip(places, states, strict=True))
    return DevicePosterior(
        reading, logits, temperature, tables, tuple(places), blocks, tuple(num_tokens_left), table_of, start, opened,
        pieces, label, after, before,
    )  # fmt: skip


def _borders(
    tables: DeviceTables, places: Sequence[int], states: Sequence[int], num_tokens_left: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """Give the start state of each canvas ``(B,)`` and where it may end ``(B, S)``, both int32."""
    starts = torch.zeros(len(places), dtype=torch.int32)
    is_open = torch.zeros(len(places), tables.num_states, dtype=torch.int32)
    for b, place in enumerate(places):
        chain, rank = tables.chains[place], tables.ranks[place]
        starts[b] = int(rank[chain.block[int(states[b])]])
        is_open[b, torch.from_numpy(rank)] = torch.from_numpy((chain.distance <= num_tokens_left[b]).astype(np.int32))
    return starts, is_open


def _power_of_two(number: int) -> int:
    return 1 << max(number - 1, 1).bit_length()
