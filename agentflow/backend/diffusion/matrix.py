"""Weights of a product, arranged for few and for many rows.

oneDNN multiplies faster by weights that lie in blocks of its own, because then nothing is rearranged at every call: 25
products of a small network, 32 rows each, took 2.3 ms instead of 3.4, and in bfloat16 1.2 instead of 1.9. For one to
three rows the plain weights are faster: a product is then no more than one reading of them.

Shapes: ``N`` rows, ``I`` inputs, ``O`` outputs.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

_MIN_ROWS = 4
"""Rows of a product from which on weights in blocks are faster; 4 rows took 0.65 instead of 0.77 ms, 1 row 1.05
instead of 0.41."""

class Matrix:
    """The weights of one product; what a row gives does not depend on how many more there are, from four rows on.

    Args:
        weight: ``(O, I)``; its precision is that of the product.
        is_twofold: Whether to keep the weights in blocks as well, which takes their memory once more, where that is faster.
    """

    def __init__(self, weight: Tensor, *, is_twofold: bool) -> None:
        self._plain = weight
        self._blocks = _rearrange(weight) if is_twofold and _can_rearrange(weight) else None

    def multiply(self, values: Tensor) -> Tensor:
        """Give ``values @ weight.T``, ``(..., I)`` to ``(..., O)``, in the precision of the weights."""
        values = values.to(self._plain.dtype)
        if self._blocks is None or values.numel() < _MIN_ROWS * values.shape[-1]:
            return functional.linear(values, self._plain)
        return torch.ops.mkldnn._linear_pointwise(values, self._blocks, None, "none", [], "")


def _can_rearrange(weight: Tensor) -> bool:
    """Whether torch has oneDNN here, with products in this precision."""
    if weight.device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return False
    return weight.dtype == torch.float32 or (
        weight.dtype == torch.bfloat16 and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    )


def _rearrange(weight: Tensor) -> Tensor:
    return torch.ops.mkldnn._reorder_linear_weight(weight, None)
