"""Conditioning: an independent distribution per position, given that the string is in the language.

    P(x_1..x_L) is proportional to  prod_i p_i(x_i)  for x in the language, and 0 elsewhere

A chain over positions and states, so everything is exact and linear in L: forward-backward gives the partition
function and the marginals, drawing edge by edge with the backward messages gives a joint sample, Viterbi the best
string. Per position, the probabilities are first summed over atoms (tokens that move every state alike); no constrained
``[L, V]`` tensor is made unless it is asked for. Exactness is that of one step; a chain of steps is no sample of the
model.

The sums run on the CPU in double precision (`agentflow.constraint.messages`). Log-probabilities on a CUDA device stay
there where Triton is installed (`agentflow.constraint.device_trellis`), and are copied where it is not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch

from agentflow.constraint import trellis_best, trellis_tokens
from agentflow.constraint.automaton import BoolArray
from agentflow.constraint.chain import Chain, chain_of
from agentflow.constraint.compiled import Constraint, check_budget
from agentflow.constraint.messages import (
    FloatArray,
    Marginals,
    PlainMessages,
    ScaledMessages,
    Sums,
    run_backward,
)
from agentflow.errors import ConfigurationError

_CHUNK_ELEMENTS = 1 << 23


@dataclass(frozen=True, eq=False)
class _Row:
    """One canvas: its values, its constraint and the messages of its chain."""

    values: npt.NDArray[Any]  # (L, V)
    constraint: Constraint
    chain: Chain
    messages: PlainMessages | ScaledMessages
    num_tokens_left: int

    @property
    def log_partition(self) -> float:
        """Log of the probability of the language."""
        return self.messages.log_partition

    @cached_property
    def marginals(self) -> Marginals:
        """Weights of atoms, entropies and tail probabilities."""
        return self.messages.marginals(self.constraint.atom_size)

    @cached_property
    def is_forced(self) -> BoolArray:
        """Positions at which one token alone is possible, ``(L,)``."""
        return self.chain.is_forced(len(self.messages.sums.log_sum), self.messages.start, self.num_tokens_left)

    def draw(self, uniform: FloatArray) -> npt.NDArray[np.int64]:
        """Draw one string; `uniform` is (L, 3)."""
        c = self.constraint
        tokens: npt.NDArray[np.int64] = trellis_tokens.draw_tokens(
            self.values, c.token_atom, self.messages.draw_atoms(uniform), self.messages.sums.log_sum, c.only_token,
            uniform[:, 2].copy(),
        )  # fmt: skip
        return tokens

    def draw_ids(self, generator: np.random.Generator) -> list[int]:
        """Draw one string where only sums over atoms are known: any token of an atom is as good as another."""
        uniform = generator.random((len(self.messages.sums.log_sum), 3))  # (L, 3)
        atoms = self.messages.draw_atoms(uniform)  # (L,)
        order, begin = self.constraint.tokens_by_atom
        picks = (uniform[:, 2] * (begin[atoms + 1] - begin[atoms])).astype(np.int64)
        ids: list[int] = order[begin[atoms] + picks].tolist()
        return ids

    def best(self) -> npt.NDArray[np.int64]:
        """Find the most probable string."""
        constraint, c = self.constraint, self.chain
        top, token = trellis_tokens.best_tokens(self.values, constraint.token_atom, constraint.num_atoms)  # (L, K)
        start = self.messages.start
        top = np.ascontiguousarray(top.T)  # (K, L)
        label = np.ascontiguousarray(trellis_best.label_tops(top, c.label_begin, c.label_atoms).T)  # (L, C)
        score = trellis_best.best_scores(
            label, c.row, c.edge_label, c.edge_target, c.reached_within(len(label), start),
            c.distance <= self.num_tokens_left,
        )  # fmt: skip
        atoms = trellis_best.trace_best(
            label, c.row, c.edge_label, c.edge_target, start, score, top, c.label_begin, c.label_atoms
        )
        best: npt.NDArray[np.int64] = token[np.arange(len(atoms)), atoms].astype(np.int64)
        return best


@dataclass(frozen=True, eq=False)
class Posterior:
    """Distributions of a batch of canvases, each conditioned on its constraint. Made by `condition`.

    Everything but `log_partition` is computed when it is first asked for. Positions behind an end token are the model's
    own: any token, at no cost. Key: ``B`` canvases, ``L`` positions, ``V`` tokens. Where one canvas was given without
    a dimension for ``B``, nothing has one. Tensors are on the CPU unless it says otherwise.
    """

    _rows: tuple[_Row, ...]
    _log_probs: torch.Tensor  # (B, L, V)
    _is_single: bool = False

    def single(self) -> Posterior:
        """Give the posterior of the first canvas, without the dimension ``B``."""
        return Posterior(self._rows[:1], self._log_probs[:1], _is_single=True)

    @cached_property
    def log_partition(self) -> torch.Tensor:
        """``(B,)`` float64, log-probability in nats that the model gives to the language (and the budget)."""
        return self._shape(torch.tensor([row.log_partition for row in self._rows], dtype=torch.float64))  # (B,)

    @cached_property
    def entropies(self) -> torch.Tensor:
        """``(B, L)`` float64, entropy in nats of each position's marginal."""
        return self._stack([row.marginals.entropies for row in self._rows])  # (B, L)

    @property
    def entropy(self) -> torch.Tensor:
        """``(B, L)`` float64, the same as `entropies`."""
        return self.entropies

    @cached_property
    def is_forced(self) -> torch.Tensor:
        """``(B, L)`` bool, whether the language leaves one token alone at the position, whatever the model says."""
        return self._stack([row.is_forced for row in self._rows])  # (B, L)

    @cached_property
    def tail(self) -> torch.Tensor:
        """``(B, L)`` float64, probability that the position lies behind the end token."""
        return self._stack([row.marginals.tail for row in self._rows])  # (B, L)

    def log_marginals(self) -> torch.Tensor:
        """``(B, L, V)`` float64, log-probability of each token at each position; -inf: impossible, or below 1e-16."""
        weights = [torch.from_numpy(row.marginals.log_weight[:, row.constraint.token_atom]) for row in self._rows]
        return self._shape(self._log_probs.double().cpu() + torch.stack(weights))  # (B, L, V)

    def marginals(self, log_probs: torch.Tensor | None = None) -> torch.Tensor:
        """Give the marginals as probabilities, on the device and in the precision of the log-probabilities.

        Args:
            log_probs: ``(B, L, V)``, what `condition` was given, where another copy of it lies better; default: that
                tensor itself.

        Returns:
            ``(B, L, V)`` probability of each token at each position.
        """
        log_probs = self._log_probs if log_probs is None else log_probs
        rows = []
        for b, row in enumerate(self._rows):
            weights = torch.from_numpy(row.marginals.log_weight).to(log_probs)  # (L, K)
            atoms = torch.from_numpy(row.constraint.token_atom).to(log_probs.device)  # (V,)
            rows.append(weights.index_select(1, atoms).add_(log_probs[b]).exp_())  # (L, V)
        return self._shape(torch.stack(rows))  # (B, L, V)

    def sample(self, generator: torch.Generator | None = None) -> torch.Tensor:
        """Draw one string of each canvas from the joint posterior; it is always valid.

        Args:
            generator: Source of randomness, on the CPU.

        Returns:
            ``(B, L)`` int64 token ids.
        """
        length = self._log_probs.shape[1]
        uniform = torch.rand(len(self._rows), length, 3, generator=generator, dtype=torch.float64).numpy()  # (B, L, 3)
        return self._stack([row.draw(u) for row, u in zip(self._rows, uniform, strict=True)])  # (B, L)

    def best(self) -> torch.Tensor:
        """Give the most probable string of each canvas.

        It favours short values while positions are uncertain: each further token multiplies by less than 1, each
        position of the tail by 1. Draw until the canvas is confident, and commit the best string then.

        Returns:
            ``(B, L)`` int64 token ids. Behind the end token each position holds the model's most probable token.
        """
        return self._stack([row.best() for row in self._rows])  # (B, L)

    def _stack(self, rows: Sequence[npt.NDArray[Any]]) -> torch.Tensor:
        return self._shape(torch.from_numpy(np.stack(rows)))  # (B, ...)

    def _shape(self, values: torch.Tensor) -> torch.Tensor:
        return values[0] if self._is_single else values


