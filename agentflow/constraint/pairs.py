"""Byte-pair encoding of many short texts at once, for tokenizers that merge characters of the whole text.

A tokenizer needs several microseconds for each call, and a grounded slot has thousands of pieces to spell. Tokenizers
that know spaces as a character like others (Gemma) are read into arrays here, and the same tokens are found; for all
others, and for texts that hold an added token or a character without one, the tokenizer itself is asked.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from threading import local
from typing import Any, NamedTuple
from weakref import ref

import numpy as np
import numpy.typing as npt

from agentflow.constraint.automaton import IntArray
from agentflow.constraint.pair_kernels import UNUSABLE, merge_parts

_MAX_LENGTH = 200
_NUM_REMEMBERED = 1 << 14
_SPACE, _WRITTEN_SPACE = " ", "▁"
_NUM_CODES = 0x110000
_LOCAL = local()


class PairTable(NamedTuple):
    """Which tokens become one.

    Attributes:
        begin: ``(V + 1,)`` int32, where the pairs of each left token begin.
        right: ``(M,)`` int32 right token of each pair.
        value: ``(M,)`` int64 its value; see `agentflow.constraint.pair_kernels.pair_value`.
        char_ids: ``(C,)`` int32 token of each code point, -1: none.
    """

    begin: IntArray
    right: IntArray
    value: npt.NDArray[np.int64]
    char_ids: IntArray


class AddedTokens:
    """Texts that a tokenizer cuts out before anything else."""

    def __init__(self, contents: Collection[str]) -> None:
        """Take the texts."""
        self._contents = frozenset(contents)
        self._sizes: dict[int, set[int]] = {}
        for content in self._contents:
            self._sizes.setdefault(ord(content[0]), set()).add(len(content))
        self._is_first = np.zeros(_NUM_CODES, bool)
        self._is_first[list(self._sizes)] = True

    def places(self, text: str, codes: npt.NDArray[np.uint32]) -> list[int]:
        """Give where they stand in a text."""
        found = np.flatnonzero(self._is_first[codes]).tolist()
        return [
            at for at in found if any(text[at : at + size] in self._contents for size in self._sizes[ord(text[at])])
        ]


def read_pairs(backend: Any, token_bytes: Sequence[bytes | None], end_ids: Collection[int]) -> PairTable | None:
    """Read the merges of a tokenizer; ``None``: it does more than merging characters.

    Args:
        backend: The tokenizer of the `tokenizers` library.
        token_bytes: Bytes of each token.
        end_ids: Tokens that no text may hold.
    """
    if not _merges_alone(backend):
        return None
    model = json.loads(backend.model.__getstate__())
    wanted = {"type": "BPE", "dropout": None, "ignore_merges": False, "byte_fallback": True}
    affixes = model.get("continuing_subword_prefix") or model.get("end_of_word_suffix")
    if affixes or any(model.get(name) != value for name, value in wanted.items()):
        return None
    vocabulary: dict[str, int] = model["vocab"]
    merges = [pair.split(" ") if isinstance(pair, str) else pair for pair in model["merges"]]
    left = np.array([vocabulary[a] for a, _ in merges], np.int64)
    right = np.array([vocabulary[b] for _, b in merges], np.int64)
    merged = np.array([vocabulary[a + b] for a, b in merges], np.int64)
    usable = np.zeros(len(token_bytes), bool)
    for piece, i in vocabulary.items():
        usable[i] = i not in end_ids and token_bytes[i] == piece.replace(_WRITTEN_SPACE, _SPACE).encode()
    merged[~usable[merged]] = UNUSABLE
    value = (np.arange(len(merges)) << 32) | merged
    order = np.lexsort((right, left))
    is_last = np.append((np.diff(left[order]) != 0) | (np.diff(right[order]) != 0), True)
    order = order[is_last]  # of a pair that is listed twice, the tokenizer takes the later one
    begin = np.searchsorted(left[order], np.arange(len(usable) + 1))
    char_ids = np.full(_NUM_CODES, -1, np.int32)
    for piece, i in vocabulary.items():
        if len(piece) == 1 and usable[i]:
            char_ids[ord(_SPACE if piece == _WRITTEN_SPACE else piece)] = i
    return PairTable(begin.astype(np.int32), right[order].astype(np.int32), value[order], char_ids)


def _merges_alone(backend: Any) -> bool:
    """Say whether a tokenizer writes spaces as ``▁``, cuts nowhere, and merges."""
    if backend.normalizer is None or backend.truncation is not None or backend.padding is not None:
        return False
    normalizer = json.loads(backend.normalizer.__getstate__())
    if normalizer != {"type": "Replace", "pattern": {"String": _SPACE}, "content": _WRITTEN_SPACE}:
        return False
    splitter = None if backend.pre_tokenizer is None else json.loads(backend.pre_tokenizer.__getstate__())
    is_idle = splitter is None or (splitter["type"] == "Split" and splitter["pattern"] == {"String": _SPACE})
    added = backend.get_added_tokens_decoder().values()
    return is_idle and not any(t.normalized or t.lstrip or t.rstrip or t.single_word for t in added)


class Parts(NamedTuple):
    """Parts of a text in tokens.

    Attributes:
        begin: ``(W,)`` int64, where the tokens of each part begin in `tokens`.
        size: ``(W,)`` int64 number of them; -1: the tokenizer has to be asked.
        tokens: ``(T,)`` int64.
    """

    begin: npt.NDArray[np.int64]
    size: npt.NDArray[np.int64]
    tokens: npt.NDArray[np.int64]


def encode_parts(
    text: str, low: npt.NDArray[np.int64], high: npt.NDArray[np.int64], table: PairTable, added: AddedTokens
) -> Parts:
    """Cut parts of a text that are not empty into tokens.

    Args:
        text: The text.
        low: ``(W,)`` where each part begins.
        high: ``(W,)`` where it ends.
        table: The merges.
        added: Texts that the tokenizer cuts out before.
    """
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    ids = table.char_ids[codes].astype(np.int64)
    ids[added.places(text, codes)] = -1
    parts = np.stack([low, high, low, high])
    tokens = merge_parts(parts, ids, _MAX_LENGTH, table.begin, table.right, table.value, _memo(table))
    return Parts(parts[2], parts[3], tokens)


def _memo(table: PairTable) -> npt.NDArray[np.int64]:
    """Give the thread's own memory of the pairs that it looked up in a table."""
    owner = getattr(_LOCAL, "owner", None)
    if owner is None or owner() is not table.value:
        _LOCAL.owner, _LOCAL.memo = ref(table.value), np.full((2, _NUM_REMEMBERED), -1, np.int64)
    memo: npt.NDArray[np.int64] = _LOCAL.memo
    return memo


def encode_pairs(texts: Sequence[str], table: PairTable, added: AddedTokens) -> list[tuple[int, ...] | None]:
    """Cut texts that are not empty into tokens; ``None``: the tokenizer has to be asked."""
    high = np.cumsum([len(text) for text in texts])
    parts = encode_parts("".join(texts), np.append(0, high[:-1]), high, table, added)
    flat = parts.tokens.tolist()
    ends = (parts.begin + parts.size).tolist()
    return [tuple(flat[a:b]) if a < b else None for a, b in zip(parts.begin.tolist(), ends, strict=True)]
