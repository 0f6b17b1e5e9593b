"""Compiled inner loops of `agentflow.constraint.assemble`: the subset construction.

Compiled by numba on first use and cached on disk, as in `agentflow.constraint.kernels`. What grows is named in
`agentflow.constraint.pool_kernels`.
"""

# mypy: disable-error-code=untyped-decorator
# ruff: noqa: PLR0917, C901, PLR0912, PLR0915 - numba compiles functions of positional arrays, loops and all
from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numba import njit

from agentflow.constraint.fragment import Packed
from agentflow.constraint.place_kernels import (
    Net,
    join,
    less,
    make_row,
    place_of,
    place_of_all,
    token_label_of,
    want,
    with_nodes,
    write_edge,
)
from agentflow.constraint.pool_kernels import (
    BESIDE,
    EDGES,
    LABELS,
    NO_NODES,
    NO_PAIRS,
    NO_TOKENS,
    NODES,
    PAIRS,
    STATES,
    STATUS,
    TODO,
    TOKENS,
    WAITING,
    WORK,
    Pool,
    intern,
    room,
    rows_room,
)
from agentflow.constraint.spelling_kernels import reach, spell

FINE, CONFLICT, ADJOINING, ENDING = 0, 1, 2, 3
"""`STATUS`: a slot begins while another one is read; two slots adjoin; a slot stands at the end."""
END_NODE = 1
_MAX_WORK = 4_000_000


@njit(cache=True, nogil=True)
def new_store() -> Any:
    """Give an empty store."""
    num = np.zeros(16, np.int64)
    pool = Pool(
        np.empty(4096, np.int32), np.zeros(1024, np.int64), np.zeros(2048, np.int32), np.empty(1024, np.int32), num
    )
    for tag in (NODES, PAIRS, TOKENS):
        pool, _ = intern(pool, np.array([tag], np.int32), 1)
    items, begin, table, value, _ = pool
    return (
        items, begin, table, value, num, np.zeros(512, np.int64), np.empty((1024, 2), np.int32),
        np.empty((4096, 3), np.int32), np.empty((256, 3), np.int32), np.empty(64, np.int32), np.empty(64, np.int32),
    )  # fmt: skip


@njit(cache=True, nogil=True)
def first_place(net: Any, store: Any, node: Any) -> Any:
    """Give the store, and the place of the node at which everything starts."""
    items, begin, table, value, num, row_begin, rows, edges, labels, todo, waiting = store
    pool, place = place_of(net, Pool(items, begin, table, value, num), node)
    waiting = want(pool, waiting, place)
    items, begin, table, value, _ = pool
    return (items, begin, table, value, num, row_begin, rows, edges, labels, todo, waiting), place


@njit(cache=True, nogil=True)
def label_fragment(net: Any, store: Any, block: Any, fragment: Any, num_sets: Any) -> Any:
    """Give labels to the sets and the edges of a fragment.

    Args:
        net: The graph.
        store: What is known.
        block: The fragment's arrays.
        fragment: Its number.
        num_sets: Number of its sets.

    Returns:
        The store, the label of the first set (the others follow), and ``(E,)`` and ``(T,)`` int32 labels of the edges.
    """
    items, begin, table, value, num, row_begin, rows, edges, labels, todo, waiting = store
    pool = Pool(items, begin, table, value, num)
    first = num[LABELS]
    labels = rows_room(labels, first + num_sets)
    for i in range(num_sets):
        labels[first + i, 0] = fragment
        labels[first + i, 1] = i
        labels[first + i, 2] = NO_TOKENS
    num[LABELS] += num_sets
    edge_label = np.empty(len(block.cells), np.int32)
    for e in range(len(block.cells)):
        edge_label[e] = first + block.cells[e]
        if len(block.without_begin):
            low, high = block.without_begin[e], block.without_begin[e + 1]
            left_out = np.empty(1 + high - low, np.int32)
            for i in range(low, high):
                left_out[1 + i - low] = block.without[i]
            pool, labels, edge_label[e] = less(pool, labels, np.int64(edge_label[e]), left_out, high - low)
    token_label = np.empty(len(block.token), np.int32)
    for e in range(len(block.token)):
        labels, token_label[e] = token_label_of(net, labels, num, block.token[e])
    items, begin, table, value, _ = pool
    store = (items, begin, table, value, num, row_begin, rows, edges, labels, todo, waiting)
    return store, first, edge_label, token_label