def condition(
    log_probs: torch.Tensor,
    constraints: Sequence[Constraint],
    states: Sequence[int],
    *,
    num_tokens_left: Sequence[int],
) -> Posterior:
    """Condition canvases on their constraints.

    Args:
        log_probs: ``(B, L, V)`` float32 or float64 log-probabilities, normalised over ``V``
            (``logits.log_softmax(-1)``).
        constraints: One per canvas; they may differ.
        states: State of each constraint before the canvas.
        num_tokens_left: Tokens that may still follow after each canvas. Only strings count that can finish within
            them; 0: the end token must lie inside the canvas.

    Returns:
        The posterior; it keeps a reference to `log_probs`.

    Raises:
        SchemaBudgetError: No valid output fits the canvas and `num_tokens_left`.
        ConfigurationError: Shapes do not match, probabilities sum to more than 1, or every valid string has
            probability 0.
    """
    _check(log_probs, constraints, states, num_tokens_left)
    log_probs = log_probs.detach()
    if log_probs.is_cuda and find_spec("triton") is not None:
        found = _condition_on_device(log_probs, constraints, states, num_tokens_left)
        if found is not None:
            return found
    values = log_probs.cpu()
    rows = [
        _prepare(values[b], constraint, int(state), int(left))
        for b, (constraint, state, left) in enumerate(zip(constraints, states, num_tokens_left, strict=True))
    ]
    return Posterior(tuple(rows), log_probs)


