"""Compiled inner loops of `agentflow.constraint.assembly_kernels`: places of the graph, and what may follow in them."""

# mypy: disable-error-code=untyped-decorator
# ruff: noqa: PLR0917 - numba compiles functions of positional arrays, loops and all
from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from agentflow.constraint.pool_kernels import (
    EDGES,
    LABELS,
    LESS,
    NO_PAIRS,
    NO_TOKENS,
    NODES,
    PAIRS,
    PLACE,
    ROW_ITEMS,
    ROWS,
    STAMP,
    TOKENS,
    WAITING,
    WORK,
    intern,
    room,
    rows_room,
    sort,
)


class Net(NamedTuple):
    """The grammar graph, spelt. Key: ``G`` nodes of the graph, ``M`` nodes within literals, ``P`` pairs.

    Attributes:
        token_begin: ``(G + 1,)`` int64, where the tokens of each node begin.
        tokens: ``(N, 2)`` int32, token and next node.
        middle: ``(M, 2)`` int32, token and next node.
        jump_begin: ``(G + 1,)`` int64.
        jumps: int32, nodes.
        pair_begin: ``(G + 1,)`` int64.
        pairs: int32, pairs that begin at each node.
        rest_begin: ``(G + 1,)`` int64.
        rests: ``(N, 2)`` int32, name of what a token spells beyond a slot, and the node behind it.
        has_runs: ``(G,)`` bool; the end counts as having some.
        place: ``(G + M,)`` int32, place of each node, -1: not made yet.
        stamp: ``(G + M,)`` int64, scratch.
        pair_stamp: ``(P,)`` int64, scratch.
        token_label: ``(V,)`` int32, label of each token, -1: none yet.
    """

    token_begin: Any
    tokens: Any
    middle: Any
    jump_begin: Any
    jumps: Any
    pair_begin: Any
    pairs: Any
    rest_begin: Any
    rests: Any
    has_runs: Any
    place: Any
    stamp: Any
    pair_stamp: Any
    token_label: Any


@njit(cache=True, nogil=True)
def _name_place(pool: Any, nodes: Any, num_nodes: Any, pairs: Any, num_pairs: Any) -> Any:
    """Name a place; the members begin at index 1 of `nodes` and `pairs`, in any order."""
    nodes[0] = NODES
    sort(nodes, 1, 1 + num_nodes)
    pool, first = intern(pool, nodes, 1 + num_nodes)
    pairs[0] = PAIRS
    sort(pairs, 1, 1 + num_pairs)
    pool, second = intern(pool, pairs, 1 + num_pairs)
    return intern(pool, np.array([PLACE, first, second], np.int32), 3)


@njit(cache=True, nogil=True)
def place_of(net: Any, pool: Any, node: Any) -> Any:
    """Follow jumps from a node; give the pool and the place."""
    jump_begin, jumps, pair_begin, net_pairs, has_runs, known_place, stamp, pair_stamp = (
        net.jump_begin,
        net.jumps,
        net.pair_begin,
        net.pairs,
        net.has_runs,
        net.place,
        net.stamp,
        net.pair_stamp,
    )
    if known_place[node] >= 0:
        return pool, np.int64(known_place[node])
    if node >= len(has_runs):
        pool, first = intern(pool, np.array([NODES, node], np.int32), 2)
        pool, place = intern(pool, np.array([PLACE, first, NO_PAIRS], np.int32), 3)
        known_place[node] = place
        return pool, place
    num = pool.num
    num[STAMP] += 1
    now = num[STAMP]
    todo = np.empty(16, np.int32)
    nodes = np.empty(16, np.int32)
    pairs = np.empty(16, np.int32)
    num_todo, num_nodes, num_pairs = 1, 0, 0
    todo[0] = node
    stamp[node] = now
    while num_todo:
        num_todo -= 1
        at = todo[num_todo]
        if has_runs[at]:
            nodes = room(nodes, num_nodes + 2)
            nodes[num_nodes + 1] = at
            num_nodes += 1
        for i in range(pair_begin[at], pair_begin[at + 1]):
            pair = net_pairs[i]
            if pair_stamp[pair] != now:
                pair_stamp[pair] = now
                pairs = room(pairs, num_pairs + 2)
                pairs[num_pairs + 1] = pair
                num_pairs += 1
        for i in range(jump_begin[at], jump_begin[at + 1]):
            other = jumps[i]
            if stamp[other] != now:
                stamp[other] = now
                todo = room(todo, num_todo + 1)
                todo[num_todo] = other
                num_todo += 1
    num[WORK] += num_nodes
    pool, place = _name_place(pool, nodes, num_nodes, pairs, num_pairs)
    known_place[node] = place
    return pool, place


