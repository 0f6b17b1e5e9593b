"""What requests have read, in stores of keys and values that those who begin alike share.

    store      | bos system tools | user: Paris? call ... |  room
    context 0  '----------------- kept -------------------'
    context 1  '---- reads -------' writes ...

Whoever goes on from a place may write behind it if nobody else needs what is there. What is only kept for others goes
aside and comes back when it is asked for; beside a request that is at work there, a copy of the beginning is made.

Shapes: ``K`` key heads, ``T`` room, ``D`` head size.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property
from threading import Lock
from typing import Any, NamedTuple
from weakref import WeakSet

import numpy as np
import numpy.typing as npt
from torch import Tensor

from agentflow.backend.diffusion.denoiser import Context

_ROOM = 128
"""Room is a multiple of so many positions."""


class LayerStore(ABC):
    """Keys and values of one layer, position by position; arrays of a kind that its attention takes.

    Attributes:
        keys: The keys, see there.
        values: ``(K, T, D)``.
    """

    def __init__(self, keys: Any, values: Any) -> None:
        self.keys, self.values = keys, values

    @property
    def room(self) -> int:
        """Positions that fit."""
        return int(self.values.shape[1])

    @property
    def num_bytes(self) -> int:
        """Memory of all room."""
        return int(self.keys.nbytes + self.values.nbytes)

    @abstractmethod
    def empty(self, room: int) -> LayerStore:
        """Make another one like it with as much room; what is not written takes no memory yet."""

    @abstractmethod
    def keys_between(self, first: int, end: int) -> Any:
        """Give the keys of some positions, to be read or written."""

    def copy_from(self, other: LayerStore, first: int, end: int, *, to: int) -> None:
        """Copy some positions of another one of the kind, here from `to` on."""
        self.keys_between(to, to + end - first)[:] = other.keys_between(first, end)
        self.values[:, to : to + end - first] = other.values[:, first:end]


class PlainLayer(LayerStore):
    """For torch's attention: tensors, keys ``(K, T, D)``."""

    def empty(self, room: int) -> PlainLayer:
        """See `LayerStore.empty`."""
        num_keys, _, size = self.values.shape
        return PlainLayer(self.keys.new_empty(num_keys, room, size), self.values.new_empty(num_keys, room, size))

    def keys_between(self, first: int, end: int) -> Tensor:
        """See `LayerStore.keys_between`."""
        found: Tensor = self.keys[:, first:end]
        return found


class LoopLayer(LayerStore):
    """For compiled loops (`attention`): arrays of float32, keys ``(K, D, T)``."""

    def empty(self, room: int) -> LoopLayer:
        """See `LayerStore.empty`."""
        num_keys, _, size = self.values.shape
        return LoopLayer(np.empty((num_keys, size, room), np.float32), np.empty((num_keys, room, size), np.float32))

    def keys_between(self, first: int, end: int) -> npt.NDArray[np.float32]:
        """See `LayerStore.keys_between`."""
        found: npt.NDArray[np.float32] = self.keys[:, :, first:end]
        return found


