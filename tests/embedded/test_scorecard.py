"""The page of scores speaks of the weights that it lies beside."""

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
