"""What requests have read, in stores of keys and values that those who begin alike share.

    store      | bos system tools | user: Paris? call ... |  room
    context 0  '----------------- kept -------------------'
    context 1  '---- reads -------' writes ...

Whoever goes on from a place may write behind it if nobody else needs what is there. What is only kept for others goes
aside and comes back when it is asked for; beside a request that is at work there, a copy of the beginning is made.

Shapes: ``K`` key heads, ``D`` head size.
"""

from __future__ import annotations

from threading import Lock
from typing import NamedTuple
from weakref import WeakSet

import torch
from torch import Tensor

from agentflow.backend.diffusion.denoiser import Context

_ROOM = 128
"""Room is a multiple of so many positions."""


class KeyStore:
    """Keys and values of one request, with room to grow: per layer ``(2, K, room, D)``.

    Attributes:
        layers: The layers.
        sharers: The contexts that read from here, each up to its own length.
        lock: Held while one of them makes sure that nobody else needs what it is going to write over.
    """

    def __init__(self, layers: list[Tensor]) -> None:
        self.layers = layers
        self.sharers: WeakSet[PackedContext] = WeakSet()
        self.lock = Lock()

    @property
    def room(self) -> int:
        """Positions that fit."""
        return self.layers[0].shape[2]

    def grown(self, num_kept: int, num_needed: int) -> KeyStore:
        """A store of its own with the first `num_kept` positions and room for `num_needed` and half as many again."""
        room = -(-3 * num_needed // (2 * _ROOM)) * _ROOM  # what is not written takes no memory yet
        layers = []
        for layer in self.layers:
            copy = layer.new_empty(*layer.shape[:2], room, layer.shape[3])  # (2, K, room, D)
            copy[:, :, :num_kept] = layer[:, :, :num_kept]
            layers.append(copy)
        return KeyStore(layers)


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
            store.sharers.add(self)

    def fork(self) -> PackedContext:
        """See `Context.fork`."""
        return PackedContext(self._store, self.num_tokens, self._end)

    @property
    def reach(self) -> int:
        """Positions of the store that others must not write over."""
        return max(self.num_tokens, self._num_claimed) if self._end is None else self._end.first

    @property
    def num_bytes(self) -> int:
        """See `Context.num_bytes`."""
        return sum(layer.nbytes for layer in self._store.layers) * self.num_tokens // max(self._store.room, 1)

    @property
    def can_crop(self) -> bool:
        """See `Context.can_crop`."""
        return True

    def crop_inplace(self, num_tokens: int) -> None:
        """See `Context.crop_inplace`."""
        self.num_tokens = self._num_claimed = min(num_tokens, self.num_tokens)
        if self._end is not None and self.num_tokens <= self._end.first:
            self._end = None

    def writable(self, num_new: int) -> list[Tensor]:
        """The layers, ``(2, K, room, D)`` each, with room for `num_new` more positions that nobody else sees."""
        needed = self.num_tokens + num_new
        store = self._store
        first = self.num_tokens if self._end is None else self._end.first
        with store.lock:
            others = [other for other in store.sharers if other is not self and other.reach > first]
            if needed <= store.room and all(other.is_kept for other in others):
                for other in others:
                    other._put_aside(first)  # noqa: SLF001 - of the same class
            else:
                self._store = store.grown(first, needed)
        if self._store is not store:
            self._store.sharers.add(self)
            store.sharers.discard(self)
        if self._end is not None:
            self._end.put_back(self._store, self.num_tokens)
            self._end = None
        self._num_claimed = needed
        return self._store.layers

    def _put_aside(self, first: int) -> None:
        """Keep the positions from `first` on elsewhere; nobody writes into what is before."""
        end = [layer[:, :, first : self.reach].clone() for layer in self._store.layers]  # (2, K, n, D) each
        if self._end is not None:
            end = [torch.cat(pair, dim=2) for pair in zip(end, self._end.layers, strict=True)]
        self._end = _End(first, end)


class _End(NamedTuple):
    """The last keys and values of a context, apart from the others: from a position on, per layer ``(2, K, n, D)``."""

    first: int
    layers: list[Tensor]

    def put_back(self, store: KeyStore, num_tokens: int) -> None:
        """Write them into a store, up to a number of positions."""
        for layer, end in zip(store.layers, self.layers, strict=True):
            layer[:, :, self.first : num_tokens] = end[:, :, : num_tokens - self.first]