def _condition_on_device(
    log_probs: torch.Tensor, constraints: Sequence[Constraint], states: Sequence[int], num_tokens_left: Sequence[int]
) -> Posterior | None:
    """Condition where the tensor is; ``None`` where double precision is not enough, which waits for the device."""
    from agentflow.constraint.device_trellis import condition_logits  # needs Triton

    ones = torch.ones(len(log_probs), device=log_probs.device)  # (B,)
    seeds = torch.randint(1 << 31, (len(log_probs),)).to(log_probs.device)  # (B,)
    posterior = condition_logits(
        log_probs.float(), constraints, states, num_tokens_left=num_tokens_left, temperature=ones, seeds=seeds
    )
    return cast("Posterior", posterior) if bool(posterior.is_exact.all()) else None  # the same interface


def _check(
    log_probs: torch.Tensor, constraints: Sequence[Constraint], states: Sequence[int], num_tokens_left: Sequence[int]
) -> None:
    if log_probs.ndim != 3 or log_probs.dtype not in (torch.float32, torch.float64):  # noqa: PLR2004 - (B, L, V)
        raise ConfigurationError(f"log_probs must be (B, L, V) float32, got {tuple(log_probs.shape)} {log_probs.dtype}")
    num_rows, length, num_tokens = log_probs.shape
    if not len(constraints) == len(states) == len(num_tokens_left) == num_rows:
        raise ConfigurationError(
            f"{num_rows} canvases need as many constraints, states and num_tokens_left, "
            f"got {len(constraints)}, {len(states)} and {len(num_tokens_left)}"
        )
    for constraint, state, left in zip(constraints, states, num_tokens_left, strict=True):
        if len(constraint.token_atom) != num_tokens:
            raise ConfigurationError(
                f"log_probs has {num_tokens} tokens, the constraint's vocabulary {len(constraint.token_atom)}",
                hint="make the vocabulary with size=<tokens of the model>",
            )
        check_budget(constraint, int(state), length + int(left))


def _prepare(values: torch.Tensor, constraint: Constraint, state: int, left: int) -> _Row:
    """Sum over atoms, and run backward."""
    return _condition_sums(values.numpy(), _sum_atoms(values, constraint), constraint, state, left)


def _condition_sums(values: npt.NDArray[Any], sums: Sums, constraint: Constraint, state: int, left: int) -> _Row:
    chain = chain_of(constraint)
    return _Row(values, constraint, chain, run_backward(sums, chain, int(chain.block[state]), left), left)


def normalise_atoms(log_sum: FloatArray, constraint: Constraint) -> Sums:
    """Make the sums of a canvas from numbers: the tokens of an atom are taken as equally probable.

    Args:
        log_sum: ``(L, K)`` float64 log-probabilities of the constraint's atoms, normalised here.
        constraint: The constraint.
    """
    has_tokens = constraint.atom_size > 0  # (K,)
    peak = log_sum.max(axis=1, keepdims=True)  # (L, 1)
    total = peak + np.log(np.exp(log_sum - peak).sum(axis=1, keepdims=True))  # (L, 1)
    log_sum = np.where(has_tokens, log_sum - total, -np.inf)  # (L, K)
    mean_log = np.where(has_tokens, log_sum - np.log(np.maximum(constraint.atom_size, 1)), 0.0)  # (L, K)
    return Sums(np.exp(log_sum), log_sum, mean_log)


def condition_sums(sums: Sums, constraint: Constraint) -> _Row:
    """Condition one canvas whose probabilities are already summed over the constraint's atoms.

    Args:
        sums: The canvas.
        constraint: The constraint, from its start; the output must end inside the canvas.

    Raises:
        ConfigurationError: Probabilities sum to more than 1, or every valid string has probability 0.
    """
    return _condition_sums(np.zeros((0, 0)), sums, constraint, constraint.start_state, 0)


def condition_atoms(log_sum: FloatArray, constraint: Constraint) -> _Row:
    """Condition one canvas given as numbers: `normalise_atoms`, then `condition_sums`."""
    return condition_sums(normalise_atoms(log_sum, constraint), constraint)


def _sum_atoms(values: torch.Tensor, constraint: Constraint) -> Sums:
    """Sum probabilities over atoms, some positions at a time."""
    step = max(1, _CHUNK_ELEMENTS // values.shape[1])
    atoms = (constraint.token_atom, constraint.num_atoms, int(constraint.atom_size.argmax()))
    parts = []
    for chunk in torch.split(values, step):
        peak = chunk.amax(dim=1).double()  # (l,)
        peak = torch.where(torch.isfinite(peak), peak, torch.zeros_like(peak))
        scaled = torch.sub(chunk, peak[:, None], out=torch.empty(chunk.shape, dtype=torch.float64)).exp_()  # (l, V)
        parts.append(trellis_tokens.sum_atoms(chunk.numpy(), scaled.numpy(), peak.numpy(), *atoms))
    return Sums(*(np.concatenate(part) for part in zip(*parts, strict=True)))
