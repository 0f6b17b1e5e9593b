"""Rows share forward passes and never notice."""

import threading

import pytest
import torch

from agentflow.backend.diffusion.engine import Engine
from agentflow.errors import BackendError

COOL = {"t_min": 0.05, "t_max": 0.2, "entropy_bound": 8.0, "confidence_threshold": 9.0}


@pytest.fixture
def make_rows(make_row):
    """Seven rows of different prompts, budgets and schedules."""

    def make():
        return [
            make_row(
                seed, num_prompt_tokens=3 + 9 * seed, max_new_tokens=16 + 16 * (seed % 3), **(COOL if seed % 2 else {})
            )
            for seed in range(7)
        ]

    return make


@pytest.mark.slow
def test_a_row_in_a_batch_writes_what_it_writes_alone(denoiser, make_rows, run_rows):
    """Different prompt lengths, budgets and schedules in one batch change no token."""
    alone = [run_rows(denoiser, [row])[0] for row in make_rows()]

    assert run_rows(denoiser, make_rows()) == alone


def test_padding_does_not_reach_the_logits(denoiser):
    """A short context beside a long one gives the logits that it gives alone, up to rounding."""
    contexts = []
    for length in (5, 40):
        context = denoiser.open_context()
        denoiser.read_inplace(context, list(range(6, 6 + length)))
        contexts.append(context)
    canvases = torch.randint(96, (2, 16), generator=torch.Generator().manual_seed(0))
    signals = torch.randn(2, 16, 32, generator=torch.Generator().manual_seed(1))

    together = denoiser.denoise(canvases, signals, denoiser.stack(contexts))

    for i, context in enumerate(contexts):
        alone = denoiser.denoise(canvases[i : i + 1], signals[i : i + 1], denoiser.stack([context]))
        torch.testing.assert_close(together[i : i + 1], alone, rtol=1e-4, atol=1e-4)


def test_a_forked_context_goes_its_own_way(denoiser):
    """What the fork reads leaves the original as it was."""
    original = denoiser.open_context()
    denoiser.read_inplace(original, list(range(6, 40)))
    keys = [layer.keys.clone() for layer in original.cache.layers]

    fork = original.fork()
    denoiser.read_inplace(fork, [7, 8, 9])

    assert (original.num_tokens, fork.num_tokens) == (34, 37)
    assert all(torch.equal(layer.keys, old) for layer, old in zip(original.cache.layers, keys, strict=True))


class Inbox:
    """Collects what the engine says about its rows, and lets a test wait for it."""

    def __init__(self):
        self.errors = {}
        self._is_full = threading.Condition()

    def slot(self, key):
        def on_done(error):
            with self._is_full:
                self.errors[key] = error
                self._is_full.notify_all()

        return on_done

    def wait(self, count):
        with self._is_full:
            assert self._is_full.wait_for(lambda: len(self.errors) >= count, timeout=60)


@pytest.mark.slow
def test_the_engine_writes_what_rows_write_alone(denoiser, make_rows, run_rows):
    """Rows that join at step borders, wait for a place and leave early write the same tokens."""
    alone = [run_rows(denoiser, [row])[0] for row in make_rows()]
    engine, inbox, rows = Engine(denoiser, max_rows=3), Inbox(), make_rows()

    for i, row in enumerate(rows):
        engine.submit(row, inbox.slot(i))
    inbox.wait(len(rows))
    statistics = engine.statistics()
    engine.close()

    assert set(inbox.errors.values()) == {None}
    assert [row.committed for row in rows] == alone
    assert statistics.num_rows_finished == len(rows)
    assert 1 < statistics.canvases_per_step <= 3


def test_a_cancelled_row_leaves_at_the_next_step(denoiser, make_row):
    """The row stops within a step and its place goes to the row that waits."""
    engine, inbox = Engine(denoiser, max_rows=1), Inbox()
    endless = make_row(1, max_new_tokens=4000, max_denoising_steps=1000, end_ids=())
    steps_when_cancelled = []

    def cancel_after_two(view):
        if view.step == 2:
            engine.cancel(ticket)
            steps_when_cancelled.append(view.step)

    is_ready = threading.Event()
    endless.observe = lambda view: (is_ready.wait(), cancel_after_two(view))
    ticket = engine.submit(endless, inbox.slot("endless"))
    is_ready.set()
    engine.submit(make_row(2, max_new_tokens=16), inbox.slot("next"))
    inbox.wait(1)
    engine.close()

    assert inbox.errors == {"next": None}
    assert endless.step == 2
    assert engine.statistics().num_rows_dropped == 1


def test_closing_fails_what_is_open_and_what_comes_later(denoiser, make_row):
    """Nobody waits for ever: open rows fail, later ones are refused, and closing again does nothing."""
    engine, inbox = Engine(denoiser), Inbox()
    is_running = threading.Event()
    row = make_row(1, max_new_tokens=4000, max_denoising_steps=1000, end_ids=())
    row.observe = lambda _: is_running.set()
    engine.submit(row, inbox.slot("open"))
    assert is_running.wait(60)

    engine.close()
    engine.close()

    assert isinstance(inbox.errors["open"], BackendError)
    with pytest.raises(BackendError, match="closed"):
        engine.submit(make_row(2), inbox.slot("late"))


def test_a_failing_network_is_an_error_of_every_row(denoiser, make_row):
    """A row whose prompt cannot be read fails alone, with the cause in the message."""
    engine, inbox = Engine(denoiser), Inbox()
    bad = make_row(1, max_new_tokens=16)
    bad.prompt_ids = [10_000]
    engine.submit(bad, inbox.slot("bad"))
    engine.submit(make_row(2, max_new_tokens=16), inbox.slot("good"))
    inbox.wait(2)
    engine.close()

    assert isinstance(inbox.errors["bad"], BackendError)
    assert "token 10000" in str(inbox.errors["bad"])
    assert inbox.errors["good"] is None
