"""Triton kernels of the posterior: one pass over the logits, messages along the chain, one joint draw.

Nothing here waits for the host. A row is one position of one canvas. Key: ``B`` canvases, ``L`` positions, ``V``
tokens, ``P`` pieces (see `agentflow.constraint.device_tables`), ``C`` labels, ``S`` states, ``E`` edges. Sums over
tokens run in single precision relative to their own maximum, everything after them in double precision; as in
`agentflow.constraint.trellis_plain`, no scale is carried along the chain, and the caller is told where that is not
enough.
"""

# mypy: ignore-errors
# ruff: noqa: ANN001, ANN201, ANN202, N803, PLR0915, PLR0917, PLR2004, D417 - kernels take pointers and constants
from __future__ import annotations

import triton
import triton.language as tl

_FLUSH = tl.constexpr(1e-290)


@triton.jit
def _gumbel(seed, offsets):
    """Noise whose argmax over log-probabilities is a draw; exact where it is large, which decides among many tokens."""
    uniform = tl.maximum(tl.rand(seed, offsets), 1e-10)
    return -tl.log(tl.where(uniform < 1e-3, uniform * (1.0 + 0.5 * uniform), -tl.log(1.0 - uniform)))


@triton.jit
def read_rows(
    logits, token_piece, table_of, temperature, seeds, log_total, entropy, argmax, sample,
    big_log_mass, big_mean, big_token, big_best, big_top,
    num_tokens, num_positions, HAS_PIECES: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Read each row of logits once: what the sampler wants of all tokens, and what the chain wants of the big piece.

    Args:
        logits: ``(B * L, V)`` float32.
        token_piece: ``(tables, V)`` int32; the big piece is 0.
        table_of: ``(B,)`` int32, the table of each canvas.
        temperature: ``(B,)`` float32.
        seeds: ``(B,)`` int64.
        log_total: ``(B * L,)`` float64 out, log of the sum of ``exp(logits / temperature)``.
        entropy: ``(B * L,)`` float32 out, nats.
        argmax: ``(B * L,)`` int64 out.
        sample: ``(B * L,)`` int64 out, one draw.
        big_log_mass: ``(B * L,)`` float64 out, log-probability of the big piece.
        big_mean: ``(B * L,)`` float64 out, mean log-probability within it.
        big_token: ``(B * L,)`` int64 out, a draw from it.
        big_best: ``(B * L,)`` int64 out, its most probable token.
        big_top: ``(B * L,)`` float64 out, the log-probability of that.
    """
    row = tl.program_id(0).to(tl.int64)
    canvas = row // num_positions
    scale = 1.0 / tl.load(temperature + canvas)
    seed = tl.load(seeds + canvas)
    place = row - canvas * num_positions
    pieces = token_piece + tl.load(table_of + canvas).to(tl.int64) * num_tokens
    base = logits + row * num_tokens
    peak = -float("inf")
    total = 0.0
    moment = 0.0
    top = -float("inf")
    top_at = 0
    won = -float("inf")
    won_at = 0
    b_peak = -float("inf")
    b_total = 0.0
    b_moment = 0.0
    b_top_at = 0
    b_won = -float("inf")
    b_won_at = 0
    for start in range(0, num_tokens, BLOCK):
        at = start + tl.arange(0, BLOCK)
        is_token = at < num_tokens
        x = tl.load(base + at, mask=is_token, other=-float("inf")).to(tl.float32) * scale
        noisy = x + _gumbel(seed, (place * num_tokens + at).to(tl.int32))
        here = tl.max(x, 0)
        higher = tl.maximum(peak, here)
        shift = tl.where(peak == -float("inf"), 0.0, tl.exp(peak - higher))
        weight = tl.where(x > -float("inf"), tl.exp(x - higher), 0.0)
        finite = tl.where(x > -float("inf"), x, 0.0)
        total = total * shift + tl.sum(weight, 0)
        moment = moment * shift + tl.sum(weight * finite, 0)
        if here > top:
            top = here
            top_at = start + tl.argmax(x, 0)
        best = tl.max(noisy, 0)
        if best > won:
            won = best
            won_at = start + tl.argmax(noisy, 0)
        peak = higher
        if HAS_PIECES:
            is_big = is_token & (tl.load(pieces + at, mask=is_token, other=-1) == 0)
            y = tl.where(is_big, x, -float("inf"))
            here = tl.max(y, 0)
            higher = tl.maximum(b_peak, here)
            safe = tl.where(higher == -float("inf"), 0.0, higher)
            shift = tl.where(b_peak == -float("inf"), 0.0, tl.exp(b_peak - safe))
            weight = tl.where(y > -float("inf"), tl.exp(y - safe), 0.0)
            finite = tl.where(y > -float("inf"), y, 0.0)
            b_total = b_total * shift + tl.sum(weight, 0)
            b_moment = b_moment * shift + tl.sum(weight * finite, 0)
            if here > b_peak:
                b_top_at = start + tl.argmax(y, 0)
            noisy = tl.where(is_big, noisy, -float("inf"))
            best = tl.max(noisy, 0)
            if best > b_won:
                b_won = best
                b_won_at = start + tl.argmax(noisy, 0)
            b_peak = higher
    log_sum = tl.log(total) + peak
    tl.store(log_total + row, log_sum.to(tl.float64))
    tl.store(entropy + row, tl.maximum(log_sum - moment / total, 0.0))
    tl.store(argmax + row, top_at)
    tl.store(sample + row, won_at)
    if HAS_PIECES:
        is_there = b_total > 0.0
        safe = tl.where(is_there, b_total, 1.0)
        tl.store(big_log_mass + row, tl.where(is_there, tl.log(safe) + b_peak - log_sum, -float("inf")).to(tl.float64))
        tl.store(big_mean + row, tl.where(is_there, b_moment / safe - log_sum, 0.0).to(tl.float64))
        tl.store(big_token + row, b_won_at)
        tl.store(big_best + row, b_top_at)
        tl.store(big_top + row, tl.where(is_there, b_peak - log_sum, -float("inf")).to(tl.float64))


@triton.jit
def read_pieces(
    logits, order, piece_begin, piece_size, table_of, temperature, seeds, log_total,
    mass, mean, token, best, top_out,
    num_tokens, num_positions, num_pieces, order_stride, BLOCK_P: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    """Sum the pieces but the big one: few tokens, read in their order.

    Args:
        logits: ``(B * L, V)`` float32.
        order: ``(tables, order_stride)`` int32, tokens sorted by piece.
        piece_begin: ``(tables, P)`` int32, where each piece begins in `order`.
        piece_size: ``(tables, P)`` int32, at most `WIDTH`; 0 for the big piece.
        table_of: ``(B,)`` int32.
        temperature: ``(B,)`` float32.
        seeds: ``(B,)`` int64.
        log_total: ``(B * L,)`` float64.
        mass: ``(B * L, P)`` float64 out, probabilities.
        mean: ``(B * L, P)`` float64 out, mean log-probability within the piece.
        token: ``(B * L, P)`` int64 out, a draw from the piece.
        best: ``(B * L, P)`` int64 out, its most probable token.
        top_out: ``(B * L, P)`` float64 out, the log-probability of that.
    """
    row = tl.program_id(0).to(tl.int64)
    canvas = row // num_positions
    table = tl.load(table_of + canvas).to(tl.int64)
    piece = tl.program_id(1) * BLOCK_P + tl.arange(0, BLOCK_P)
    is_piece = piece < num_pieces
    begin = tl.load(piece_begin + table * num_pieces + piece, mask=is_piece, other=0)
    size = tl.load(piece_size + table * num_pieces + piece, mask=is_piece, other=0)
    column = tl.arange(0, WIDTH)
    is_here = column[None, :] < size[:, None]
    at = tl.load(order + table * order_stride + begin[:, None] + column[None, :], mask=is_here, other=0)
    scale = 1.0 / tl.load(temperature + canvas)
    x = tl.load(logits + row * num_tokens + at, mask=is_here, other=-float("inf")).to(tl.float32) * scale
    place = row - canvas * num_positions
    noisy = x + _gumbel(tl.load(seeds + canvas), (place * num_tokens + at).to(tl.int32))
    noisy = tl.where(is_here, noisy, -float("inf"))
    log_prob = x.to(tl.float64) - tl.load(log_total + row)
    weight = tl.where(x > -float("inf"), tl.exp(log_prob), 0.0)
    total = tl.sum(weight, 1)
    moment = tl.sum(weight * tl.where(x > -float("inf"), log_prob, 0.0), 1)
    won = tl.argmax(noisy, 1)
    top = tl.argmax(x, 1)
    out = row * num_pieces + piece
    is_kept = is_piece & (size > 0)
    tl.store(mass + out, total, mask=is_kept)
    tl.store(mean + out, tl.where(total > 0.0, moment / tl.where(total > 0.0, total, 1.0), 0.0), mask=is_kept)
    first = order + table * order_stride + begin
    tl.store(token + out, tl.load(first + won, mask=is_kept, other=0).to(tl.int64), mask=is_kept)
    tl.store(best + out, tl.load(first + top, mask=is_kept, other=0).to(tl.int64), mask=is_kept)
    tl.store(top_out + out, tl.max(log_prob, 1), mask=is_kept)


@triton.jit
def _run_chain(
    mass, rows, labels, others, out, num_positions, num_labels, num_states,
    BACKWARD: tl.constexpr, BLOCK_S: tl.constexpr, BLOCK_E: tl.constexpr,
):  # fmt: skip
    """Run one canvas in one direction; its border is set, and `rows` has the edges that each state sums over."""
    column = tl.arange(0, BLOCK_E)
    for step in range(num_positions):
        tl.debug_barrier()  # what other threads of the program have written must be seen
        place = num_positions - 1 - step if BACKWARD else step
        known = out + (place + 1 if BACKWARD else place) * num_states
        fresh = out + (place if BACKWARD else place + 1) * num_states
        here = mass + place * num_labels
        for first in range(0, num_states, BLOCK_S):
            state = first + tl.arange(0, BLOCK_S)
            is_state = state < num_states
            begin = tl.load(rows + state, mask=is_state, other=0)
            end = tl.load(rows + state + 1, mask=is_state, other=0)
            widest = tl.max(end - begin, 0)
            total = tl.zeros((BLOCK_S,), tl.float64)
            for j in range(0, widest, BLOCK_E):
                edge = begin[:, None] + j + column[None, :]
                is_edge = edge < end[:, None]
                c = tl.load(labels + edge, mask=is_edge, other=0)
                t = tl.load(others + edge, mask=is_edge, other=0)
                p = tl.load(here + c, mask=is_edge, other=0.0)
                m = tl.load(known + t, mask=is_edge, other=0.0)
                total += tl.sum(p * m, 1)
            tl.store(fresh + state, tl.where(total > _FLUSH, total, 0.0), mask=is_state)


@triton.jit
def pass_messages(
    label, row_out, label_out, target_out, row_in, label_in, source_in, table_of, after, before,
    num_positions, num_labels, num_states, num_edges, BLOCK_S: tl.constexpr, BLOCK_E: tl.constexpr,
):  # fmt: skip
    """Run each canvas backward and forward: one program for each canvas and direction, none waits for another.

    Args:
        label: ``(B, L, C)`` float64 probabilities of the labels.
        row_out: ``(tables, S + 1)`` int32, where the edges out of each state begin.
        label_out: ``(tables, E)`` int32 labels of these edges.
        target_out: ``(tables, E)`` int32 targets.
        row_in: ``(tables, S + 1)`` int32, where the edges into each state begin.
        label_in: ``(tables, E)`` int32.
        source_in: ``(tables, E)`` int32.
        table_of: ``(B,)`` int32.
        after: ``(B, L + 1, S)`` float64, probability of finishing; position L is set, the others are filled.
        before: ``(B, L + 1, S)`` float64, probability of getting there; position 0 is set.
    """
    canvas = tl.program_id(0).to(tl.int64)
    table = tl.load(table_of + canvas).to(tl.int64)
    plane = canvas * (num_positions + 1) * num_states
    mass = label + canvas * num_positions * num_labels
    rows, edges = table * (num_states + 1), table * num_edges
    if tl.program_id(1) == 0:
        _run_chain(
            mass, row_out + rows, label_out + edges, target_out + edges, after + plane, num_positions, num_labels,
            num_states, True, BLOCK_S, BLOCK_E,
        )  # fmt: skip
    else:
        _run_chain(
            mass, row_in + rows, label_in + edges, source_in + edges, before + plane, num_positions, num_labels,
            num_states, False, BLOCK_S, BLOCK_E,
        )  # fmt: skip


@triton.jit
def weigh_labels(
    after, before, row_label, source, target, table_of, partition, weight,
    num_positions, num_labels, num_states, num_edges, BLOCK_C: tl.constexpr, BLOCK_E: tl.constexpr,
):  # fmt: skip
    """Sum over the edges of each label what multiplies its probability in the marginal.

    Args:
        after: ``(B, L + 1, S)`` float64.
        before: ``(B, L + 1, S)`` float64.
        row_label: ``(tables, C + 1)`` int32, where the edges of each label begin.
        source: ``(tables, E)`` int32, edges sorted by label.
        target: ``(tables, E)`` int32.
        table_of: ``(B,)`` int32.
        partition: ``(B,)`` float64, probability of the language.
        weight: ``(B * L, C)`` float64 out.
    """
    row = tl.program_id(0).to(tl.int64)
    canvas = row // num_positions
    place = row - canvas * num_positions
    table = tl.load(table_of + canvas).to(tl.int64)
    scale = 1.0 / tl.maximum(tl.load(partition + canvas), 1e-300)
    here = before + (canvas * (num_positions + 1) + place) * num_states
    then = after + (canvas * (num_positions + 1) + place + 1) * num_states
    c = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    is_label = c < num_labels
    begin = tl.load(row_label + table * (num_labels + 1) + c, mask=is_label, other=0)
    end = tl.load(row_label + table * (num_labels + 1) + c + 1, mask=is_label, other=0)
    widest = tl.max(end - begin, 0)
    column = tl.arange(0, BLOCK_E)
    total = tl.zeros((BLOCK_C,), tl.float64)
    for j in range(0, widest, BLOCK_E):
        edge = begin[:, None] + j + column[None, :]
        is_edge = edge < end[:, None]
        s = tl.load(source + table * num_edges + edge, mask=is_edge, other=0)
        t = tl.load(target + table * num_edges + edge, mask=is_edge, other=0)
        total += tl.sum(
            tl.load(here + s, mask=is_edge, other=0.0) * scale * tl.load(then + t, mask=is_edge, other=0.0), 1
        )
    tl.store(weight + row * num_labels + c, total, mask=is_label)


@triton.jit
def draw_labels(
    label, after, row_out, label_out, target_out, start, table_of, uniform, drawn,
    num_positions, num_labels, num_states, num_edges, BLOCK_E: tl.constexpr,
):  # fmt: skip
    """Draw one path of each canvas, edge by edge, with the messages from behind.

    Args:
        label: ``(B, L, C)`` float64.
        after: ``(B, L + 1, S)`` float64.
        row_out: ``(tables, S + 1)`` int32; a state has at most `BLOCK_E` edges.
        label_out: ``(tables, E)`` int32.
        target_out: ``(tables, E)`` int32.
        start: ``(B,)`` int32.
        table_of: ``(B,)`` int32.
        uniform: ``(B, L)`` float64 in [0, 1).
        drawn: ``(B, L)`` int64 out, labels.
    """
    canvas = tl.program_id(0).to(tl.int64)
    table = tl.load(table_of + canvas).to(tl.int64)
    rows = row_out + table * (num_states + 1)
    column = tl.arange(0, BLOCK_E)
    state = tl.load(start + canvas)
    for place in range(num_positions):
        begin = tl.load(rows + state)
        is_edge = column < tl.load(rows + state + 1) - begin
        edge = table * num_edges + begin + column
        c = tl.load(label_out + edge, mask=is_edge, other=0)
        t = tl.load(target_out + edge, mask=is_edge, other=0)
        p = tl.load(label + (canvas * num_positions + place) * num_labels + c, mask=is_edge, other=0.0)
        m = tl.load(after + (canvas * (num_positions + 1) + place + 1) * num_states + t, mask=is_edge, other=0.0)
        x = p * m
        goal = tl.load(uniform + canvas * num_positions + place) * tl.sum(x, 0)
        chosen = tl.sum((tl.cumsum(x, 0) <= goal).to(tl.int32), 0)
        chosen = tl.maximum(tl.minimum(chosen, tl.max(tl.where(x > 0.0, column, -1), 0)), 0)
        tl.store(drawn + canvas * num_positions + place, tl.load(label_out + table * num_edges + begin + chosen))
        state = tl.load(target_out + table * num_edges + begin + chosen)
