"""Byte-pair encoding of many short texts at once, for tokenizers that merge characters of the whole text.

A tokenizer needs several microseconds for each call, and a grounded slot has thousands of pieces to spell. Tokenizers
that know spaces as a character like others (Gemma) are read into arrays here, and the same tokens are found; for all
others, and for texts that hold an added token or a character without one, the tokenizer itself is asked.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from agentflow.constraint.automaton import IntArray
from agentflow.constraint.pair_kernels import UNUSABLE, merge_pairs

_MAX_LENGTH = 200
_SPACE, _WRITTEN_SPACE = " ", "▁"
_NUM_CODES = 0x110000


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


def encode_pairs(texts: Sequence[str], table: PairTable, added: AddedTokens) -> list[tuple[int, ...] | None]:
    """Cut texts that are not empty into tokens; ``None``: the tokenizer has to be asked."""
    joined = "".join(texts)
    codes = np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), np.uint32)
    sizes = np.array([len(text) for text in texts], np.int64)
    ends = np.cumsum(sizes)
    ids = table.char_ids[codes]
    is_strange = ids < 0
    is_strange[added.places(joined, codes)] = True
    is_plain = (np.add.reduceat(is_strange, ends - sizes) == 0) & (sizes <= _MAX_LENGTH)
    if not is_plain.all():
        ids = ids[np.repeat(is_plain, sizes)]
    chosen_ends = np.cumsum(sizes[is_plain])
    num_tokens = np.zeros(len(chosen_ends), np.int64)
    merge_pairs(chosen_ends, ids, num_tokens, table.begin, table.right, table.value, np.empty(len(ids), np.int64))
    num_tokens = np.maximum(num_tokens, 0)
    num_left = chosen_ends - sizes[is_plain] - np.cumsum(num_tokens) + num_tokens  # places without a token before each
    flat = ids[np.arange(num_tokens.sum()) + np.repeat(num_left, num_tokens)].tolist()
    num = np.zeros(len(texts), np.int64)
    num[is_plain] = num_tokens
    high = np.cumsum(num)
    low = high - num
    return [tuple(flat[a:b]) if a < b else None for a, b in zip(low.tolist(), high.tolist(), strict=True)]
