"""Weights of a product, arranged for few and for many rows.

oneDNN multiplies faster by weights that lie in blocks of its own, because then nothing is rearranged at every call: 25
products of a small network, 32 rows each, took 2.3 ms instead of 3.4, and in bfloat16 1.2 instead of 1.9. For one to
three rows the plain weights are faster: a product is then no more than one reading of them.

oneDNN makes a program for every number of rows that it meets, which takes some 0.4 ms and keeps half a MiB for each
matrix of another shape. So callers should round that number up with `round_rows`.

Shapes: ``N`` rows, ``I`` inputs, ``O`` outputs.
"""

from __future__ import annotations

import platform
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

_ONEDNN: Any = torch.ops.mkldnn
"""What torch's own compiler calls for such products; there is no other name for it."""

_MIN_ROWS = 4
"""Rows of a product from which on weights in blocks are faster; 4 rows took 0.65 instead of 0.77 ms, 1 row 1.05
instead of 0.41."""

_STEPS = {64: 4, 96: 8, 256: 16, 512: 32, 1024: 128}
"""Up to so many rows, of what their number is a multiple: 42 numbers up to 1,024 rows. Beyond, it is a multiple of
`_LONG_STEP`. The passes of 1 to 16 agents grow by 4 to 6 %."""

_LONG_STEP = 256


def round_rows(num_rows: int) -> int:
    """Round up to a number of rows that recurs; from one to three they stay as they are."""
    if num_rows < _MIN_ROWS:
        return num_rows
    step = next((step for limit, step in _STEPS.items() if num_rows <= limit), _LONG_STEP)
    return -(-num_rows // step) * step


class Matrix:
    """The weights of one product; what a row gives does not depend on how many more there are, from four rows on.

    Args:
        weight: ``(O, I)``; its precision is that of the product.
        is_twofold: Whether to keep the weights in blocks as well, where that is faster, for as much memory again.
    """

    def __init__(self, weight: Tensor, *, is_twofold: bool) -> None:
        self._plain = weight
        self._is_twofold = is_twofold
        self._blocks = _rearrange(weight) if is_twofold and _can_rearrange(weight) else None

    def multiply(self, values: Tensor) -> Tensor:
        """Give ``values @ weight.T``, ``(..., I)`` to ``(..., O)``, in the precision of the weights."""
        values = values.to(self._plain.dtype)
        if self._blocks is None or _are_few(values):
            return functional.linear(values, self._plain)
        multiplied: Tensor = _ONEDNN._linear_pointwise(values, self._blocks, None, "none", [], "")  # noqa: SLF001
        return multiplied

    def part(self, outputs: slice) -> Matrix:
        """Give the weights of some of the outputs alone."""
        return Matrix(self._plain[outputs], is_twofold=self._is_twofold)


class GatedMatrix:
    """The weights of a gate and of what it lets through; see `Matrix`.

    oneDNN applies the activation and the gate to each block of a product while it is at hand: 320 rows of a small
    network took 1.27 instead of 1.45 ms.

    Args:
        weight: The gate, then the rest, ``(2 * O, I)``.
        is_twofold: As for `Matrix`.
    """

    def __init__(self, weight: Tensor, *, is_twofold: bool) -> None:
        self._plain = weight
        self._blocks: list[Tensor] = []
        if is_twofold and _can_rearrange(weight):
            self._blocks = [_rearrange(half) for half in weight.chunk(2)]

    def multiply(self, values: Tensor) -> Tensor:
        """Give ``gelu(values @ gate.T) * (values @ rest.T)``, ``(..., I)`` to ``(..., O)``; GELU by tanh."""
        values = values.to(self._plain.dtype)
        if not self._blocks or _are_few(values):
            gate, rest = functional.linear(values, self._plain).chunk(2, dim=-1)  # (..., O) each
            return functional.gelu(gate, approximate="tanh") * rest
        gate = _ONEDNN._linear_pointwise(values, self._blocks[0], None, "gelu", [], "tanh")  # noqa: SLF001
        gated: Tensor = _ONEDNN._linear_pointwise.binary(values, gate, self._blocks[1], None, "mul")  # noqa: SLF001
        return gated


def _are_few(values: Tensor) -> bool:
    return values.numel() < _MIN_ROWS * values.shape[-1]


def _can_rearrange(weight: Tensor) -> bool:
    """Whether torch has oneDNN here, with products in this precision; it is measured on x86 alone."""
    is_x86 = platform.machine().lower() in {"x86_64", "amd64"}
    if weight.device.type != "cpu" or not is_x86 or not torch._C._has_mkldnn:  # noqa: SLF001 - the public one has no types
        return False
    if weight.dtype == torch.bfloat16:
        return bool(_ONEDNN._is_mkldnn_bf16_supported())  # noqa: SLF001
    return weight.dtype == torch.float32


def _rearrange(weight: Tensor) -> Tensor:
    blocks: Tensor = _ONEDNN._reorder_linear_weight(weight, None)  # noqa: SLF001
    return blocks