@njit(cache=True, nogil=True)
def join(net: Any, pool: Any, places: Any, num_places: Any) -> Any:
    """Give the place that is several places at once."""
    stamp, pair_stamp = net.stamp, net.pair_stamp
    if num_places == 1:
        return pool, np.int64(places[0])
    num = pool.num
    num[STAMP] += 1
    now = num[STAMP]
    nodes = np.empty(16, np.int32)
    pairs = np.empty(16, np.int32)
    num_nodes, num_pairs = 0, 0
    items, begin = pool.items, pool.begin
    for p in range(num_places):
        at = begin[places[p]]
        first, second = items[at + 1], items[at + 2]
        for i in range(begin[first] + 1, begin[first + 1]):
            node = items[i]
            if stamp[node] != now:
                stamp[node] = now
                nodes = room(nodes, num_nodes + 2)
                nodes[num_nodes + 1] = node
                num_nodes += 1
        for i in range(begin[second] + 1, begin[second + 1]):
            pair = items[i]
            if pair_stamp[pair] != now:
                pair_stamp[pair] = now
                pairs = room(pairs, num_pairs + 2)
                pairs[num_pairs + 1] = pair
                num_pairs += 1
    num[WORK] += num_nodes
    return _name_place(pool, nodes, num_nodes, pairs, num_pairs)


@njit(cache=True, nogil=True)
def place_of_all(net: Any, pool: Any, nodes: Any, num_nodes: Any) -> Any:
    """Give the place that some nodes are at once; `nodes` is overwritten by their places."""
    for i in range(num_nodes):
        pool, nodes[i] = place_of(net, pool, nodes[i])
    return join(net, pool, nodes, num_nodes)


@njit(cache=True, nogil=True)
def with_nodes(net: Any, pool: Any, one: Any, other: Any) -> Any:
    """Join two sets of nodes."""
    stamp = net.stamp
    if one == other or pool.begin[other + 1] - pool.begin[other] == 1:
        return pool, one
    num = pool.num
    num[STAMP] += 1
    now = num[STAMP]
    items = pool.items
    low, high = pool.begin[one], pool.begin[one + 1]
    low_b, high_b = pool.begin[other] + 1, pool.begin[other + 1]
    nodes = np.empty(high - low + high_b - low_b, np.int32)
    length = 0
    for i in range(low, high):
        nodes[length] = items[i]
        length += 1
        if i > low:
            stamp[items[i]] = now
    for i in range(low_b, high_b):
        if stamp[items[i]] != now:
            nodes[length] = items[i]
            length += 1
    sort(nodes, 1, length)
    return intern(pool, nodes, length)


@njit(cache=True, nogil=True)
def token_label_of(net: Any, labels: Any, num: Any, token: Any) -> Any:
    """Give the label of one token."""
    label = net.token_label[token]
    if label < 0:
        label = np.int32(num[LABELS])
        labels = rows_room(labels, label + 1)
        labels[label, 0] = -1
        labels[label, 1] = token
        labels[label, 2] = NO_TOKENS
        net.token_label[token] = label
        num[LABELS] += 1
    return labels, label


