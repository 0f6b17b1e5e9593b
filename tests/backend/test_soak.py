"""A short soak: random arrivals, cancellations, deadlines and oversized prompts."""

import sys
from functools import partial
from pathlib import Path

import anyio
import pytest

from agentflow.backend.diffusion.untrained import save_untrained_checkpoint

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))


@pytest.mark.slow
def test_nothing_is_stuck_left_over_or_delivered_to_the_wrong_agent(tmp_path):
    """For some seconds everything happens at once; every answer is right, and the engine is empty at the end."""
    from soak import run_soak

    model = save_untrained_checkpoint(tmp_path)

    soak = anyio.run(partial(run_soak, model=str(model), duration_s=8.0, num_agents=12, seed=1))

    assert soak.failures == []
    assert soak.outcomes["answered"] > 0
    assert soak.outcomes["cancelled"] + soak.outcomes["late"] > 0
