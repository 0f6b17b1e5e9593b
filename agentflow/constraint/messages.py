"""The messages of one canvas: what leads to each state, and what may follow it.

Two ways to the same sums. In plain doubles a canvas costs about a nanosecond per position and edge; that is exact while
the language is more probable than 1e-250, which covers all but models that contradict the schema throughout. Below
that, every number carries an exponent of its own. Which way is taken is decided by the result of the first.

Where the model says that the text ends early, the positions behind it cost nothing: the probability that the text
goes on past a *horizon* is at most the product of what the positions before it leave for text, so the horizon is
the first position at which that product is lost beside the probability of the language.

Shapes: ``L`` positions, ``K`` atoms, ``C`` labels, ``S`` chain states.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from agentflow.constraint import trellis_plain as plain
from agentflow.constraint import trellis_scaled as scaled
from agentflow.constraint.automaton import IntArray
from agentflow.constraint.chain import Chain
from agentflow.constraint.vectors import WIDTH
from agentflow.errors import ConfigurationError

FloatArray = npt.NDArray[np.float64]

_LOG_LOST = -45.0
"""Log of the share of the language's probability that may be lost behind a horizon: 3e-20."""
_LOG_FIRST_GUESS = -150.0
_MOST_MASS = 1.01
_LOG_STEP = 256 * np.log(2.0)
_LOG_SCALE = float(np.log(plain.SCALE))
_LOG_LEAST_MASS = -600.0
"""Log of the least probability of an atom with which sums below the trusted ones are trusted."""


class Sums(NamedTuple):
    """A canvas summed over atoms.

    Attributes:
        mass: ``(L, K)`` float64, probability of each atom.
        log_sum: ``(L, K)`` float64, its logarithm, exact where the probability is below the range of a double; -inf:
            empty.
        mean_log: ``(L, K)`` float64, mean log-probability of the tokens within the atom.
    """

    mass: FloatArray
    log_sum: FloatArray
    mean_log: FloatArray


class Marginals(NamedTuple):
    """What conditioning does to each position.

    Attributes:
        log_weight: ``(L, K)`` float64, log of what multiplies the probability of an atom's tokens; -inf: impossible.
        entropies: ``(L,)`` float64, nats.
        tail: ``(L,)`` float64, probability that the position lies behind the end token.
    """

    log_weight: FloatArray
    entropies: FloatArray
    tail: FloatArray


def entropies_of(log_weight: FloatArray, sums: Sums, atom_size: npt.NDArray[np.int64]) -> FloatArray:
    """Give the entropy of each position, ``(L,)`` nats.

    ``-sum_a Q_a (mean log p within a + log w_a)`` with ``Q_a = w_a P_a``: no term is a small difference of large
    numbers, and a position at which one token has all the mass has entropy exactly 0.
    """
    is_possible = (log_weight > -np.inf) & (sums.log_sum > -np.inf)  # (L, K)
    # what is impossible has share exp(-inf) = 0 and must not multiply an infinity
    log_share = np.where(is_possible, log_weight + np.where(is_possible, sums.log_sum, 0.0), -np.inf)  # (L, K)
    surprise = np.where(is_possible, sums.mean_log + log_weight, 0.0)  # (L, K)
    entropies = -(np.exp(log_share) * surprise).sum(axis=1)  # (L,)
    is_certain = (is_possible * np.minimum(atom_size, 2)).sum(axis=1) == 1  # (L,)
    return np.where(is_certain, 0.0, np.maximum(entropies, 0.0))


@dataclass(frozen=True, eq=False)
class PlainMessages:
    """Messages in plain doubles."""

    chain: Chain
    start: int
    sums: Sums
    label: FloatArray  # (L, C + 2) probabilities of the labels
    after: FloatArray  # (L + 1, M) by node

    @property
    def log_partition(self) -> float:
        """Log of the probability of the language."""
        return float(np.log(self.after[0, self.chain.layout.place[self.start]])) - _LOG_SCALE

    def marginals(self, atom_size: npt.NDArray[np.int64]) -> Marginals:
        """Run forward; `atom_size` is ``(K,)``."""
        c = self.chain
        weight, tail = forward(self.label, c, self.start, self.after)
        by_atom = scatter(weight, c)  # (L, K)
        with np.errstate(divide="ignore"):
            log_weight = np.log(by_atom)  # (L, K)
        entropies = np.zeros(len(by_atom))  # (L,)
        plain.entropies(by_atom, log_weight, self.sums.mass, self.sums.mean_log, atom_size, entropies)
        return Marginals(log_weight, entropies, tail)

    def draw_atoms(self, uniform: FloatArray) -> IntArray:
        """Draw one path; `uniform` is ``(L, 3)``. Gives atoms, ``(L,)`` int32."""
        c = self.chain
        atoms: IntArray = plain.draw_path(
            self.label, c.node_row, c.edge_label, c.node_target, c.layout.place[self.start], self.after, c.label_begin,
            c.label_atoms, self.sums.mass, uniform,
        )  # fmt: skip
        return atoms


