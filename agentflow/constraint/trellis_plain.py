"""Compiled inner loops over positions x states in plain doubles: sums, messages, weights, a draw.

Key: ``L`` positions, ``K`` atoms, ``C`` labels, ``S`` states, ``N`` nodes, ``U`` units; states with their edges and
atoms with their labels are laid out as `agentflow.constraint.layout` and `agentflow.constraint.labels` say.

The tokens of a position have probabilities that sum to 1, so whatever leads to a state has probability at most 1, and
so has what follows it. What follows is written times `SCALE`, one number for all of them: no other scale is carried,
and none is needed while the language as a whole is likely enough. What is flushed to zero here is below `FLUSH`, and
all of it together takes at most ``L * S * FLUSH`` from what is written for the language. Where that is above
`TRUSTED`, the error is below 1e-30 of it; where it is not, `agentflow.constraint.trellis_scaled` does the same
sums with an exponent per state.
"""

# mypy: disable-error-code=untyped-decorator
# ruff: noqa: PLR0917, C901 - numba compiles flat loops over positional arrays
from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from agentflow.constraint.vectors import add_product, keep_above, load, splat, store

SCALE = 2.0**900
FLUSH = 1e-290
TRUSTED = 1e-250
UNSEEN = 1e-20
"""Posterior probability of a state below which what follows it is left out of the marginals."""
BLOCK = 32
"""Positions that are summed together: their sums over atoms stay in the cache."""


@njit(cache=True, nogil=True)
def gather(mass: Any, begin: Any, members: Any, num_parts: Any, table: Any, label: Any) -> None:
    """Sum atoms over labels.

    Args:
        mass: ``(L, K)`` float64 probabilities.
        begin: ``(P + C + 1,)``, where the members of each part and label begin; see `Labels`.
        members: ``(N,)``, atoms below ``K``, parts from there.
        num_parts: ``P``.
        table: ``((K + P + C) * BLOCK,)`` float64 zeros, to work with.
        label: ``(L, C + 1)`` float64, filled in place but for the last column.
    """
    num_positions, num_atoms = mass.shape
    num_sums = len(begin) - 1
    for first in range(0, num_positions, BLOCK):
        num = min(BLOCK, num_positions - first)
        for i in range(num):
            for k in range(num_atoms):
                table[k * BLOCK + i] = mass[first + i, k]
        for c in range(num_sums):
            t0 = t1 = t2 = t3 = splat(0.0)
            for j in range(begin[c], begin[c + 1]):
                at = np.uintp(members[j]) * np.uintp(BLOCK)
                t0 = add_product(t0, 1.0, load(table, at))
                t1 = add_product(t1, 1.0, load(table, at + np.uintp(8)))
                t2 = add_product(t2, 1.0, load(table, at + np.uintp(16)))
                t3 = add_product(t3, 1.0, load(table, at + np.uintp(24)))
            at = np.uintp(num_atoms + c) * np.uintp(BLOCK)
            store(table, at, t0)
            store(table, at + np.uintp(8), t1)
            store(table, at + np.uintp(16), t2)
            store(table, at + np.uintp(24), t3)
        for i in range(num):
            for c in range(num_parts, num_sums):
                label[first + i, c - num_parts] = table[(num_atoms + c) * BLOCK + i]


@njit(cache=True, nogil=True)
def scatter(weight: Any, begin: Any, members: Any, num_parts: Any, table: Any, total: Any) -> None:
    """Add each label's weight to its atoms: the transpose of `gather`, ``(L, C + 1)`` to `total`, ``(L, K)``."""
    num_positions, num_atoms = total.shape
    num_sums = len(begin) - 1
    for first in range(0, num_positions, BLOCK):
        num = min(BLOCK, num_positions - first)
        for i in range((num_atoms + num_parts) * BLOCK):
            table[i] = 0.0
        for i in range(num):
            for c in range(num_parts, num_sums):
                table[(num_atoms + c) * BLOCK + i] = weight[first + i, c - num_parts]
        for c in range(num_sums - 1, -1, -1):
            gained = 0.0
            for i in range(num):
                gained += table[(num_atoms + c) * BLOCK + i]
            if gained == 0.0:
                continue
            at = np.uintp(num_atoms + c) * np.uintp(BLOCK)
            t0 = load(table, at)
            t1 = load(table, at + np.uintp(8))
            t2 = load(table, at + np.uintp(16))
            t3 = load(table, at + np.uintp(24))
            for j in range(begin[c], begin[c + 1]):
                at = np.uintp(members[j]) * np.uintp(BLOCK)
                store(table, at, add_product(t0, 1.0, load(table, at)))
                store(table, at + np.uintp(8), add_product(t1, 1.0, load(table, at + np.uintp(8))))
                store(table, at + np.uintp(16), add_product(t2, 1.0, load(table, at + np.uintp(16))))
                store(table, at + np.uintp(24), add_product(t3, 1.0, load(table, at + np.uintp(24))))
        for i in range(num):
            for k in range(num_atoms):
                total[first + i, k] = table[k * BLOCK + i]


