"""Prompts that begin alike are read once: the contexts of recent prompts, kept for those that share their beginning.

A new prompt starts from the kept context with which it has the most tokens in common:

    kept    <bos> system tools | user: Paris? ...
    new     <bos> system tools | user: Oslo? ...
            `-- reused -------'  `-- read

A context can be cut back as long as no sliding layer has dropped a key. Keys depend only on what stands before them,
so reuse changes a result by rounding at most. The least recently used contexts go when memory runs out.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from agentflow.backend.diffusion.denoiser import Context

_MIN_SHARED = 16
"""Fewer shared tokens are not worth a lookup's copy."""


class PrefixCache:
    """Contexts of prompts, by their tokens. Used by one thread.

    Args:
        max_bytes: Memory for keys and values; 0 keeps nothing.
    """

    def __init__(self, *, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._contexts: OrderedDict[tuple[int, ...], Context] = OrderedDict()
        self._num_bytes = 0

    @property
    def num_bytes(self) -> int:
        """Memory that is kept."""
        return self._num_bytes

    def find(self, token_ids: Sequence[int]) -> Context | None:
        """A context that has read a beginning of `token_ids`, at most all but the last; the caller may change it."""
        best, best_length = None, _MIN_SHARED - 1
        for kept_ids, context in self._contexts.items():
            length = min(_num_shared(kept_ids, token_ids), len(token_ids) - 1)
            if length > best_length and (length == len(kept_ids) or context.can_crop):
                best, best_length = kept_ids, length
        if best is None:
            return None
        self._contexts.move_to_end(best)
        context = self._contexts[best].fork()
        context.crop_inplace(best_length)
        return context

    def keep(self, token_ids: Sequence[int], context: Context) -> None:
        """Remember a context that has read exactly `token_ids`."""
        key = tuple(token_ids)
        if context.num_bytes > self._max_bytes or key in self._contexts:
            return
        self._contexts[key] = context.fork()
        self._num_bytes += context.num_bytes
        while self._num_bytes > self._max_bytes:
            _, oldest = self._contexts.popitem(last=False)
            self._num_bytes -= oldest.num_bytes


def _num_shared(one: Sequence[int], other: Sequence[int]) -> int:
    for i, (a, b) in enumerate(zip(one, other, strict=False)):
        if a != b:
            return i
    return min(len(one), len(other))