@dataclass(frozen=True, eq=False)
class ScaledMessages:
    """Messages with an exponent per number, for probabilities that no double holds."""

    chain: Chain
    start: int
    sums: Sums
    label_m: FloatArray  # (L, C)
    label_k: IntArray  # (L, C)
    after_m: FloatArray  # (L + 1, S)
    after_k: IntArray  # (L + 1, S)

    @property
    def log_partition(self) -> float:
        """Log of the probability of the language."""
        return float(np.log(self.after_m[0, self.start]) + _LOG_STEP * self.after_k[0, self.start])

    def marginals(self, atom_size: npt.NDArray[np.int64]) -> Marginals:
        """Run forward; `atom_size` is ``(K,)``."""
        c = self.chain
        log_label, share, tail = scaled.forward_weights(
            self.label_m, self.label_k, c.row, c.edge_label, c.edge_target, self.start, self.after_m, self.after_k,
            c.final,
        )  # fmt: skip
        log_weight = scaled.atom_weights(log_label, share, c.label_begin, c.label_atoms, len(atom_size))
        return Marginals(log_weight, entropies_of(log_weight, self.sums, atom_size), tail)

    def draw_atoms(self, uniform: FloatArray) -> IntArray:
        """Draw one path; `uniform` is ``(L, 3)``. Gives atoms, ``(L,)`` int32."""
        c = self.chain
        atoms: IntArray = scaled.draw_path(
            self.label_m, self.label_k, c.row, c.edge_label, c.edge_target, self.start, self.after_m, self.after_k,
            c.label_begin, c.label_atoms, self.sums.log_sum, uniform,
        )  # fmt: skip
        return atoms


@dataclass(frozen=True, eq=False)
class Horizon:
    """How much probability the positions leave for text that has not ended.

    Attributes:
        log_text: ``(L + 1,)`` float64, log of an upper bound on the probability that no end token stands before
            position i.
    """

    log_text: FloatArray

    @classmethod
    def of(cls, log_text: FloatArray) -> Horizon:
        """Make it from the log-probability of text at each position, ``(L,)``."""
        return cls(np.concatenate([[0.0], np.cumsum(np.minimum(log_text, 0.0))]))

    def at(self, log_bound: float) -> int:
        """Give the first position at which the bound is below `log_bound`, or ``L``."""
        below = np.flatnonzero(self.log_text < log_bound)
        return int(below[0]) if len(below) else len(self.log_text) - 1

    @cached_property
    def first_guess(self) -> int:
        """Where to look first."""
        return self.at(_LOG_FIRST_GUESS)

    def is_lost(self, position: int, log_partition: float) -> bool:
        """Say whether what goes on past `position` is negligible beside `log_partition`."""
        return position == len(self.log_text) - 1 or bool(self.log_text[position] < log_partition + _LOG_LOST)


def run_backward(sums: Sums, chain: Chain, state: int, num_tokens_left: int) -> PlainMessages | ScaledMessages:
    """Sum over all ways to finish.

    Args:
        sums: The canvas.
        chain: The constraint.
        state: Chain state before the canvas.
        num_tokens_left: Tokens that may follow the canvas.

    Raises:
        ConfigurationError: Every valid string has probability 0, or the tokens of a position have more than 1.
    """
    return _run_plain(sums, chain, state, num_tokens_left) or run_scaled(sums, chain, state, num_tokens_left)


def _run_plain(sums: Sums, chain: Chain, state: int, num_tokens_left: int) -> PlainMessages | None:
    """Use plain doubles; ``None`` where they do not do."""
    mass = sums.mass
    totals = mass @ np.stack([np.ones(mass.shape[1]), chain.is_text], axis=1)  # (L, 2) all, and text
    if not (most := totals[:, 0].max()) <= _MOST_MASS:
        raise ConfigurationError(
            f"the probabilities of a position sum to {most:.3g}", hint="pass logits.log_softmax(-1), not logits"
        )
    label = gather(mass, chain)  # (L, C + 2)
    with np.errstate(divide="ignore"):
        horizon = Horizon.of(np.log(totals[:, 1]))
    end = horizon.first_guess
    while True:
        after = _run_to(end, label, chain, state, num_tokens_left)  # (L + 1, M)
        partition = float(after[0, chain.layout.place[state]])
        log_partition = float(np.log(partition)) - _LOG_SCALE if partition > 0.0 else -np.inf
        if not _is_trusted(partition, sums):
            if end == len(label):
                return None
            end = len(label)
        elif horizon.is_lost(end, log_partition):
            return PlainMessages(chain, state, sums, label, after)
        else:
            end = max(end + 1, horizon.at(log_partition + _LOG_LOST))