@njit(cache=True, nogil=True)
def entropies(weight: Any, log_weight: Any, mass: Any, mean_log: Any, atom_size: Any, found: Any) -> None:
    """Give the entropy of each position; see `agentflow.constraint.messages.entropies_of`.

    Args:
        weight: ``(L, K)``, what multiplies the probability of an atom's tokens.
        log_weight: ``(L, K)``, its logarithm.
        mass: ``(L, K)`` probabilities of the atoms.
        mean_log: ``(L, K)``, mean log-probability of the tokens within the atom.
        atom_size: ``(K,)``.
        found: ``(L,)`` zeros, filled in place, nats.
    """
    for i in range(len(weight)):
        total = 0.0
        num_tokens = 0
        for k in range(weight.shape[1]):
            share = weight[i, k] * mass[i, k]
            if share > 0.0:
                total -= share * (mean_log[i, k] + log_weight[i, k])
                num_tokens += atom_size[k]
        if num_tokens != 1 and total > 0.0:
            found[i] = total


@njit(cache=True, nogil=True)
def _follow(
    label: Any, unit_begin: Any, lane_row: Any, lane_label: Any, lane_target: Any, row: Any, edge_label: Any,
    edge_target: Any, first: Any, last: Any, following: Any, here: Any,
) -> None:  # fmt: skip
    """Fill `here` for the units from `first` to before `last`; what a unit writes too much, the next one corrects."""
    for u in range(first, last):
        b = np.int64(unit_begin[u])
        num = np.int64(unit_begin[u + 1]) - b
        if num == 1:
            total = 0.0
            for j in range(row[b], row[b + 1]):
                total += label[edge_label[j]] * following[edge_target[j]]
            here[b] = total if total > FLUSH else 0.0
            continue
        totals = splat(0.0)
        for j in range(lane_row[u], lane_row[u + 1]):
            totals = add_product(totals, label[lane_label[j]], load(following, np.uintp(lane_target[j])))
        store(here, np.uintp(b), keep_above(totals, FLUSH))
        if row[b + num] == row[b]:
            continue
        for s in range(b, b + num):
            total = 0.0
            for j in range(row[s], row[s + 1]):
                total += label[edge_label[j]] * following[edge_target[j]]
            if total > FLUSH:
                here[s] += total


@njit(cache=True, nogil=True)
def backward(
    label: Any, unit_begin: Any, lane_row: Any, lane_label: Any, lane_target: Any, row: Any, edge_label: Any,
    edge_target: Any, num_units: Any, num_reached: Any, num_shared: Any, after: Any, horizon: Any, final: Any,
    tail: Any,
) -> None:  # fmt: skip
    """Sum, for each position and state, over all ways to go on to the end of the canvas, times `SCALE`.

    Args:
        label: ``(L, C + 1)`` float64 probabilities of the labels, and 1.
        unit_begin: ``(U + 1,)``; this and the following six are arrays of `Layout`.
        lane_row: ``(U + 1,)``.
        lane_label: Labels of the edges of whole units.
        lane_target: Their targets.
        row: ``(N + 1,)``.
        edge_label: Labels of all other edges.
        edge_target: Their targets.
        num_units: Units of states; those of sums that states share come behind them.
        num_reached: ``(L,)``, where the units of states end that matter at each position.
        num_shared: ``(L,)``, where the others end.
        after: ``(L + 1, N + 8)``, from position `horizon` on zeros but for what ends there, the rest undefined but for
            the column of `final`; filled in place for what can be reached.
        horizon: Positions from here on are done.
        final: The absorbing state.
        tail: Label of its only edge.
    """
    for i in range(horizon - 1, -1, -1):
        following = after[i + 1]
        here = after[i]
        mass = label[i]
        _follow(
            mass, unit_begin, lane_row, lane_label, lane_target, row, edge_label, edge_target, num_units,
            num_shared[i], following, following,
        )  # fmt: skip
        _follow(
            mass, unit_begin, lane_row, lane_label, lane_target, row, edge_label, edge_target, 0, num_reached[i],
            following, here,
        )  # fmt: skip
        here[final] = mass[tail] * following[final]


