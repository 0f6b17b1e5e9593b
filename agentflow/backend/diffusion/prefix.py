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
from dataclasses import dataclass

from agentflow.backend.diffusion.denoiser import Context

BLOCK_LENGTH = 16
"""Tokens of a block; fewer shared tokens are not worth a look-up."""


@dataclass(eq=False)
class _Kept:
    """A context that is kept.

    Attributes:
        token_ids: What it has read.
        context: The context.
        blocks: The hashes of its blocks.
        num_bytes: Memory that it counts for.
    """

    token_ids: tuple[int, ...]
    context: Context
    blocks: tuple[int, ...]
    num_bytes: int


class PrefixCache:
    """Contexts of prompts, by their tokens. Used by one thread.

    Args:
        max_bytes: Memory for keys and values; 0 keeps nothing.
    """

    def __init__(self, *, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._kept: OrderedDict[tuple[int, ...], _Kept] = OrderedDict()
        self._by_block: dict[int, dict[_Kept, None]] = {}
        self._num_bytes = 0

    @property
    def num_bytes(self) -> int:
        """Memory that is kept."""
        return self._num_bytes

    def find(self, token_ids: Sequence[int]) -> Context | None:
        """A context that has read a beginning of `token_ids`, at most all but the last; the caller may change it."""
        best, best_length = None, BLOCK_LENGTH - 1
        token_ids = tuple(token_ids)
        for kept, num_alike in self._candidates(token_ids):
            next_block = slice(num_alike, num_alike + BLOCK_LENGTH)
            if num_alike + num_shared(kept.token_ids[next_block], token_ids[next_block]) <= best_length:
                continue  # many share the same tools: few of them are worth comparing whole
            length = min(num_shared(kept.token_ids, token_ids, guess=num_alike), len(token_ids) - 1)
            if length > best_length and (length == len(kept.token_ids) or kept.context.can_crop):
                best, best_length = kept, length
        if best is None:
            return None
        self._kept.move_to_end(best.token_ids)
        context = best.context.fork()
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
        key, num_bytes = tuple(token_ids), context.num_bytes
        if num_bytes > self._max_bytes or key in self._kept:
            return
        if instead_of is not None:
            self._forget(tuple(instead_of))
        kept = self._kept[key] = _Kept(key, context.fork(), tuple(_blocks(key)), num_bytes)
        kept.context.is_kept = True
        self._num_bytes += num_bytes
        for block in kept.blocks:
            self._by_block.setdefault(block, {})[kept] = None
        while self._num_bytes > self._max_bytes:
            self._forget(next(iter(self._kept)))

    def _forget(self, key: tuple[int, ...]) -> None:
        kept = self._kept.pop(key, None)
        if kept is None:
            return
        self._num_bytes -= kept.num_bytes
        for block in kept.blocks:
            sharing = self._by_block[block]
            del sharing[kept]
            if not sharing:
                del self._by_block[block]

    def _candidates(self, token_ids: Sequence[int]) -> Iterator[tuple[_Kept, int]]:
        """What shares the most blocks with this prompt, and how many tokens these have.

        Those that share fewer come after it, where it cannot be cut back.
        """
        found = [self._by_block[block] for block in _blocks(token_ids) if block in self._by_block]
        seen: set[_Kept] = set()
        for i in range(len(found) - 1, -1, -1):
            for kept in reversed(found[i]):
                if kept not in seen:
                    seen.add(kept)
                    yield kept, BLOCK_LENGTH * (i + 1)
            if any(kept.context.can_crop for kept in found[i]):
                return


def num_shared(one: Sequence[int], other: Sequence[int], *, guess: int = 0) -> int:
    """Tokens that two prompts have in common at their beginning.

    Args:
        one: A prompt.
        other: Another one; both are lists, or both tuples.
        guess: How many they probably have in common at least.
    """
    most = min(len(one), len(other))
    first = guess if one[:guess] == other[:guess] else 0
    while first < most and one[first : first + BLOCK_LENGTH] == other[first : first + BLOCK_LENGTH]:
        first += BLOCK_LENGTH  # block by block as long as they are equal, which is one comparison each
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
