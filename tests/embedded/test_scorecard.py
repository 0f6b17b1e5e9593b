"""The page of scores speaks of the weights that it lies beside."""

import pytest

from agentflow.embedded.checkpoint import FOLDER
from agentflow.embedded.scorecard import render_scorecard, weights_sum


def test_the_page_says_what_was_measured_on_which_weights(tmp_path):
    """Each row is a line under its way, with its interval; the weights are named by their sum."""
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    row = {"split": "values", "what": "call", "right": 9, "all": 10, "share": 0.9, "low": 0.5958, "high": 0.9821}
    rows = [
        {"way": "diffusion", **row},
        {"way": "diffusion", **row, "what": "call/sql"},
        {"way": "left-to-right", **row},
    ]

    page = render_scorecard(rows, command="python -m agentflow.embedded.evaluate --num 5", folder=tmp_path)

    assert page.count("| values | call | 9/10 | 90.0 % | 59.6 to 98.2 % |") == page.count("| values |") == 2
    assert page.index("## diffusion") < page.index("## left-to-right")
    assert weights_sum(tmp_path) in page


@pytest.mark.embedded
@pytest.mark.skipif(not (FOLDER / "model.safetensors").is_file(), reason="the embedded checkpoint is not here")
def test_the_shipped_scores_are_of_the_shipped_weights():
    """Weights are never committed without being measured again."""
    assert f"Weights: SHA-256 `{weights_sum(FOLDER)}`." in (FOLDER / "scores.md").read_text(encoding="utf-8")