@njit(cache=True, nogil=True)
def forward(
    label: Any, unit_begin: Any, lane_row: Any, lane_label: Any, lane_target: Any, row: Any, edge_label: Any,
    edge_target: Any, unit_of: Any, num_units: Any, start: Any, after: Any, final: Any, weight: Any, tail: Any,
    share: Any, active: Any, num_active: Any,
) -> None:  # fmt: skip
    """Run forward as a Markov chain over the states that matter; arguments are those of `backward`.

    With the backward messages at hand each state's posterior probability is known, so nothing needs a scale and
    states below `UNSEEN` can be left behind; few are left, so they are taken one by one. At each position, states hand
    on what they have to the labels and to the shared sums, and then the sums hand on theirs.

    Zeros are given to work with: `share` ``(2, N)``, `active` ``(3, N)`` uint32 (states now, states next, shared
    sums) and `num_active` ``(3,)`` int64. Zeros are filled in place: `weight` ``(L, C + 1)``, what multiplies each
    label's probability in its marginal, and `tail` ``(L,)``, the posterior probability of `final` before each position.
    """
    num_positions = len(label)
    first_shared = unit_begin[num_units]
    share[0, start] = 1.0
    active[0, 0] = start
    num_active[0] = 1
    for i in range(num_positions):
        now, then = i & 1, 1 - (i & 1)
        tail[i] = share[now, final]
        here, following, mass, gained = after[i], after[i + 1], label[i], weight[i]
        share_now, share_then = share[now], share[then]
        for phase in range(2):
            which = now if phase == 0 else 2
            for j in range(num_active[which]):
                s = active[which, j]
                scale = share_now[s]
                share_now[s] = 0.0
                if phase == 0:
                    if scale < UNSEEN or here[s] == 0.0:
                        continue
                    scale /= here[s]
                u = unit_of[s]
                lane = s - unit_begin[u]
                num_lane = lane_row[u + 1] - lane_row[u]
                num = num_lane + row[s + 1] - row[s]
                for k in range(num):
                    if k < num_lane:
                        c, t = lane_label[lane_row[u] + k], lane_target[lane_row[u] + k] + lane
                    else:
                        e = row[s] + k - num_lane
                        c, t = edge_label[e], edge_target[e]
                    if t >= first_shared:
                        if share_now[t] == 0.0:
                            active[2, num_active[2]] = t
                            num_active[2] += 1
                        share_now[t] += scale
                        continue
                    y = scale * following[t]
                    x = y * mass[c]
                    if x == 0.0:
                        continue
                    gained[c] += y
                    if share_then[t] == 0.0:
                        active[then, num_active[then]] = t
                        num_active[then] += 1
                    share_then[t] += x
            num_active[which] = 0


@njit(cache=True, nogil=True)
def draw_path(
    label: Any, row: Any, edge_label: Any, edge_target: Any, start: Any, after: Any, begin: Any, atoms: Any,
    mass: Any, uniform: Any,
) -> Any:  # fmt: skip
    """Draw one path from the posterior, edge by edge: forward, with the backward messages.

    Args:
        label: ``(L, C + 1)``; see `backward`.
        row: ``(S + 1,)``, where the edges of each state begin.
        edge_label: ``(E,)``.
        edge_target: ``(E,)``.
        start: State before the first position.
        after: ``(L + 1, N + 8)``.
        begin: ``(C + 1,)``, where the atoms of each label begin.
        atoms: ``(N,)``.
        mass: ``(L, K)``.
        uniform: ``(L, 3)`` float64 in [0, 1).

    Returns:
        ``(L,)`` int32 atoms.
    """
    num_positions = len(label)
    drawn = np.zeros(num_positions, np.int32)
    state = np.int64(start)
    for i in range(num_positions):
        following = after[i + 1]
        total = 0.0
        for e in range(row[state], row[state + 1]):
            total += label[i, edge_label[e]] * following[edge_target[e]]
        goal = uniform[i, 0] * total
        chosen = np.int64(-1)
        for e in range(row[state], row[state + 1]):
            x = label[i, edge_label[e]] * following[edge_target[e]]
            if x > 0.0:
                chosen = np.int64(e)
                goal -= x
                if goal < 0.0:
                    break
        c = edge_label[chosen]
        state = np.int64(edge_target[chosen])
        goal = uniform[i, 1] * label[i, c]
        for j in range(begin[c], begin[c + 1]):
            x = mass[i, atoms[j]]
            if x > 0.0:
                drawn[i] = atoms[j]
                goal -= x
                if goal < 0.0:
                    break
    return drawn
