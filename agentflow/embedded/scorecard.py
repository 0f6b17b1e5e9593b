"""The scores of a checkpoint as a page beside it: what was measured, by which command, on which weights.

The page is made by ``python -m agentflow.embedded.evaluate --report FILE``, never by hand; the sum over the weights
says which ones it speaks of.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def weights_sum(folder: Path) -> str:
    """SHA-256 over the weights of a checkpoint folder, in hexadecimal."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def render_scorecard(rows: Sequence[Mapping[str, Any]], *, command: str, folder: Path) -> str:
    """The page, in Markdown, without the single kinds of tasks.

    Args:
        rows: What `agentflow.embedded.tally.report` gives, of all ways and splits.
        command: How they were measured.
        folder: The checkpoint.
    """
    lines = [
        "# Scores",
        "",
        f"    {command}",
        "",
        f"Weights: SHA-256 `{weights_sum(folder)}`. Intervals: 95 % (Wilson).",
    ]
    for way in dict.fromkeys(row["way"] for row in rows):
        lines += ["", f"## {way}", "", "| conversations | what | right | share | interval |", "|---|---|---|---|---|"]
        lines += [_render_row(row) for row in rows if row["way"] == way and "/" not in row["what"]]
    return "\n".join(lines) + "\n"


def _render_row(row: Mapping[str, Any]) -> str:
    share, low, high = (f"{100 * row[name]:.1f}" for name in ("share", "low", "high"))
    return f"| {row['split']} | {row['what']} | {row['right']}/{row['all']} | {share} % | {low} to {high} % |"
