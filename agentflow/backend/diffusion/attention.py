"""Attention in compiled loops: the tokens of one request over its own context, a layer at a time, on one core.

A pass of a small network asks for a few dozen tokens of every request over a few hundred positions. Calling torch's
attention for that, with views of the request's keys and a mask, takes longer than computing it. Here keys lie with
their positions side by side, ``(K, D, T)``, so that both products are sums of the same kind, over the numbers of a key
for the scores and over positions for what they mix:

    out[r, c] = sum over s of factors[r, s] * vectors[s, c]        4 rows x 2 vectors: 2 loads, 8 fused products a step

What a query gets has the same bits whatever other queries there are. Softmax subtracts the largest score; its
exponential is 2 to a whole number times a polynomial of degree 6 (Taylor, relative error 1e-7).

The vectors are LLVM's. They are as wide as the processor's, so that the sums of a step stay in its registers: with
AVX2 24 tokens took 110 us in vectors of sixteen numbers and 58 in vectors of eight.

Shapes: ``N`` tokens of a pass, ``Q`` query heads, ``K`` key heads, ``D`` head size, a multiple of `LANES`, ``T`` room
of a store, a multiple of `BLOCK`.
"""

# mypy: disable-error-code=untyped-decorator
# ruff: noqa: ARG001, PLR0917 - numba compiles functions of positional arrays, and intrinsics are given types alone
from __future__ import annotations

from itertools import product
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from llvmlite.binding import get_host_cpu_features
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

LANES = 16 if get_host_cpu_features().get("avx512f") else 8
"""Numbers of a vector."""

BLOCK = 2 * LANES
"""Columns of a product that are computed at once."""

_ROWS = 4
"""Rows of a product that are computed at once."""

_LOG2_E, _HALF, _ONE, _ZERO, _LOWEST = map(np.float32, (1.44269504, 0.5, 1.0, 0.0, -126.0))
_C1, _C2, _C3, _C4, _C5, _C6 = map(
    np.float32, (6.9314718e-1, 2.4022651e-1, 5.5504109e-2, 9.6181291e-3, 1.3333558e-3, 1.5403530e-4)
)
_BIAS, _FRACTION_BITS = np.int32(127), np.int32(23)


class _Matrix(NamedTuple):
    """Numbers in memory, row by row, as LLVM's values.

    Attributes:
        data: Where the first one is.
        length: Of a row.
    """

    data: Any
    length: Any

    @classmethod
    def of(cls, context: Any, builder: ir.IRBuilder, kind: Any, value: Any) -> _Matrix:
        """Give the numbers of a C-contiguous array of two dimensions."""
        array = context.make_array(kind)(context, builder, value)
        return cls(array.data, cgutils.unpack_tuple(builder, array.shape)[1])

    def at(self, builder: ir.IRBuilder, row: Any, column: Any) -> Any:
        """Give the address of a number."""
        return builder.gep(self.data, [builder.add(builder.mul(row, self.length), column)])


def _make_product(num_vectors: int) -> Any:
    """Make a function that computes `_ROWS` rows of a product, so many vectors of its columns."""
    vector = ir.VectorType(ir.FloatType(), LANES)
    word = ir.IntType(64)

    def repeat(builder: ir.IRBuilder, number: Any) -> Any:
        """Give a vector of one number."""
        first = builder.insert_element(ir.Constant(vector, ir.Undefined), number, ir.Constant(ir.IntType(32), 0))
        lanes = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
        return builder.shuffle_vector(first, ir.Constant(vector, ir.Undefined), lanes)

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        factors, vectors, out = (_Matrix.of(context, builder, signature.args[i], arguments[i]) for i in (0, 1, 5))
        begin, end, column = arguments[2:5]
        columns = [builder.add(column, ir.Constant(word, LANES * v)) for v in range(num_vectors)]
        rows = [ir.Constant(word, r) for r in range(_ROWS)]
        places = list(product(rows, range(num_vectors)))
        sums = [cgutils.alloca_once_value(builder, ir.Constant(vector, [0.0] * LANES)) for _ in places]

        def address(matrix: _Matrix, row: Any, v: int) -> Any:
            return builder.bitcast(matrix.at(builder, row, columns[v]), vector.as_pointer())

        with cgutils.for_range_slice(builder, begin, end, ir.Constant(word, 1)) as (step, _):
            loaded = [builder.load(address(vectors, step, v), align=4) for v in range(num_vectors)]
            factor = [repeat(builder, builder.load(factors.at(builder, row, step))) for row in rows]
            for total, (row, v) in zip(sums, places, strict=True):
                term = builder.fmul(factor[row.constant], loaded[v], flags=("fast",))
                builder.store(builder.fadd(builder.load(total), term, flags=("fast",)), total)
        for total, (row, v) in zip(sums, places, strict=True):
            builder.store(builder.load(total), address(out, row, v), align=4)
        return context.get_dummy_value()

    @intrinsic
    def multiply(_typing: Any, factors: Any, vectors: Any, begin: Any, end: Any, column: Any, out: Any) -> Any:
        """Put ``factors[:, begin:end] @ vectors[begin:end, column:]`` into the same columns of `out`.

        Args:
            factors: ``(_ROWS, S)`` float32.
            vectors: ``(S, C)`` float32.
            begin: The first of the summands.
            end: Behind the last.
            column: The first column.
            out: ``(_ROWS, C')`` float32.
        """
        return types.void(factors, vectors, types.intp, types.intp, types.intp, out), generate

    return multiply


