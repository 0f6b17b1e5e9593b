"""A cache whose size is what its arrays take, so that many large things are not kept where many small ones are."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import is_dataclass
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt

_BYTES_PER_VALUE = 2_000
"""What a value takes beside its arrays, as a round number."""


class Store:
    """A mapping that forgets what was not asked for longest when the arrays of all its values take too many bytes.

    An array that several values share counts once. A value that would take more than a quarter of the room is not kept.
    """

    def __init__(self, max_bytes: int) -> None:
        """Keep at most `max_bytes`."""
        self._max_bytes = max_bytes
        self._values: OrderedDict[Any, Any] = OrderedDict()
        self._keys: dict[int, Any] = {}  # of each value, by its identity
        self._arrays: dict[Any, list[npt.NDArray[Any]]] = {}  # of each value, as it was when it was counted
        self._num_holders: dict[int, int] = {}  # values that hold an array, by its identity
        self._num_bytes = 0
        self._lock = Lock()

    def __len__(self) -> int:
        """Give the number of values."""
        return len(self._values)

    @property
    def num_bytes(self) -> int:
        """About how many bytes the values take."""
        return self._num_bytes

    def get(self, key: Any) -> Any:
        """Give a value, or ``None``."""
        with self._lock:
            if key not in self._values:
                return None
            self._values.move_to_end(key)
            return self._values[key]

    def __contains__(self, key: Any) -> bool:
        """Say whether there is a value."""
        return key in self._values

    def __getitem__(self, key: Any) -> Any:
        """Give a value."""
        return self._values[key]

    def __setitem__(self, key: Any, value: Any) -> None:
        """Keep a value, if it is not too large."""
        arrays = _distinct_arrays(value)
        with self._lock:
            if key in self._values:
                self._forget(key)
            if sum(array.nbytes for array in arrays) > self._max_bytes // 4:
                return
            self._values[key] = value
            self._keys[id(value)] = key
            self._count(key, arrays)
            self._make_room()

    def recount(self, value: Any) -> None:
        """Count a value again, which holds more than when it was kept; one that is not kept any more is let be.

        It stays, however large it has become, until others need its room.
        """
        arrays = _distinct_arrays(value)
        with self._lock:
            key = self._keys.get(id(value))
            if key is None:
                return
            self._discount(key)
            self._count(key, arrays)
            self._values.move_to_end(key)
            self._make_room()

    def _make_room(self) -> None:
        while self._num_bytes > self._max_bytes and len(self._values) > 1:
            self._forget(next(iter(self._values)))

    def _forget(self, key: Any) -> None:
        self._keys.pop(id(self._values.pop(key)), None)
        self._discount(key)

    def _count(self, key: Any, arrays: list[npt.NDArray[Any]]) -> None:
        self._arrays[key] = arrays
        self._num_bytes += _BYTES_PER_VALUE + sum(map(self._take, arrays))

    def _discount(self, key: Any) -> None:
        self._num_bytes -= _BYTES_PER_VALUE + sum(map(self._leave, self._arrays.pop(key)))

    def _take(self, array: npt.NDArray[Any]) -> int:
        """Count one more holder of an array; give the bytes that it adds."""
        num = self._num_holders.get(id(array), 0)
        self._num_holders[id(array)] = num + 1
        return 0 if num else array.nbytes

    def _leave(self, array: npt.NDArray[Any]) -> int:
        """Count one holder less; give the bytes that are free then."""
        num = self._num_holders.pop(id(array)) - 1
        if num:
            self._num_holders[id(array)] = num
        return 0 if num else array.nbytes


def _distinct_arrays(value: Any) -> list[npt.NDArray[Any]]:
    """List the arrays in a value, each once."""
    return list({id(array): array for array in _list_arrays(value)}.values())


def _list_arrays(value: Any) -> Iterator[npt.NDArray[Any]]:
    """List the arrays in a value: in tuples, and in records, but not in other objects that it refers to."""
    if isinstance(value, np.ndarray):
        yield value
    elif isinstance(value, tuple):
        for part in value:
            if not isinstance(part, int):
                yield from _list_arrays(part)
    elif is_dataclass(value):
        for part in vars(value).values():
            yield from _list_arrays(part)
