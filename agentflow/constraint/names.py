"""Numbering of symbols anew: of the many that there are, such as tokens, those that are used.

symbols  70 12 70 99      names  0 1 0 2      distinct  70 12 99
"""

# mypy: disable-error-code=untyped-decorator
from __future__ import annotations

from threading import local
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

_LOCAL = local()


class Names(NamedTuple):
    """Symbols by number.

    Attributes:
        distinct: ``(K,)`` int64 symbol of each number.
        names: ``(E,)`` int64 number of each symbol.
    """

    distinct: npt.NDArray[np.int64]
    names: npt.NDArray[np.int64]


def number_symbols(symbols: npt.NDArray[Any]) -> Names:
    """Number symbols by where they stand first; quicker than sorting them.

    Args:
        symbols: ``(E,)`` integers, not negative.
    """
    symbols = symbols.astype(np.int64)
    names = np.empty_like(symbols)
    return Names(_name(symbols, names, _zeros(int(symbols.max(initial=0)) + 1)), names)


def _zeros(num: int) -> npt.NDArray[np.int32]:
    """Give so many zeros or more, the thread's own: whoever changes them has to leave zeros."""
    buffer: npt.NDArray[np.int32] | None = getattr(_LOCAL, "zeros", None)
    if buffer is None or len(buffer) < num:
        buffer = _LOCAL.zeros = np.zeros(2 * num, np.int32)
    return buffer


@njit(cache=True, nogil=True)
def _name(symbols: Any, names: Any, known: Any) -> Any:
    """Number symbols anew, by where they stand first: few of all that there are.

    Args:
        symbols: ``(E,)`` int64.
        names: ``(E,)`` int64, to be filled: the number of each one.
        known: ``(V,)`` int32 of zeros, as many as there are symbols; zeros again in the end.

    Returns:
        ``(K,)`` int64 symbol of each number.
    """
    found, num = np.empty(len(symbols), np.int64), 0
    for edge in range(len(symbols)):
        symbol = symbols[edge]
        if known[symbol] == 0:
            found[num] = symbol
            num += 1
            known[symbol] = num
        names[edge] = known[symbol] - 1
    for k in range(num):
        known[found[k]] = 0
    return found[:num]
