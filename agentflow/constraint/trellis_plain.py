"""Compiled inner loops over positions x states in plain doubles: sums, messages, weights, a draw.

Key: ``L`` positions, ``K`` atoms, ``C`` labels, ``S`` states, ``N`` nodes, ``M`` of them for states; states
with their edges are laid out as `agentflow.constraint.layout` says, atoms with their labels as
`agentflow.constraint.labels` does.

The tokens of a position have probabilities that sum to 1, so whatever leads to a state has probability at most 1, and
so has what follows it. What follows is written times `SCALE`, one number for all of them: no other scale is carried,
and none is needed while the language as a whole is likely enough. What is flushed to zero here is below `FLUSH`, and
all of it together takes at most ``L * S * FLUSH`` from what is written for the language. Where that is above
`TRUSTED`, the error is below 1e-30 of it; where it is not, `agentflow.constraint.trellis_scaled` does the same
sums with an exponent per state.
"""

# mypy: disable-error-code=untyped-decorator
# ruff: noqa: PLR0917 - numba compiles flat loops over positional arrays
from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from agentflow.constraint.vectors import WIDTH, add_product, keep_above, load, splat, store, stream, turn

SCALE = 2.0**900
FLUSH = 1e-290
TRUSTED = 1e-250
UNSEEN = 1e-16
"""Posterior probability of a state, the rounding of a double, below which it and what follows it are left out of the
marginals: together less than 1e-9 of a position."""
BLOCK = 32
"""Positions that are summed together: their sums over atoms stay in the cache."""


@njit(cache=True, nogil=True)
def _turn(source: Any, at: Any, step: Any, target: Any, to: Any, stride: Any, num_rows: Any, num_columns: Any) -> None:
    """Write a matrix with its columns as rows: both lie in rows of numbers, from `at`, `step` apart, and from `to`."""
    rows, columns = num_rows - num_rows % WIDTH, num_columns - num_columns % WIDTH
    for i in range(0, rows, WIDTH):
        for k in range(0, columns, WIDTH):
            turn(
                source, np.uintp(at + step * i + k), np.uintp(step), target, np.uintp(to + stride * k + i),
                np.uintp(stride),
            )  # fmt: skip
    for i in range(num_rows):
        for k in range(columns if i < rows else 0, num_columns):
            target[to + stride * k + i] = source[at + step * i + k]


@njit(cache=True, nogil=True)
def gather(mass: Any, begin: Any, members: Any, num_parts: Any, table: Any, label: Any) -> None:
    """Sum atoms over labels.

    Args:
        mass: ``(L, K)`` float64 probabilities.
        begin: ``(P + C + 1,)``, where the members of each part and label begin; see `Labels`.
        members: ``(N,)``, atoms below ``K``, parts from there.
        num_parts: ``P``.
        table: ``((K + P + C) * BLOCK,)`` float64 zeros, to work with.
        label: ``(L, C + 2)`` float64, filled in place but for the last two columns.
    """
    num_positions, num_atoms = mass.shape
    num_sums = len(begin) - 1
    mass_row, label_row = mass.reshape(mass.size), label.reshape(label.size)
    for first in range(0, num_positions, BLOCK):
        num = min(BLOCK, num_positions - first)
        _turn(mass_row, first * num_atoms, num_atoms, table, 0, BLOCK, num, num_atoms)
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
        width, at_label = label.shape[1], (num_atoms + num_parts) * BLOCK
        _turn(table, at_label, BLOCK, label_row, first * width, width, num_sums - num_parts, num)


@njit(cache=True, nogil=True)
def scatter(weight: Any, begin: Any, members: Any, num_parts: Any, table: Any, total: Any) -> None:
    """Add each label's weight to its atoms: the transpose of `gather`, ``(L, C + 2)`` to `total`, ``(L, K)``."""
    num_positions, num_atoms = total.shape
    num_sums = len(begin) - 1
    weight_row, total_row = weight.reshape(weight.size), total.reshape(total.size)
    for first in range(0, num_positions, BLOCK):
        num = min(BLOCK, num_positions - first)
        for i in range((num_atoms + num_parts) * BLOCK):
            table[i] = 0.0
        width, at_label = weight.shape[1], (num_atoms + num_parts) * BLOCK
        _turn(weight_row, first * width, width, table, at_label, BLOCK, num, num_sums - num_parts)
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
        _turn(table, 0, BLOCK, total_row, first * num_atoms, num_atoms, num_atoms, num)


