"""What is kept out of training, decided by a hash of the thing itself.

The names of the splits say what is new in them: `values` has values that training never shows,
`phrasings` also has phrasings, and `tools` also has tools that it never shows.
"""

from __future__ import annotations

import zlib
from typing import Literal, TypeAlias

Split: TypeAlias = Literal["train", "values", "phrasings", "tools"]

_NUM_BUCKETS = {"value": 12, "phrasing": 12, "tool": 8}


def is_held_out(kind: Literal["value", "phrasing", "tool"], text: str) -> bool:
    """Say whether a value, a phrasing or a tool's name is kept out of training."""
    return zlib.crc32(f"{kind}/{text}".encode()) % _NUM_BUCKETS[kind] == 0


def wants_held_out(kind: Literal["value", "phrasing", "tool"], split: Split) -> bool:
    """Say whether a split draws its values, phrasings or tools from what is held out."""
    return {
        "value": split != "train",
        "phrasing": split in ("phrasings", "tools"),
        "tool": split == "tools",
    }[kind]
