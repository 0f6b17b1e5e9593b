"""Conditioning: an independent distribution per position, given that the string is in the language.

    P(x_1..x_L) is proportional to  prod_i p_i(x_i)  for x in the language, and 0 elsewhere

A chain over positions and states, so everything is exact and linear in L: forward-backward gives the partition
function and the marginals, drawing edge by edge with the backward messages gives a joint sample, Viterbi the best
string. Per position, the probabilities are first summed over atoms (tokens that move every state alike); no constrained
``[L, V]`` tensor is made unless it is asked for. Exactness is that of one step; a chain of steps is no sample of the
model.

The sums run on the CPU in double precision (`agentflow.constraint.trellis_kernels`); tensors on other devices are
copied.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from agentflow.constraint import trellis_kernels as kernels
from agentflow.constraint.automaton import BoolArray
from agentflow.constraint.compiled import Constraint, check_budget
from agentflow.errors import ConfigurationError

_CHUNK_ELEMENTS = 1 << 23

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class _Row:
    """One canvas: its values, its constraint and the messages of its chain."""

    values: npt.NDArray[Any]  # (L, V)
    constraint: Constraint
    start: int
    is_open: BoolArray  # (S,) whether the canvas may end here
    log_sum: FloatArray  # (L, K)
    mean_log: FloatArray  # (L, K)
    label_m: FloatArray  # (L, C)
    label_k: npt.NDArray[np.int32]  # (L, C)
    after_m: FloatArray  # (L + 1, S)
    after_k: npt.NDArray[np.int32]  # (L + 1, S)

    @cached_property
    def log_partition(self) -> float:
        """Log of the probability of the language."""
        mantissa = self.after_m[0, self.start]
        if mantissa == 0.0:
            return float("-inf")
        return float(np.log(mantissa) + 256 * np.log(2) * self.after_k[0, self.start])

    @cached_property
    def marginals(self) -> tuple[FloatArray, FloatArray, BoolArray, FloatArray]:
        """Log weights of atoms (L, K), entropies (L,), forced positions (L,), tail probabilities (L,)."""
        c = self.constraint
        log_weight, share, tail = kernels.forward_weights(
            self.label_m,
            self.label_k,
            c.row,
            c.edge_label,
            c.edge_target,
            self.start,
            self.after_m,
            self.after_k,
            c.final,
        )
        log_atom, entropy, is_forced = kernels.atom_weights(
            log_weight, share, c.label_begin, c.label_atoms, self.log_sum, self.mean_log, c.atom_size
        )
        return log_atom, entropy, is_forced, tail

    def draw(self, uniform: FloatArray) -> npt.NDArray[np.int64]:
        """Draw one string; `uniform` is (L, 3)."""
        c = self.constraint
        atoms = kernels.draw_path(
            self.label_m, self.label_k, c.row, c.edge_label, c.edge_target, self.start, self.after_m, self.after_k,
            c.label_begin, c.label_atoms, self.log_sum, uniform,
        )  # fmt: skip
        tokens: npt.NDArray[np.int64] = kernels.draw_tokens(
            self.values, c.token_atom, atoms, self.log_sum, c.only_token, uniform[:, 2].copy()
        )
        return tokens

    def draw_ids(self, generator: np.random.Generator) -> list[int]:
        """Draw one string where only sums over atoms are known: any token of an atom is as good as another."""
        c = self.constraint
        uniform = generator.random((len(self.log_sum), 3))
        atoms = kernels.draw_path(
            self.label_m, self.label_k, c.row, c.edge_label, c.edge_target, self.start, self.after_m, self.after_k,
            c.label_begin, c.label_atoms, self.log_sum, uniform,
        )  # fmt: skip
        order, begin = c.tokens_by_atom
        picks = (uniform[:, 2] * (begin[atoms + 1] - begin[atoms])).astype(np.int64)
        ids: list[int] = order[begin[atoms] + picks].tolist()
        return ids

    def best(self) -> npt.NDArray[np.int64]:
        """Find the most probable string."""
        c = self.constraint
        top, token = kernels.best_tokens(self.values, c.token_atom, c.num_atoms)
        atoms, _ = kernels.best_path(
            top, c.row, c.edge_label, c.edge_target, self.start, self.is_open, c.label_begin, c.label_atoms
        )
        best: npt.NDArray[np.int64] = token[np.arange(len(atoms)), atoms].astype(np.int64)
        return best


@dataclass(frozen=True, eq=False)
class Posterior:
    """Distributions of a batch of canvases, each conditioned on its constraint. Made by `condition`.

    Everything but `log_partition` is computed when it is first asked for. Positions behind an end token are the model's
    own: any token, at no cost. Key: ``B`` canvases, ``L`` positions, ``V`` tokens.
    """

    _rows: tuple[_Row, ...]
    _log_probs: torch.Tensor

    @cached_property
    def log_partition(self) -> torch.Tensor:
        """``(B,)`` float64, log-probability in nats that the model gives to the language (and the budget)."""
        return torch.tensor([row.log_partition for row in self._rows], dtype=torch.float64)  # (B,)

    @cached_property
    def entropies(self) -> torch.Tensor:
        """``(B, L)`` float64, entropy in nats of each position's marginal."""
        return torch.from_numpy(np.stack([row.marginals[1] for row in self._rows]))  # (B, L)

    @cached_property
    def is_forced(self) -> torch.Tensor:
        """``(B, L)`` bool, whether the language leaves one token alone at the position, whatever the model says."""
        return torch.from_numpy(np.stack([row.marginals[2] for row in self._rows]))  # (B, L)

    @cached_property
    def tail(self) -> torch.Tensor:
        """``(B, L)`` float64, probability that the position lies behind the end token."""
        return torch.from_numpy(np.stack([row.marginals[3] for row in self._rows]))  # (B, L)

    def log_marginals(self) -> torch.Tensor:
        """``(B, L, V)`` float64, log-probability of each token at each position; -inf where it is impossible."""
        weights = [torch.from_numpy(row.marginals[0][:, row.constraint.token_atom]) for row in self._rows]
        return self._log_probs.double() + torch.stack(weights)  # (B, L, V)

    def marginals(self, log_probs: torch.Tensor) -> torch.Tensor:
        """Give the marginals as probabilities, on the device and in the precision of `log_probs`.

        Args:
            log_probs: What `condition` was given, ``(B, L, V)``.

        Returns:
            ``(B, L, V)`` probability of each token at each position.
        """
        rows = []
        for b, row in enumerate(self._rows):
            weights = torch.from_numpy(row.marginals[0]).to(log_probs)  # (L, K)
            atoms = torch.from_numpy(row.constraint.token_atom).to(log_probs.device)  # (V,)
            rows.append(weights.index_select(1, atoms).add_(log_probs[b]).exp_())  # (L, V)
        return torch.stack(rows)  # (B, L, V)

    def sample(self, generator: torch.Generator | None = None) -> torch.Tensor:
        """Draw one string of each canvas from the joint posterior.

        Args:
            generator: Source of randomness, on the CPU.

        Returns:
            ``(B, L)`` int64 token ids.
        """
        length = self._log_probs.shape[1]
        uniform = torch.rand(len(self._rows), length, 3, generator=generator, dtype=torch.float64).numpy()  # (B, L, 3)
        return torch.from_numpy(np.stack([row.draw(u) for row, u in zip(self._rows, uniform, strict=True)]))  # (B, L)

    def best(self) -> torch.Tensor:
        """Give the most probable string of each canvas.

        It favours short values while positions are uncertain: each further token multiplies by less than 1, each
        position of the tail by 1. Draw until the canvas is confident, and commit the best string then.

        Returns:
            ``(B, L)`` int64 token ids. Behind the end token each position holds the model's most probable token.
        """
        return torch.from_numpy(np.stack([row.best() for row in self._rows]))  # (B, L)