@njit(cache=True, nogil=True)
def has_between(values: Any, low: Any, high: Any) -> Any:
    """Say whether any number of an array ``(L, K)`` is above `low` and at most `high`."""
    for i in range(len(values)):
        num = 0
        for k in range(values.shape[1]):
            num += int((values[i, k] > low) & (values[i, k] <= high))
        if num > 0:
            return True
    return False


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
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
            surprise = share * (mean_log[i, k] + log_weight[i, k])
            total -= surprise if share > 0.0 else 0.0  # where nothing is possible it is no number
            num_tokens += atom_size[k] if share > 0.0 else 0
        if num_tokens != 1 and total > 0.0:
            found[i] = total


@njit(cache=True, nogil=True, fastmath={"contract"})
def _follow(
    mass: Any, lane_begin: Any, lane_edge: Any, first: Any, last: Any, loose_begin: Any, loose_edge: Any,
    loose_node: Any, first_loose: Any, last_loose: Any, following: Any, filled: Any, partial: Any, here: Any,
    is_kept: Any, kept: Any,
) -> None:  # fmt: skip
    """Fill `here` for the groups of units from `first` to before `last`, and `kept` if that is asked for."""
    one = np.uintp(1)
    shift = np.uintp(4 * loose_edge.itemsize)
    low = (one << shift) - one
    for g in range(np.uintp(first_loose), np.uintp(last_loose)):
        s0 = s1 = s2 = s3 = 0.0
        for step in range(np.uintp(loose_begin[g]), np.uintp(loose_begin[g + one])):
            e = step * np.uintp(4)
            x0 = np.uintp(loose_edge[e])
            x1 = np.uintp(loose_edge[e + one])
            x2 = np.uintp(loose_edge[e + np.uintp(2)])
            x3 = np.uintp(loose_edge[e + np.uintp(3)])
            s0 += mass[x0 >> shift] * following[x0 & low]
            s1 += mass[x1 >> shift] * following[x1 & low]
            s2 += mass[x2 >> shift] * following[x2 & low]
            s3 += mass[x3 >> shift] * following[x3 & low]
        at = g * np.uintp(4)
        partial[loose_node[at]] = s0
        partial[loose_node[at + one]] = s1
        partial[loose_node[at + np.uintp(2)]] = s2
        partial[loose_node[at + np.uintp(3)]] = s3
    for g in range(np.uintp(first), np.uintp(last)):
        at = g * np.uintp(32)
        t0 = load(partial, at)
        t1 = load(partial, at + np.uintp(8))
        t2 = load(partial, at + np.uintp(16))
        t3 = load(partial, at + np.uintp(24))
        for step in range(np.uintp(lane_begin[g]), np.uintp(lane_begin[g + one])):
            e = step * np.uintp(4)
            x0 = np.uintp(lane_edge[e])
            x1 = np.uintp(lane_edge[e + one])
            x2 = np.uintp(lane_edge[e + np.uintp(2)])
            x3 = np.uintp(lane_edge[e + np.uintp(3)])
            t0 = add_product(t0, mass[x0 >> shift], load(following, x0 & low))
            t1 = add_product(t1, mass[x1 >> shift], load(following, x1 & low))
            t2 = add_product(t2, mass[x2 >> shift], load(following, x2 & low))
            t3 = add_product(t3, mass[x3 >> shift], load(following, x3 & low))
        u = g * np.uintp(4)
        t0 = keep_above(t0, FLUSH, filled[u])
        t1 = keep_above(t1, FLUSH, filled[u + one])
        t2 = keep_above(t2, FLUSH, filled[u + np.uintp(2)])
        t3 = keep_above(t3, FLUSH, filled[u + np.uintp(3)])
        store(here, at, t0)
        store(here, at + np.uintp(8), t1)
        store(here, at + np.uintp(16), t2)
        store(here, at + np.uintp(24), t3)
        if is_kept:
            stream(kept, at, t0)
            stream(kept, at + np.uintp(8), t1)
            stream(kept, at + np.uintp(16), t2)
            stream(kept, at + np.uintp(24), t3)


