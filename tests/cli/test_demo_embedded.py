"""The demo as users run it: the embedded model, real tools, the right answer."""

import pytest

from agentflow.cli.app import main


@pytest.mark.slow
@pytest.mark.embedded
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_demo_finds_the_right_answer(seed, capsys):
    """Three seeds out of three: several calls, a checked answer, exit code 0."""
    code = main(["demo", "--seed", str(seed)])
    told = capsys.readouterr().out
    assert code == 0, told
    assert "The answer is right." in told
    assert told.count("  call   ") >= 2