class KeyStore:
    """Keys and values of one request, layer by layer, and the contexts that read from here.

    Attributes:
        layers: The layers; all have the same room.
        lock: Held while one of the contexts makes sure that nobody else needs what it is going to write over.
    """

    def __init__(self, layers: list[LayerStore]) -> None:
        self.layers = layers
        self.lock = Lock()
        self._sharers: dict[int | None, WeakSet[PackedContext]] = {}  # by where their end was put aside

    @property
    def room(self) -> int:
        """Positions that fit."""
        return self.layers[0].room

    @cached_property
    def num_bytes(self) -> int:
        """Memory of all room."""
        return sum(layer.num_bytes for layer in self.layers)

    def copied(self, first: int, end: int, *, room: int) -> list[LayerStore]:
        """Give layers of their own that begin with some of the positions."""
        copies = [layer.empty(room) for layer in self.layers]
        for copy, layer in zip(copies, self.layers, strict=True):
            copy.copy_from(layer, first, end, to=0)
        return copies

    def grown(self, num_kept: int, num_needed: int) -> KeyStore:
        """A store of its own with the first `num_kept` positions and room for `num_needed` and half as many again."""
        return KeyStore(self.copied(0, num_kept, room=-(-3 * num_needed // (2 * _ROOM)) * _ROOM))

    def join(self, context: PackedContext) -> None:
        """Let a context read from here; the lock is held."""
        self._sharers.setdefault(context.aside_from, WeakSet()).add(context)

    def leave(self, context: PackedContext) -> None:
        """Forget a context that has joined, before it puts anything aside or takes it back; the lock is held."""
        sharers = self._sharers[context.aside_from]
        sharers.discard(context)
        if not sharers:
            del self._sharers[context.aside_from]

    def who_needs(self, first: int) -> list[PackedContext]:
        """Give the contexts that need what stands here from a position on; the lock is held."""
        return [
            context
            for aside_from, sharers in self._sharers.items()
            if aside_from is None or aside_from > first
            for context in sharers
            if context.reach > first
        ]


class PackedContext(Context):
    """What one request has read, in a `KeyStore`. Forks share it; whoever is the first to go on may do so in place.

    All keys are kept, also those behind a sliding window, so a context can always be cut back. One that is only kept
    for others makes room for those that go on from an earlier position: its end is put aside until it is asked for.
    """

    def __init__(self, store: KeyStore, num_tokens: int = 0, end: _End | None = None) -> None:
        self.num_tokens = num_tokens
        self._store = store
        self._num_claimed = 0  # positions that it may have written
        self._end = end
        with store.lock:
            store.join(self)

    def fork(self) -> PackedContext:
        """See `Context.fork`."""
        return PackedContext(self._store, self.num_tokens, self._end)

    @property
    def aside_from(self) -> int | None:
        """Position from which on it lies elsewhere; ``None``: nowhere."""
        return None if self._end is None else self._end.first

    @property
    def reach(self) -> int:
        """Positions of the store that others must not write over."""
        return max(self.num_tokens, self._num_claimed) if self._end is None else self._end.first

    @property
    def num_bytes(self) -> int:
        """See `Context.num_bytes`."""
        return self._store.num_bytes * self.num_tokens // max(self._store.room, 1)

    @property
    def can_crop(self) -> bool:
        """See `Context.can_crop`."""
        return True

    def crop_inplace(self, num_tokens: int) -> None:
        """See `Context.crop_inplace`."""
        self.num_tokens = self._num_claimed = min(num_tokens, self.num_tokens)
        if self._end is not None and self.num_tokens <= self._end.first:
            with self._store.lock:
                self._move(self._store, None)

    def writable(self, num_new: int) -> list[LayerStore]:
        """The layers, with room for `num_new` more positions that nobody else sees."""
        needed = self.num_tokens + num_new
        store, end = self._store, self._end
        first = self.num_tokens if end is None else end.first
        with store.lock:
            others = [other for other in store.who_needs(first) if other is not self]
            if needed <= store.room and all(other.is_kept for other in others):
                for other in others:
                    other._put_aside(first)  # noqa: SLF001 - of the same class
                if end is not None:
                    self._move(store, None)
            else:
                self._move(store.grown(first, needed), None)
        if end is not None:
            end.put_into(self._store.layers, end.first, self.num_tokens)
        self._num_claimed = needed
        return self._store.layers

    def _move(self, store: KeyStore, end: _End | None) -> None:
        """Read from another store, or have another part elsewhere; the lock of its own store is held."""
        self._store.leave(self)
        self._store, self._end = store, end
        store.join(self)

    def _put_aside(self, first: int) -> None:
        """Keep the positions from `first` on elsewhere; nobody writes into what is before."""
        end_here = self.num_tokens if self._end is None else self._end.first
        layers = self._store.copied(first, end_here, room=self.num_tokens - first)
        if self._end is not None:
            self._end.put_into(layers, end_here - first, self.num_tokens)
        self._move(self._store, _End(first, layers))


class _End(NamedTuple):
    """The last keys and values of a context, apart from the others.

    Attributes:
        first: Position of the first of them.
        layers: The layers.
    """

    first: int
    layers: list[LayerStore]

    def put_into(self, layers: list[LayerStore], to: int, num_tokens: int) -> None:
        """Copy what belongs to the first `num_tokens` positions of the context into other layers, from `to` on."""
        for layer, end in zip(layers, self.layers, strict=True):
            layer.copy_from(end, 0, num_tokens - self.first, to=to)
