import pytest
import torch

from agentflow.backend.diffusion.canvas import Row
from agentflow.backend.diffusion.checked_step import check_step
from agentflow.backend.diffusion.denoiser import Denoiser
from agentflow.backend.diffusion.sampler import SamplerConfig
from agentflow.backend.diffusion.step import denoise_step
from agentflow.backend.diffusion.untrained import build_config, build_model


@pytest.fixture(scope="session")
def denoiser():
    """A small random network of the released shape: experts, sliding and full layers, a vision tower."""
    return Denoiser(build_model(build_config(vocab_size=96, canvas_length=16), scale=4.0))


@pytest.fixture
def make_row():
    """A row without a constraint for a prompt of random tokens."""

    def make(seed, *, num_prompt_tokens=20, max_new_tokens=48, end_ids=(1, 5), draft_ids=(), **config):
        prompt = torch.randint(6, 96, (num_prompt_tokens,), generator=torch.Generator().manual_seed(seed))
        return Row(
            prompt_ids=prompt.tolist(),
            max_new_tokens=max_new_tokens,
            end_ids=frozenset(end_ids),
            config=SamplerConfig(**{"max_denoising_steps": 10, **config}),
            generator=torch.Generator().manual_seed(seed),
            draft_ids=list(draft_ids),
        )

    return make


@pytest.fixture
def run_rows():
    """Run rows to their end in shared steps; rows that finish leave the batch."""

    def run(denoiser, rows):
        for row in rows:
            row.open(denoiser)
        is_open = list(rows)
        while is_open:
            checked = [row for row in is_open if row.check is not None]
            plain = [row for row in is_open if row.check is None]
            if checked:
                check_step(denoiser, checked)
            if plain:
                denoise_step(denoiser, plain, denoiser.stack([row.context for row in plain]))
            for row in plain:
                if row.is_reading:
                    row.read_some(denoiser, len(row.unread))
            is_open = [row for row in is_open if not row.is_finished]
        return [row.committed for row in rows]

    return run