@njit(cache=True, nogil=True)
def _state_beside(pool: Any, todo: Any, nodes: Any, block: Any, base: Any, code: Any) -> Any:
    """Give the state of a block's state with literals beside it; a new one is put on the list of those to do."""
    if nodes == NO_NODES:
        return pool, todo, np.int64(base + code)
    pool, name = intern(pool, np.array([BESIDE, nodes, block, code], np.int32), 4)
    if pool.value[name] < 0:
        num = pool.num
        pool.value[name] = num[STATES]
        num[STATES] += 1
        todo = room(todo, num[TODO] + 1)
        todo[num[TODO]] = name
        num[TODO] += 1
    return pool, todo, np.int64(pool.value[name])


@njit(cache=True, nogil=True)
def expand(net: Any, store: Any, starts: Any, bases: Any, final: Any, max_states: Any) -> Any:
    """Give states to places, and rows to those at which no slot begins, until nothing is left or much is done.

    Args:
        net: The graph.
        store: What is known; places that wait for their block are looked at again.
        starts: ``(N, 2)`` int64, block and state of each beginning.
        bases: ``(N,)`` int64, first state of each block.
        final: The absorbing state.
        max_states: Stop when there are more states.

    Returns:
        The store.
    """
    items, begin, table, value, num, row_begin, rows, edges, labels, todo, waiting = store
    pool = Pool(items, begin, table, value, num)
    work = num[WORK]
    kept, at = 0, 0
    while at < num[WAITING]:
        place = np.int64(waiting[at])
        at += 1
        items, begin, value = pool.items, pool.begin, pool.value
        low = begin[place]
        if num[STATES] > max_states or num[WORK] - work > _MAX_WORK:
            waiting[kept] = place
            kept += 1
            continue
        nodes, pairs = np.int64(items[low + 1]), np.int64(items[low + 2])
        first, end = begin[nodes] + 1, begin[nodes + 1]
        if (first < end and items[first] == END_NODE) or (first + 1 < end and items[first + 1] == END_NODE):
            pool.value[place] = final
            continue
        if pairs != NO_PAIRS:
            beginning = pool.value[pairs]
            if beginning < 0:
                waiting[kept] = place
                kept += 1
                continue
            block = starts[beginning, 0]
            pool, todo, state = _state_beside(pool, todo, nodes, block, bases[block], starts[beginning, 1])
            pool.value[place] = state
            continue
        state = num[STATES]
        num[STATES] += 1
        pool.value[place] = state
        pool, row_begin, rows, labels, waiting, row = make_row(net, pool, row_begin, rows, labels, waiting, nodes)
        edges = rows_room(edges, num[EDGES] + row_begin[row + 1] - row_begin[row])
        for i in range(row_begin[row], row_begin[row + 1]):
            write_edge(edges, num, state, rows[i, 0], -1 - rows[i, 1])
    num[WAITING] = kept
    items, begin, table, value, _ = pool
    return items, begin, table, value, num, row_begin, rows, edges, labels, todo, waiting


