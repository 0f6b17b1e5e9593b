"""Prompts that begin alike are read once: the contexts of recent turns, kept for those that share their beginning.

A new prompt starts from the kept context with which it has the most tokens in common:

    kept    <bos> system tools | user: Paris? ... call ...
    new     <bos> system tools | user: Oslo? ...
            `-- reused -------'  `-- read

Beginnings are found by the hashes of their blocks of tokens: the hash of a block includes all before it, so one look-up
a block finds who shares it, however many contexts are kept. A context can be cut back as long as no sliding layer has
dropped a key. Keys depend only on what stands before them, so reuse changes a result by rounding at most. The least
recently used contexts go when memory runs out.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence

from agentflow.backend.diffusion.denoiser import Context

BLOCK_LENGTH = 16
"""Tokens of a block; fewer shared tokens are not worth a look-up."""


class PrefixCache:
    """Contexts of prompts, by their tokens. Used by one thread.

    Args:
        max_bytes: Memory for keys and values; 0 keeps nothing.
    """

    def __init__(self, *, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._contexts: OrderedDict[tuple[int, ...], Context] = OrderedDict()
        self._blocks: dict[tuple[int, ...], tuple[int, ...]] = {}  # of each
        self._by_block: dict[int, OrderedDict[tuple[int, ...], None]] = {}
        self._num_bytes = 0

    @property
    def num_bytes(self) -> int:
        """Memory that is kept."""
        return self._num_bytes

    def find(self, token_ids: Sequence[int]) -> Context | None:
        """A context that has read a beginning of `token_ids`, at most all but the last; the caller may change it."""
        best, best_length = None, BLOCK_LENGTH - 1
        token_ids = tuple(token_ids)
        for kept_ids in self._candidates(token_ids):
            length = min(num_shared(kept_ids, token_ids), len(token_ids) - 1)
            if length > best_length and (length == len(kept_ids) or self._contexts[kept_ids].can_crop):
                best, best_length = kept_ids, length
        if best is None:
            return None
        self._contexts.move_to_end(best)
        context = self._contexts[best].fork()
        context.crop_inplace(best_length)
        return context

    def num_found(self, token_ids: Sequence[int]) -> int:
        """Tokens that `find` would reuse, to the block."""
        return BLOCK_LENGTH * sum(1 for block in _blocks(token_ids) if block in self._by_block)

    def keep(self, token_ids: Sequence[int], context: Context, *, instead_of: Sequence[int] | None = None) -> None:
        """Remember a context that has read exactly `token_ids`.

        Args:
            token_ids: What it has read.
            context: The context; the caller may go on with it.
            instead_of: A beginning of `token_ids` that need not be kept any longer.
        """
        key = tuple(token_ids)
        if context.num_bytes > self._max_bytes or key in self._contexts:
            return
        if instead_of is not None:
            self._forget(tuple(instead_of))
        self._contexts[key] = context.fork()
        self._contexts[key].is_kept = True
        self._num_bytes += self._contexts[key].num_bytes
        self._blocks[key] = tuple(_blocks(key))
        for block in self._blocks[key]:
            self._by_block.setdefault(block, OrderedDict())[key] = None
        while self._num_bytes > self._max_bytes:
            self._forget(next(iter(self._contexts)))

    def _forget(self, key: tuple[int, ...]) -> None:
        context = self._contexts.pop(key, None)
        if context is None:
            return
        self._num_bytes -= context.num_bytes
        for block in self._blocks.pop(key):
            sharing = self._by_block[block]
            del sharing[key]
            if not sharing:
                del self._by_block[block]

    def _candidates(self, token_ids: Sequence[int]) -> Iterator[tuple[int, ...]]:
        """Prompts that share the most blocks with this one; those that share fewer, where they cannot be cut back."""
        found = [self._by_block[block] for block in _blocks(token_ids) if block in self._by_block]
        seen: set[tuple[int, ...]] = set()
        for sharing in reversed(found):
            for key in reversed(sharing):
                if key not in seen:
                    seen.add(key)
                    yield key
            if any(self._contexts[key].can_crop for key in sharing):
                return


def num_shared(one: Sequence[int], other: Sequence[int]) -> int:
    """Tokens that two prompts have in common at their beginning; lists or tuples, both of one kind."""
    most = min(len(one), len(other))
    first = 0  # block by block as long as they are equal, which is one comparison each
    while first < most and one[first : first + BLOCK_LENGTH] == other[first : first + BLOCK_LENGTH]:
        first += BLOCK_LENGTH
    while first < most and one[first] == other[first]:
        first += 1
    return min(first, most)


def _blocks(token_ids: Sequence[int]) -> Iterator[int]:
    """The hash of every whole block and all before it."""
    before = 0
    token_ids = tuple(token_ids)
    for i in range(0, len(token_ids) - BLOCK_LENGTH + 1, BLOCK_LENGTH):
        before = hash((before, token_ids[i : i + BLOCK_LENGTH]))
        yield before