def forward(label: FloatArray, chain: Chain, start: int, after: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Give what multiplies each label's probability in its marginal, ``(L, C + 2)``, and the tail, ``(L,)``."""
    weight, tail = np.zeros_like(label), np.zeros(len(label))
    share, active = np.zeros((2, after.shape[1])), np.empty((2, after.shape[1] + 1), np.uint32)
    place = chain.layout.place
    plain.forward(
        label, chain.node_row, chain.edge_label, chain.node_target, place[start], after, place[chain.final], weight,
        tail, share, active,
    )  # fmt: skip
    return weight, tail


def gather(mass: FloatArray, chain: Chain) -> FloatArray:
    """Sum atoms over labels, ``(L, K)`` to ``(L, C + 2)``; the last columns are 1, no token is read, and 0."""
    label = np.empty((len(mass), len(chain.label_begin) + 1))  # (L, C + 2)
    label[:, -2], label[:, -1] = 1.0, 0.0
    plain.gather(mass, chain.sum_begin, chain.sum_members, chain.num_parts, _table(chain), label)
    return label


def scatter(weight: FloatArray, chain: Chain) -> FloatArray:
    """Add weights of labels to their atoms, ``(L, C + 2)`` to ``(L, K)``."""
    total = np.empty((len(weight), len(chain.is_text)))  # (L, K)
    plain.scatter(weight, chain.sum_begin, chain.sum_members, chain.num_parts, _table(chain), total)
    return total


def _table(chain: Chain) -> FloatArray:
    return np.zeros((len(chain.is_text) + len(chain.sum_begin) - 1) * plain.BLOCK)


def _is_trusted(partition: float, sums: Sums) -> bool:
    """Say whether doubles hold all that matters: what follows is written times a scale, single tokens are not."""
    if partition < plain.TRUSTED:
        return False
    if partition > plain.TRUSTED * plain.SCALE:
        return True
    return not plain.has_between(sums.log_sum, -np.inf, _LOG_LEAST_MASS)


def _run_to(end: int, label: FloatArray, chain: Chain, state: int, num_tokens_left: int) -> FloatArray:
    """Run backward from position `end`, behind which only the tail counts; ``(L + 1, M)``."""
    length, layout = len(label), chain.layout
    after = empty_rows(length + 1, layout.num_state_nodes)  # (L + 1, M)
    after[end:] = 0.0  # before that, what can be reached is written, and nothing else is read
    tail, final = int(chain.edge_label[chain.row[chain.final]]), int(layout.place[chain.final])
    after[length, final] = plain.SCALE
    after[end:length, final] = np.cumprod(label[end:][::-1, tail])[::-1] * plain.SCALE
    if end == length:
        after[length, layout.place[chain.distance <= num_tokens_left]] = plain.SCALE
    rows = empty_rows(3, layout.num_nodes)  # (3, N)
    rows[:] = 0.0
    rows[end & 1, : layout.num_state_nodes] = after[end]
    plain.backward(
        label, *layout.lanes, *layout.loose, layout.loose_node, layout.filled, *layout.begin,
        chain.groups_reached_within(length, state), rows[2], rows[:2], after, end, final, tail,
    )  # fmt: skip
    return after


def empty_rows(num_rows: int, width: int) -> FloatArray:
    """Make an array whose units of eight numbers do not cross lines of the cache."""
    values = np.empty(num_rows * width + WIDTH)
    first = -(values.ctypes.data // values.itemsize) % WIDTH
    rows: FloatArray = values[first : first + num_rows * width].reshape(num_rows, width)
    return rows


def run_scaled(sums: Sums, chain: Chain, state: int, num_tokens_left: int) -> ScaledMessages:
    """Sum with an exponent per number; see `run_backward`, which calls this where plain doubles do not do."""
    label_m, label_k = scaled.label_sums(sums.log_sum, chain.label_begin, chain.label_atoms)
    after_m, after_k = scaled.backward(
        label_m, label_k, chain.row, chain.edge_label, chain.edge_target,
        chain.reached_within(len(label_m), state), chain.distance <= num_tokens_left,
    )  # fmt: skip
    if after_m[0, state] == 0.0:
        raise ConfigurationError("every valid string has probability 0", hint="pass finite log-probabilities")
    return ScaledMessages(chain, state, sums, label_m, label_k, after_m, after_k)
