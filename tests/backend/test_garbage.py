"""A turn that is over gives its memory back at once; megabytes of keys and values must not wait for the collector."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import anyio
import pytest
import torch

from agentflow.backend.autoregressive import AutoregressiveBackend
from agentflow.backend.base import Backend
from agentflow.backend.diffusion.backend import DiffusionBackend
from agentflow.backend.diffusion.loader import load_checkpoint
from agentflow.backend.diffusion.untrained import save_untrained_checkpoint
from agentflow.errors import AgentflowError
from agentflow.types import GenerationRequest, GenerationSettings, UserMessage


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A checkpoint with random weights."""
    return load_checkpoint(save_untrained_checkpoint(tmp_path_factory.mktemp("untrained")))


@contextmanager
def _uncollected() -> Iterator[list[object]]:
    """Gives what of ours is only reached by itself in the end."""
    found: list[object] = []
    gc.collect()
    gc.disable()
    try:
        yield found
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        kinds = [type(thing) for thing in gc.garbage]
        found += [kind for kind in kinds if kind is torch.Tensor or kind.__module__.startswith("agentflow")]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


def _request(text: str = "hello", *, is_checked: bool = True, **options: object) -> GenerationRequest:
    settings = GenerationSettings(max_new_tokens=8, max_denoising_steps=2, seed=1, is_checked=is_checked)
    return GenerationRequest(messages=(UserMessage(text),), settings=settings, **options)  # type: ignore[arg-type]


async def _ask(backend: Backend, request: GenerationRequest, *, is_watched: bool, patience_s: float) -> None:
    with suppress(AgentflowError), anyio.move_on_after(patience_s):
        await backend.generate(request, on_draft=(lambda _: None) if is_watched else None)


@pytest.mark.parametrize("is_watched", [False, True])
@pytest.mark.parametrize("patience_s", [60.0, 0.003], ids=["to the end", "cancelled"])
@pytest.mark.parametrize(
    "request_",
    [
        _request(),
        _request(is_checked=False),
        _request("long " * 40_000),
        _request(timeout_s=0.001),
        _request(output_schema={"type": "string", "minLength": 900}),
    ],
    ids=["checked", "unchecked", "oversized", "late", "beyond the budget"],
)
def test_nothing_of_a_turn_waits_for_the_collector(checkpoint, request_, patience_s, is_watched):
    """However it ended."""
    backend = DiffusionBackend(checkpoint)
    anyio.run(lambda: _ask(backend, _request(), is_watched=False, patience_s=60))  # what is made once
    with _uncollected() as found:
        for _ in range(3):
            anyio.run(lambda: _ask(backend, request_, is_watched=is_watched, patience_s=patience_s))
        backend.close()  # the engine has let go of the last row
    assert found == []


def test_nothing_of_a_left_to_right_turn_waits_for_the_collector(checkpoint):
    """The twin has the same rows."""
    backend = AutoregressiveBackend(checkpoint)
    anyio.run(lambda: _ask(backend, _request(), is_watched=False, patience_s=60))
    with _uncollected() as found:
        anyio.run(lambda: _ask(backend, _request(), is_watched=False, patience_s=60))
        backend.close()
    assert found == []