@njit(cache=True, nogil=True)
def leave_block(
    net: Any, store: Any, masks: Any, is_end: Any, behind_begin: Any, behind: Any, exit_mask: Any, exit_rest: Any
) -> Any:
    """Find what stands behind a block.

    Args:
        net: The graph.
        store: What is known.
        masks: ``(N,)`` int32, which of the slots' sets accept somewhere in the block.
        is_end: ``(N,)`` bool, whether a state of the block accepts so; else an exit alone does.
        behind_begin: ``(slots + 1,)`` int64, where the nodes behind each of the slots begin.
        behind: int32, these nodes.
        exit_mask: ``(X,)`` int32, index into `masks` for each of the fragment's exits.
        exit_rest: ``(X,)`` int32, name of what is spelt beyond the slot, -1: nothing of the graph begins so.

    Returns:
        The store; ``(X,)`` int32 place behind each exit, -1: none; and ``(N, 2)`` int32 nodes with literals behind
        each mask, and the row of their tokens.
    """
    items, begin, table, value, num, row_begin, rows, edges, labels, todo, waiting = store
    pool = Pool(items, begin, table, value, num)
    after = np.zeros((len(masks), 2), np.int32)
    for k in range(len(masks)):
        nodes = np.empty(len(behind), np.int32)
        num_nodes = 0
        for slot in range(len(behind_begin) - 1):
            if masks[k] >> slot & 1:
                for j in range(behind_begin[slot], behind_begin[slot + 1]):
                    nodes[num_nodes] = behind[j]
                    num_nodes += 1
        pool, place = place_of_all(net, pool, nodes, num_nodes)
        at = pool.begin[place]
        name = np.int64(pool.items[at + 1])
        after[k, 0] = name
        if not is_end[k]:
            continue
        if pool.items[at + 2] != NO_PAIRS:
            num[STATUS] = ADJOINING
        for i in range(pool.begin[name] + 1, pool.begin[name + 1]):
            if pool.items[i] == END_NODE and num[STATUS] == FINE:
                num[STATUS] = ENDING
        pool, row_begin, rows, labels, waiting, row = make_row(net, pool, row_begin, rows, labels, waiting, name)
        after[k, 1] = row
    place_behind = np.full(len(exit_mask), -1, np.int32)
    found = np.empty(16, np.int32)
    num_graph, rests, rest_begin = len(net.has_runs), net.rests, net.rest_begin
    for x in range(len(exit_mask)):
        if exit_rest[x] < 0:
            continue
        name = np.int64(after[exit_mask[x], 0])
        num_found = 0
        items, begin = pool.items, pool.begin
        for i in range(begin[name] + 1, begin[name + 1]):
            node = items[i]
            if node < num_graph:
                for r in range(rest_begin[node], rest_begin[node + 1]):
                    if rests[r, 0] == exit_rest[x]:
                        found = room(found, num_found + 1)
                        found[num_found] = rests[r, 1]
                        num_found += 1
        if num_found:
            pool, place = place_of_all(net, pool, found, num_found)
            place_behind[x] = place
            waiting = want(pool, waiting, place)
    items, begin, table, value, _ = pool
    return (items, begin, table, value, num, row_begin, rows, edges, labels, todo, waiting), place_behind, after


@njit(cache=True, nogil=True)
def copy_block(
    store: Any, block: Any, edge_label: Any, token_label: Any, mask_of: Any, base: Any, place_behind: Any, after: Any
) -> Any:
    """Write the rows of all states of a block in which no literal stands beside it; give the edges.

    Args:
        store: What is known.
        block: The fragment's arrays.
        edge_label: ``(E,)`` int32.
        token_label: ``(T,)`` int32.
        mask_of: ``(S,)`` int32, index into `after`, -1: the block may not end here.
        base: First state of the block.
        place_behind: See `leave_block`.
        after: See `leave_block`.
    """
    _, _, _, _, num, row_begin, rows, edges, _, _, _ = store
    begin, code, token_begin, token_code = block.begin, block.target, block.token_begin, block.token_target
    size = num[EDGES] + len(edge_label) + len(token_label)
    for state in range(len(mask_of)):
        if mask_of[state] >= 0:
            row = after[mask_of[state], 1]
            size += row_begin[row + 1] - row_begin[row]
    edges = rows_room(edges, size)
    for state in range(len(mask_of)):
        source = base + state
        for e in range(begin[state], begin[state + 1]):
            target = _move(np.int64(code[e]), base, place_behind)
            if target != _DEAD:
                write_edge(edges, num, source, edge_label[e], target)
        for e in range(token_begin[state], token_begin[state + 1]):
            target = _move(np.int64(token_code[e]), base, place_behind)
            if target != _DEAD:
                write_edge(edges, num, source, token_label[e], target)
        if mask_of[state] >= 0:
            row = after[mask_of[state], 1]
            for i in range(row_begin[row], row_begin[row + 1]):
                write_edge(edges, num, source, rows[i, 0], -1 - rows[i, 1])
    return edges


