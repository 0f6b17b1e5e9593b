"""Which replica a turn goes to: where its conversation is known, unless others have much less to do.

A replica that wrote the turn before has the encoding of the whole conversation; any other has to read it again. That
is worth a place in the queue, but not a long one.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from threading import Lock

from agentflow.types import Message

_MAX_CONVERSATIONS = 4_096


class Router:
    """Chooses among replicas, for many threads at once."""

    def __init__(self, num_replicas: int, *, max_lead: int) -> None:
        """Make a router.

        Args:
            num_replicas: Replicas.
            max_lead: Open turns that the replica which knows a conversation may have more than the idlest one.
        """
        self._num_open = [0] * num_replicas
        self._num_chosen = [0] * num_replicas
        self._max_lead = max_lead
        self._homes: OrderedDict[bytes, int] = OrderedDict()
        self._lock = Lock()

    @property
    def num_open(self) -> tuple[int, ...]:
        """Turns that each replica has in hand."""
        return tuple(self._num_open)

    def choose(self, messages: Sequence[Message]) -> int:
        """Give the replica for the next turn of a conversation; call `release` when it is over."""
        keys = list(_keys(messages)) or [b""]
        with self._lock:
            known = (self._homes.get(key) for key in reversed(keys))
            home = next((index for index in known if index is not None), None)
            if home is None or self._num_open[home] > min(self._num_open) + self._max_lead:
                home = min(range(len(self._num_open)), key=lambda i: (self._num_open[i], self._num_chosen[i]))
            self._num_open[home] += 1
            self._num_chosen[home] += 1
            self._homes[keys[-1]] = home
            self._homes.move_to_end(keys[-1])
            if len(self._homes) > _MAX_CONVERSATIONS:
                self._homes.popitem(last=False)
            return home

    def release(self, index: int) -> None:
        """Say that a turn is over."""
        with self._lock:
            self._num_open[index] -= 1


def _keys(messages: Sequence[Message]) -> Iterator[bytes]:
    """Give a key of every beginning of a conversation, the shortest first."""
    digest = blake2b(digest_size=16)
    for message in messages:
        digest.update(repr(message).encode())
        yield digest.digest()
