"""Independent steps on a real engine: one batch of canvases, and the time of the slowest call."""

import time

import anyio
import pytest

from agentflow.planner import Planner
from agentflow.tool import tool
from agentflow.types import GenerationSettings, PlanStep

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

NUM_STEPS = 8
NUM_DENOISING_STEPS = 6
SLOWEST_S = 0.25


@pytest.fixture(scope="module")
def backend(tmp_path_factory):
    """A random network behind the real engine; the constraint makes its calls valid."""
    from agentflow.backend.diffusion.backend import DiffusionBackend
    from agentflow.backend.diffusion.loader import load_checkpoint
    from agentflow.backend.diffusion.untrained import save_untrained_checkpoint

    folder = tmp_path_factory.mktemp("untrained")
    save_untrained_checkpoint(folder)
    made = DiffusionBackend(load_checkpoint(folder))
    yield made
    made.close()


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_eight_calls_are_one_batch_and_take_the_time_of_the_slowest(backend):
    """Eight canvases share their denoising steps, and the tools run side by side.

    One after the other the canvases would take 8 x 6 = 48 forward passes; together they take 6, and a few more because
    requests reach the engine within some milliseconds of each other. The tools would take 4.5 times the slowest one.
    """
    begun, spans = [], []

    @tool
    async def wait(number: int) -> int:
        begun.append(number)
        begun_s = time.perf_counter()
        await anyio.sleep(SLOWEST_S * len(begun) / NUM_STEPS)
        spans.append((begun_s, time.perf_counter()))
        return number

    steps = tuple(PlanStep(id=f"s{i}", tool="wait", goal=f"wait {i}") for i in range(NUM_STEPS))
    settings = GenerationSettings(seed=1, max_new_tokens=48, max_denoising_steps=NUM_DENOISING_STEPS)
    loop = await Planner(backend, tools=[wait], settings=settings).prepare("wait")
    loop.state.set_plan(steps)
    before = backend.statistics()
    await loop.state.run_pending_steps()
    after = backend.statistics()
    assert [step.state for step in loop.state.plan.steps] == ["done"] * NUM_STEPS
    num_passes = after.num_steps - before.num_steps
    assert after.num_canvas_steps - before.num_canvas_steps > 3 * num_passes, "the canvases were not drafted together"
    assert num_passes <= 2 * NUM_DENOISING_STEPS
    durations_s = [end - begun for begun, end in spans]
    took_s = max(end for _, end in spans) - min(begun for begun, _ in spans)
    assert took_s < 2 * max(durations_s) + 0.1
    assert took_s < 0.8 * sum(durations_s)