_DEAD = -(1 << 40)


@njit(cache=True, nogil=True)
def _move(code: Any, base: Any, place_behind: Any) -> Any:
    """Give the target of a fragment's edge as in `Store.edges`, or `_DEAD`."""
    if code >= 0:
        return base + code
    if code <= -2 and place_behind[-2 - code] >= 0:  # noqa: PLR2004 - codes of exits
        return np.int64(-1 - place_behind[-2 - code])
    return np.int64(_DEAD)


@njit(cache=True, nogil=True)
def write_beside(
    net: Any, store: Any, block: Any, number: Any, base: Any, label_base: Any, mask_of: Any, place_behind: Any,
    after: Any, cells: Any, membership: Any, starts: Any,
) -> Any:  # fmt: skip
    """Write the rows of the states of a block that have literals beside it.

    The token of a literal is taken out of the fragment's sets, and moves the fragment as well where it can.

    Args:
        net: The graph.
        store: What is known; its list of states to do is worked off as far as it concerns the block.
        block: The fragment's arrays.
        number: Number of the block.
        base: Its first state.
        label_base: Label of the fragment's first set.
        mask_of: See `copy_block`.
        place_behind: See `leave_block`.
        after: See `leave_block`.
        cells: ``(V,)`` int32, cell of each token, or empty.
        membership: ``(sets, cells)`` bool.
        starts: ``(N, 2)`` int64, block and state of each beginning.

    Returns:
        The store.
    """
    items, begin, table, value, num, row_begin, rows, edges, labels, todo, waiting = store
    pool = Pool(items, begin, table, value, num)
    edge_begin, edge_cells, edge_target = block.begin, block.cells, block.target
    without_begin, without = block.without_begin, block.without
    token_begin, edge_token, token_target = block.token_begin, block.token, block.token_target
    kept, at = 0, 0
    taken = np.empty(64, np.int32)
    two = np.empty(2, np.int32)
    left_out = np.empty(64, np.int32)
    while at < num[TODO]:
        name = np.int64(todo[at])
        at += 1
        low = pool.begin[name]
        if pool.items[low + 2] != number or num[STATUS] != FINE:
            todo[kept] = name
            kept += 1
            continue
        nodes, code = np.int64(pool.items[low + 1]), np.int64(pool.items[low + 3])
        state = np.int64(pool.value[name])
        num_edges = num[EDGES]
        if mask_of[code] >= 0:
            pool, nodes = with_nodes(net, pool, nodes, np.int64(after[mask_of[code], 0]))
        pool, row_begin, rows, labels, waiting, row = make_row(net, pool, row_begin, rows, labels, waiting, nodes)
        first, end = row_begin[row], row_begin[row + 1]
        edge_low, edge_high = edge_begin[code], edge_begin[code + 1]
        most = end - first + edge_high - edge_low + token_begin[code + 1] - token_begin[code]
        edges = rows_room(edges, num_edges + most)
        taken = room(taken, end - first)
        is_held = False
        for i in range(first, end):
            token, place = labels[rows[i, 0], 1], np.int64(rows[i, 1])
            taken[i - first] = -1
            step = np.int64(-1)
            if len(cells):
                cell = cells[token]
                for e in range(edge_low, edge_high):
                    if membership[edge_cells[e], cell]:
                        taken[i - first] = e
                        step = np.int64(edge_target[e])
                        if len(without_begin):
                            for j in range(without_begin[e], without_begin[e + 1]):
                                if without[j] == token:
                                    step = np.int64(-1)
                        break
            for e in range(token_begin[code], token_begin[code + 1]):
                if edge_token[e] == token:
                    step = np.int64(token_target[e])
            target = -1 - place
            if step >= 0:
                inner, pairs = np.int64(pool.items[pool.begin[place] + 1]), np.int64(pool.items[pool.begin[place] + 2])
                if pairs != NO_PAIRS:
                    beginning = pool.value[pairs]
                    if beginning < 0:
                        is_held = True
                        break
                    if starts[beginning, 0] != number or starts[beginning, 1] != step:
                        num[STATUS] = CONFLICT
                        break
                pool, todo, target = _state_beside(pool, todo, inner, number, base, step)
            elif step <= -2 and place_behind[-2 - step] >= 0:  # noqa: PLR2004 - codes of exits
                two[0] = place
                two[1] = place_behind[-2 - step]
                pool, joint = join(net, pool, two, 2)
                target = -1 - joint
                waiting = want(pool, waiting, joint)
            write_edge(edges, num, state, rows[i, 0], target)
        if is_held or num[STATUS] != FINE:
            num[EDGES] = num_edges
            todo[kept] = name
            kept += 1
            continue
        for e in range(edge_low, edge_high):
            target = _move(np.int64(edge_target[e]), base, place_behind)
            if target == _DEAD:
                continue
            num_out = 0
            for i in range(first, end):
                if taken[i - first] == e:
                    left_out = room(left_out, num_out + 2)
                    left_out[num_out + 1] = labels[rows[i, 0], 1]
                    num_out += 1
            if len(without_begin):
                for j in range(without_begin[e], without_begin[e + 1]):
                    left_out = room(left_out, num_out + 2)
                    left_out[num_out + 1] = without[j]
                    num_out += 1
            pool, labels, label = less(pool, labels, np.int64(label_base + edge_cells[e]), left_out, num_out)
            write_edge(edges, num, state, label, target)
        for e in range(token_begin[code], token_begin[code + 1]):
            token = edge_token[e]
            is_literal = False
            for i in range(first, end):
                if labels[rows[i, 0], 1] == token:
                    is_literal = True
                    break
            target = _move(np.int64(token_target[e]), base, place_behind)
            if not is_literal and target != _DEAD:
                labels, label = token_label_of(net, labels, num, token)
                write_edge(edges, num, state, label, target)
        num[WORK] += (end - first) * (1 + edge_high - edge_low)
    num[TODO] = kept
    items, begin, table, value, _ = pool
    return items, begin, table, value, num, row_begin, rows, edges, labels, todo, waiting