_multiply_block, _multiply_lanes = _make_product(BLOCK // LANES), _make_product(1)


@intrinsic
def _larger(_typing: Any, left: Any, right: Any) -> Any:
    """Give the larger of two float32 in a way in which LLVM recognizes the largest of many."""

    def generate(_context: Any, builder: ir.IRBuilder, _signature: Any, arguments: Any) -> Any:
        is_larger = builder.fcmp_ordered(">", *arguments, flags=("fast",))
        return builder.select(is_larger, *arguments, flags=("fast",))

    return types.float32(types.float32, types.float32), generate


@intrinsic
def _as_float(_typing: Any, bits: Any) -> Any:
    """Give the float32 of these bits, an int32."""

    def generate(_context: Any, builder: ir.IRBuilder, _signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.FloatType())

    return types.float32(types.int32), generate


@njit(cache=True, nogil=True)
def write_keys(turned: Any, heads: Any, begin: Any, num: Any, keys: Any, values: Any, first: Any) -> None:
    """Put the keys and values of some tokens into a store, in place.

    Args:
        turned: ``(N, ..., D)`` float32, heads that end with the keys.
        heads: ``(N, ..., D)`` float32, heads that end with the values.
        begin: The first of the tokens.
        num: How many there are.
        keys: ``(K, D, T)`` float32.
        values: ``(K, T, D)`` float32.
        first: Position of the first of them.
    """
    num_keys, size, _ = keys.shape
    key_head, value_head = turned.shape[1] - num_keys, heads.shape[1] - num_keys
    for k in range(num_keys):
        for d in range(size):
            for i in range(num):
                keys[k, d, first + i] = turned[begin + i, key_head + k, d]
        for i in range(num):
            for d in range(size):
                values[k, first + i, d] = heads[begin + i, value_head + k, d]


@njit(cache=True, nogil=True)
def attend(
    asked: Any, begin: Any, num: Any, keys: Any, values: Any, first: Any, end: Any, is_read: Any, window: Any, out: Any
) -> None:
    """Let some tokens look at a store and put what they find into the same rows of `out`. Scores are not scaled.

    Args:
        asked: ``(N, ..., D)`` float32, heads that begin with the queries.
        begin: The first of the tokens.
        num: How many there are.
        keys: ``(K, D, T)`` float32.
        values: ``(K, T, D)`` float32.
        first: Position of the first token.
        end: Position behind the last that may be looked at.
        is_read: Whether a token looks only at its own and earlier positions; else it looks at all up to `end`.
        window: Most positions that a token looks back at, its own included, 0: no bound. For tokens that look at all
            it is that of the first.
        out: ``(N, Q, D)`` float32.
    """
    num_heads, size = out.shape[1], out.shape[2]
    group = num_heads // len(keys)
    queries, mixed = np.empty((_ROWS, size), np.float32), np.empty((_ROWS, size), np.float32)
    weights = np.empty((_ROWS, -(-end // BLOCK) * BLOCK), np.float32)
    for head in range(num_heads):
        for i in range(0, num, _ROWS):
            num_rows = min(_ROWS, num - i)
            for r in range(_ROWS):
                row = begin + i + min(r, num_rows - 1)
                for d in range(size):
                    queries[r, d] = asked[row, head, d]
            low, _ = _bounds(i, first, end, is_read, window)
            low -= low % BLOCK
            _, high = _bounds(i + num_rows - 1, first, end, is_read, window)
            for j in range(low, high, BLOCK):
                _multiply_block(queries, keys[head // group], 0, size, j, weights)
            for r in range(num_rows):
                own_low, own_high = _bounds(i + r, first, end, is_read, window)
                _soften(weights[r, own_low:own_high])
                weights[r, low:own_low] = _ZERO
                weights[r, own_high:high] = _ZERO
            _mix(weights, values[head // group], low, high, mixed)
            for r in range(num_rows):
                for d in range(size):
                    out[begin + i + r, head, d] = mixed[r, d]


@njit(cache=True, nogil=True)
def _mix(weights: Any, values: Any, low: Any, high: Any, mixed: Any) -> None:
    """Mix the values of some positions, all numbers of a head."""
    size = mixed.shape[1]
    for d in range(0, size - LANES, BLOCK):
        _multiply_block(weights, values, low, high, d, mixed)
    if size % BLOCK:
        _multiply_lanes(weights, values, low, high, size - LANES, mixed)


@njit(cache=True, nogil=True)
def _bounds(i: Any, first: Any, end: Any, is_read: Any, window: Any) -> Any:
    """Give the first position that token `i` looks at, and the one behind the last."""
    own = first + i if is_read else first
    return max(0, own + 1 - window) if window else 0, own + 1 if is_read else end


@njit(cache=True, nogil=True, fastmath=True)
def _soften(scores: Any) -> None:
    """Make weights of scores, in place."""
    top = scores[0]
    for j in range(len(scores)):
        top = _larger(top, scores[j])
    total = _ZERO
    for j in range(len(scores)):
        power = _larger((scores[j] - top) * _LOG2_E, _LOWEST)
        whole = np.floor(power + _HALF)
        rest = power - whole
        grown = (((((_C6 * rest + _C5) * rest + _C4) * rest + _C3) * rest + _C2) * rest + _C1) * rest + _ONE
        weight = grown * _as_float((np.int32(whole) + _BIAS) << _FRACTION_BITS)
        scores[j] = weight
        total += weight
    share = _ONE / total
    for j in range(len(scores)):
        scores[j] *= share