@njit(cache=True, nogil=True)
def less(pool: Any, labels: Any, label: Any, tokens: Any, num_tokens: Any) -> Any:
    """Give a label without some tokens; they begin at index 1 of `tokens`, in any order, perhaps twice."""
    if num_tokens == 0:
        return pool, labels, np.int32(label)
    tokens[0] = TOKENS
    sort(tokens, 1, 1 + num_tokens)
    kept = 1
    for i in range(2, 1 + num_tokens):
        if tokens[i] != tokens[kept]:
            kept += 1
            tokens[kept] = tokens[i]
    pool, left_out = intern(pool, tokens, 1 + kept)
    pool, name = intern(pool, np.array([LESS, label, left_out], np.int32), 3)
    if pool.value[name] < 0:
        fresh = pool.num[LABELS]
        labels = rows_room(labels, fresh + 1)
        labels[fresh, 0] = labels[label, 0]
        labels[fresh, 1] = labels[label, 1]
        labels[fresh, 2] = left_out
        pool.num[LABELS] += 1
        pool.value[name] = fresh
    return pool, labels, pool.value[name]


@njit(cache=True, nogil=True)
def want(pool: Any, waiting: Any, place: Any) -> Any:
    """See to it that a place gets a state."""
    if pool.value[place] != -1:
        return waiting
    pool.value[place] = -2
    at = pool.num[WAITING]
    waiting = room(waiting, at + 1)
    waiting[at] = place
    pool.num[WAITING] = at + 1
    return waiting


@njit(cache=True, nogil=True)
def make_row(net: Any, pool: Any, row_begin: Any, rows: Any, labels: Any, waiting: Any, name: Any) -> Any:
    """Make the row of tokens of a set of nodes; give what may have grown, and the number of the row."""
    token_begin, tokens, middle, has_runs = net.token_begin, net.tokens, net.middle, net.has_runs
    known = np.int64(pool.value[name])
    if known >= 0:
        return pool, row_begin, rows, labels, waiting, known
    num = pool.num
    num_graph = len(has_runs)
    items = pool.items
    low, high = pool.begin[name] + 1, pool.begin[name + 1]
    total = 0
    for i in range(low, high):
        node = items[i]
        total += 1 if node >= num_graph else token_begin[node + 1] - token_begin[node]
    keys = np.empty(total, np.int64)
    at = 0
    for i in range(low, high):
        node = items[i]
        if node >= num_graph:
            keys[at] = (np.int64(middle[node - num_graph, 0]) << 32) + middle[node - num_graph, 1]
            at += 1
        else:
            for e in range(token_begin[node], token_begin[node + 1]):
                keys[at] = (np.int64(tokens[e, 0]) << 32) + tokens[e, 1]
                at += 1
    sort(keys, 0, total)
    number, used = num[ROWS], num[ROW_ITEMS]
    row_begin = room(row_begin, number + 2)
    behind = np.empty(16, np.int32)
    i = 0
    while i < total:
        token = keys[i] >> 32
        behind[0] = np.int32(keys[i] & 0xFFFFFFFF)
        num_behind = 1
        i += 1
        while i < total and keys[i] >> 32 == token:
            if keys[i] != keys[i - 1]:
                behind = room(behind, num_behind + 1)
                behind[num_behind] = np.int32(keys[i] & 0xFFFFFFFF)
                num_behind += 1
            i += 1
        pool, place = place_of_all(net, pool, behind, num_behind)
        rows = rows_room(rows, used + 1)
        labels, label = token_label_of(net, labels, num, token)
        rows[used, 0] = label
        rows[used, 1] = place
        waiting = want(pool, waiting, place)
        used += 1
    row_begin[number] = num[ROW_ITEMS]
    row_begin[number + 1] = used
    num[ROWS] += 1
    num[ROW_ITEMS] = used
    num[WORK] += total
    pool.value[name] = number
    return pool, row_begin, rows, labels, waiting, number


@njit(cache=True, nogil=True)
def write_edge(edges: Any, num: Any, source: Any, label: Any, target: Any) -> None:
    """Write an edge, for which there is room."""
    at = num[EDGES]
    edges[at, 0] = source
    edges[at, 1] = label
    edges[at, 2] = target
    num[EDGES] = at + 1