@njit(cache=True, nogil=True)
def finish(store: Any, start: Any) -> Any:
    """Give source, label and target of all edges, ``(E,)`` int32 each, with the numbers of `start` and 0 exchanged."""
    value, edges = store[3], store[7]
    num = store[4][EDGES]
    source = np.empty(num, np.int32)
    label = np.empty(num, np.int32)
    target = np.empty(num, np.int32)
    for e in range(num):
        at, to = edges[e, 0], edges[e, 2]
        if to < 0:
            to = value[-1 - to]
        source[e] = 0 if at == start else (start if at == 0 else at)
        label[e] = edges[e, 1]
        target[e] = 0 if to == start else (start if to == 0 else to)
    return source, label, target


@lru_cache(maxsize=1)
def warm_up() -> None:
    """Compile the kernels of this module, or load them from the cache, so that no time limit counts it."""
    none, two = np.zeros(0, np.int32), np.zeros(2, np.int64)
    begin = np.zeros(3, np.int64)
    reach(none, begin, none, begin, none, begin, none)
    parts = spell(begin, none, none, np.ones(2, np.bool_), np.zeros(1, np.int64), begin[:0], none, begin[:1], none)
    token_begin, tokens, middle, rest_begin, rests = parts
    net = Net(
        token_begin, tokens, middle, begin, none, begin, none, rest_begin, rests, np.ones(2, np.bool_),
        np.full(2, -1, np.int32), two, begin[:0], none,
    )  # fmt: skip
    store, _ = first_place(net, new_store(), 0)
    starts = np.zeros((1, 2), np.int64)
    block = Packed(none, two[:1], none, none, two[:1], none, none, two[:0], none)
    store, base, edge_label, token_label = label_fragment(net, store, block, 0, 0)
    store, place_behind, after = leave_block(net, store, none, np.zeros(0, np.bool_), two[:1], none, none, none)
    copy_block(store, block, edge_label, token_label, none, 0, place_behind, after)
    store = write_beside(
        net, store, block, 0, 0, base, none, place_behind, after, none, np.zeros((0, 0), np.bool_), starts
    )
    finish(expand(net, store, starts, two, 0, 0), 0)