def condition(
    log_probs: torch.Tensor,
    constraints: Sequence[Constraint],
    states: Sequence[int],
    *,
    num_tokens_left: Sequence[int],
) -> Posterior:
    """Condition canvases on their constraints.

    Args:
        log_probs: ``(B, L, V)`` float32 or float64 log-probabilities, normalised over ``V``.
        constraints: One per canvas; they may differ.
        states: State of each constraint before the canvas.
        num_tokens_left: Tokens that may still follow after each canvas. Only strings count that can finish within
            them; 0: the end token must lie inside the canvas.

    Returns:
        The posterior; it keeps a reference to `log_probs`.

    Raises:
        SchemaBudgetError: No valid output fits the canvas and `num_tokens_left`.
        ConfigurationError: Shapes do not match, or every valid string has probability 0.
    """
    _check(log_probs, constraints, states, num_tokens_left)
    log_probs = log_probs.detach().cpu()
    rows = [
        _prepare(log_probs[b], constraint, int(state), int(left))
        for b, (constraint, state, left) in enumerate(zip(constraints, states, num_tokens_left, strict=True))
    ]
    return Posterior(tuple(rows), log_probs)


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
    return _run_backward(values.numpy(), *_sum_atoms(values, constraint), constraint, state, left)


def _run_backward(  # noqa: PLR0917 - the inputs of one row
    values: npt.NDArray[Any], log_sum: FloatArray, mean_log: FloatArray, c: Constraint, state: int, left: int
) -> _Row:
    """Sum over labels, and run backward."""
    label_m, label_k = kernels.label_sums(
        log_sum, c.label_begin, c.label_atoms, c.label_base, c.without_begin, c.without_atoms
    )
    is_open = c.distance <= left
    after_m, after_k = kernels.backward(
        label_m, label_k, c.row, c.edge_label, c.edge_target, c.first_positions(state), is_open
    )
    if after_m[0, state] == 0.0:
        raise ConfigurationError("every valid string has probability 0", hint="pass finite log-probabilities")
    return _Row(values, c, state, is_open, log_sum, mean_log, label_m, label_k, after_m, after_k)


def condition_atoms(log_sum: FloatArray, constraint: Constraint) -> _Row:
    """Condition one canvas whose probabilities are already summed over the constraint's atoms.

    The tokens of an atom are taken as equally probable.

    Args:
        log_sum: ``(L, K)`` float64 log-probabilities of the atoms.
        constraint: The constraint, from its start; the output must end inside the canvas.
    """
    size = np.maximum(constraint.atom_size, 1)
    log_sum = np.where(constraint.atom_size > 0, log_sum, -np.inf)
    mean_log = np.where(constraint.atom_size > 0, log_sum - np.log(size), 0.0)
    return _run_backward(np.zeros((0, 0)), log_sum, mean_log, constraint, constraint.start_state, 0)


def _sum_atoms(values: torch.Tensor, constraint: Constraint) -> tuple[FloatArray, FloatArray]:
    """Sum probabilities over atoms, some positions at a time."""
    step = max(1, _CHUNK_ELEMENTS // values.shape[1])
    parts = []
    for chunk in torch.split(values, step):
        peak = chunk.double().amax(dim=1)  # (l,)
        peak = torch.where(torch.isfinite(peak), peak, torch.zeros_like(peak))
        scaled = torch.exp(chunk.double() - peak[:, None])  # (l, V)
        parts.append(
            kernels.sum_atoms(chunk.numpy(), scaled.numpy(), peak.numpy(), constraint.token_atom, constraint.num_atoms)
        )
    return np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])
