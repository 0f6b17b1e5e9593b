"""Eight doubles at a time in compiled loops.

Numba leaves it to the compiler whether a loop over eight numbers becomes one instruction, and the compiler sees too
many ways in which arrays could overlap. Here the eight are one value of LLVM's vector type, which is one register on
machines with AVX-512 and several on others:

    total = splat(0.0)
    total = add_product(total, 0.5, load(values, at))   # total + 0.5 * values[at : at + 8]
    store(values, at, total)

Nothing is checked: `at` is an unsigned index (`np.uintp`) with eight numbers behind it.
"""

# mypy: disable-error-code="no-untyped-def,misc,no-untyped-call"
# ruff: noqa: ANN001, ANN201, ANN202, D103 - signatures are types of numba; what each does is said beside it
from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core.datamodel import PrimitiveModel
from numba.extending import intrinsic, register_model

WIDTH = 8
_VECTOR = ir.VectorType(ir.DoubleType(), WIDTH)
_ZERO = ir.Constant(_VECTOR, [0.0] * WIDTH)
_FIRST = ir.Constant(ir.VectorType(ir.IntType(32), WIDTH), [0] * WIDTH)
_DOUBLE_BYTES = 8


class _Vector(types.Type):
    def __init__(self) -> None:
        super().__init__(name="Vector")


_vector = _Vector()


@register_model(_Vector)
class _VectorModel(PrimitiveModel):
    def __init__(self, manager, kind) -> None:
        super().__init__(manager, kind, _VECTOR)


def _place(context, builder, signature, args):
    return _place_in(context, builder, signature.args[0], args[0], args[1])


def _place_in(context, builder, array_type, array, at):
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [at]), _VECTOR.as_pointer())


def _repeat(builder, number):
    single = builder.insert_element(_ZERO, number, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(single, _ZERO, _FIRST)


@intrinsic
def load(_context, array, _at):  # array[at : at + 8]
    def generate(context, builder, signature, args):
        return builder.load(_place(context, builder, signature, args), align=_DOUBLE_BYTES)

    return _vector(array, types.uintp), generate


@intrinsic
def store(_context, array, _at, _value):  # array[at : at + 8] = value
    def generate(context, builder, signature, args):
        builder.store(args[2], _place(context, builder, signature, args), align=_DOUBLE_BYTES)
        return context.get_dummy_value()

    return types.void(array, types.uintp, _vector), generate


@intrinsic
def stream(_context, array, _at, _value):  # the same past the cache; the place must be a multiple of 64 bytes
    def generate(context, builder, signature, args):
        written = builder.store(args[2], _place(context, builder, signature, args), align=WIDTH * _DOUBLE_BYTES)
        written.set_metadata("nontemporal", builder.module.add_metadata([ir.Constant(ir.IntType(32), 1)]))
        return context.get_dummy_value()

    return types.void(array, types.uintp, _vector), generate


@intrinsic
def splat(_context, _number):  # eight times the number
    def generate(_context, builder, _signature, args):
        return _repeat(builder, args[0])

    return _vector(types.float64), generate


@intrinsic
def add_product(_context, _total, _factor, _value):  # total + factor * value
    def generate(_context, builder, _signature, args):
        product = builder.fmul(_repeat(builder, args[1]), args[2], flags=("contract",))
        return builder.fadd(args[0], product, flags=("contract",))

    return _vector(_vector, types.float64, _vector), generate


@intrinsic
def keep_above(_context, _value, _least, _lanes):  # value in lanes whose bit is set, where it is above the number
    def generate(_context, builder, _signature, args):
        is_above = builder.fcmp_ordered(">", args[0], _repeat(builder, args[1]))
        is_lane = builder.bitcast(args[2], ir.VectorType(ir.IntType(1), WIDTH))
        return builder.select(builder.and_(is_above, is_lane), args[0], _ZERO)

    return _vector(_vector, types.float64, types.uint8), generate


def _swapped(builder, rows, size):
    """Swap blocks of so many numbers across the diagonal: one of the three steps in which a square is turned."""
    for i in range(WIDTH):
        if not i & size:
            first, second = rows[i], rows[i + size]
            for row, moved in (i, 0), (i + size, size):
                picks = [k + moved if not k & size else WIDTH + k - size + moved for k in range(WIDTH)]
                mask = ir.Constant(ir.VectorType(ir.IntType(32), WIDTH), picks)
                rows[row] = builder.shuffle_vector(first, second, mask)


@intrinsic
def turn(_context, source, _at, _step, target, _to, _stride):  # target[to + stride * k + i] = source[at + step * i + k]
    def generate(context, builder, signature, args):
        rows = []
        for i in range(WIDTH):
            place = builder.add(args[1], builder.mul(args[2], ir.Constant(args[2].type, i)))
            rows.append(
                builder.load(_place_in(context, builder, signature.args[0], args[0], place), align=_DOUBLE_BYTES)
            )
        for size in (4, 2, 1):
            _swapped(builder, rows, size)
        for k, row in enumerate(rows):
            place = builder.add(args[4], builder.mul(args[5], ir.Constant(args[5].type, k)))
            builder.store(row, _place_in(context, builder, signature.args[3], args[3], place), align=_DOUBLE_BYTES)
        return context.get_dummy_value()

    return types.void(source, types.uintp, types.uintp, target, types.uintp, types.uintp), generate