@njit(cache=True, nogil=True)
def backward(
    label: Any, lane_begin: Any, lane_edge: Any, loose_begin: Any, loose_edge: Any, loose_node: Any, filled: Any,
    begin: Any, begin_loose: Any, reached: Any, partial: Any, rows: Any, after: Any, horizon: Any, final: Any,
    tail: Any,
) -> None:  # fmt: skip
    """Sum, for each position and state, over all ways to go on to the end of the canvas, times `SCALE`.

    Args:
        label: ``(L, C + 2)`` float64 probabilities of the labels, 1, and 0.
        lane_begin: The edges of whole units, in groups of four units; see `Layout`, as for all down to `reached`.
        lane_edge: Their labels and targets.
        loose_begin: All other edges, in groups of four nodes.
        loose_edge: Their labels and targets.
        loose_node: The nodes that have such edges.
        filled: ``(U,)`` uint8, the places of each unit that have a node, a bit each.
        begin: The first group of units of sums that states share.
        begin_loose: The first group of single ones.
        reached: ``(L, 4)``, where the groups end that matter at each position.
        partial: ``(N,)`` zeros, to work with: the sums over a node's other edges.
        rows: ``(2, N)``, to work with: the nodes at even and at odd positions. Zeros but for what ends at `horizon`.
        after: ``(L + 1, M)`` with the nodes of states alone, filled in place before `horizon` for what can be reached;
            rows begin at multiples of 64 bytes. They are more than a cache holds, and are written past it.
        horizon: Positions from here on are done.
        final: The node of the absorbing state.
        tail: Label of its only edge.
    """
    for i in range(horizon - 1, -1, -1):
        following, here = rows[1 - (i & 1)], rows[i & 1]
        mass = label[i]
        _follow(
            mass, lane_begin, lane_edge, begin, reached[i, 1], loose_begin, loose_edge, loose_node, begin_loose,
            reached[i, 3], following, filled, partial, following, False, after[i],
        )  # fmt: skip
        _follow(
            mass, lane_begin, lane_edge, 0, reached[i, 0], loose_begin, loose_edge, loose_node, 0, reached[i, 2],
            following, filled, partial, here, True, after[i],
        )  # fmt: skip
        after[i, final] = here[final] = mass[tail] * following[final]


@njit(cache=True, nogil=True)
def forward(
    label: Any, row: Any, edge_label: Any, edge_target: Any, start: Any, after: Any, final: Any,
    weight: Any, tail: Any, share: Any, active: Any,
) -> None:  # fmt: skip
    """Run forward as a Markov chain over the states that matter.

    With the backward messages at hand each state's posterior probability is known, so nothing needs a scale and
    states below `UNSEEN` can be left behind; few are left, so they are taken one by one.

    Args:
        label: ``(L, C + 2)``; see `backward`.
        row: ``(M + 1,)``, where the edges of each state's node begin.
        edge_label: ``(E,)``.
        edge_target: ``(E,)``, nodes.
        start: Node of the state before the first position.
        after: ``(L + 1, M)``.
        final: Node of the absorbing state.
        weight: ``(L, C + 2)`` zeros, filled in place: what multiplies each label's probability in its marginal.
        tail: ``(L,)``, filled in place: the posterior probability of `final` before each position.
        share: ``(2, M)`` zeros, to work with: the posterior probabilities now and next.
        active: ``(2, M + 1)`` uint32, to work with: the states that have some.
    """
    share[0, start] = 1.0
    active[0, 0] = start
    num_active = 1
    for i in range(len(label)):
        now, then = share[i & 1], share[1 - (i & 1)]
        active_now, active_then = active[i & 1], active[1 - (i & 1)]
        here, following, mass, gained = after[i], after[i + 1], label[i], weight[i]
        tail[i] = now[final]
        num_next = 0
        for j in range(num_active):
            s = active_now[j]
            scale = now[s]
            now[s] = 0.0
            if scale < UNSEEN or here[s] == 0.0:
                continue
            scale /= here[s]
            for e in range(row[s], row[s + np.uint64(1)]):
                t, c = edge_target[e], edge_label[e]
                y = scale * following[t]
                x = y * mass[c]
                if x == 0.0:
                    continue
                gained[c] += y
                active_then[num_next] = t  # stays if the state is new; a branch would often be foreseen wrongly
                num_next += int(then[t] == 0.0)
                then[t] += x
        num_active = num_next


@njit(cache=True, nogil=True)
def draw_path(
    label: Any, row: Any, edge_label: Any, edge_target: Any, start: Any, after: Any, begin: Any,
    atoms: Any, mass: Any, uniform: Any,
) -> Any:  # fmt: skip
    """Draw one path from the posterior, edge by edge: forward, with the backward messages.

    Args:
        label: ``(L, C + 2)``; see `backward`.
        row: ``(M + 1,)``, where the edges of each state's node begin.
        edge_label: ``(E,)``.
        edge_target: ``(E,)``, nodes.
        start: Node of the state before the first position.
        after: ``(L + 1, M)``.
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
