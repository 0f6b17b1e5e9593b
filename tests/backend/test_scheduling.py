"""Who comes next, who has to wait, who is refused, and how long prompts are read."""

import threading
import time

import pytest

from agentflow.backend.diffusion.engine import Engine
from agentflow.backend.diffusion.packed import PackedDenoiser
from agentflow.backend.diffusion.untrained import build_config, build_model
from agentflow.errors import BackendError, OverloadedError


@pytest.fixture(scope="module")
def packed():
    """A small dense network that runs packed passes."""
    return PackedDenoiser(build_model(build_config(vocab_size=96, canvas_length=16, num_experts=0), scale=4.0))


class Gate:
    """Holds the engine in a pass of its first row until it is opened, so that others pile up behind it."""

    def __init__(self, engine, row):
        self.order, self.errors = [], {}
        self._is_held, self._may_go, self._changed = threading.Event(), threading.Event(), threading.Condition()
        row.observe = lambda _: (self._is_held.set(), self._may_go.wait(60))
        self._engine = engine
        self.submit("first", row)
        assert self._is_held.wait(60)

    def submit(self, name, row, **options):
        def on_done(error):
            with self._changed:
                self.order.append(name)
                self.errors[name] = error
                self._changed.notify_all()

        return self._engine.submit(row, on_done, **options)

    def open(self, count):
        self._may_go.set()
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.order) >= count, timeout=60)


@pytest.fixture
def short_row(make_row):
    """Rows that take few passes."""
    return lambda seed, **options: make_row(seed, max_new_tokens=16, max_denoising_steps=2, **options)


def test_priority_then_turns_then_deadline_then_arrival(denoiser, short_row):
    """One place: the urgent first, then whose agent has nothing open, the earliest deadline, the first to come."""
    engine = Engine(denoiser, max_rows=1)
    gate = Gate(engine, short_row(0))
    gate.submit("plain", short_row(1))
    gate.submit("soon", short_row(2), deadline_s=time.monotonic() + 500)
    gate.submit("sooner", short_row(3), deadline_s=time.monotonic() + 400)
    gate.submit("urgent", short_row(4), priority=1)
    gate.open(5)
    engine.close()
    assert gate.order == ["first", "urgent", "sooner", "soon", "plain"]


def test_agents_take_turns(denoiser, short_row):
    """An agent with many requests does not keep another waiting behind all of them."""
    engine = Engine(denoiser, max_rows=2)
    gate = Gate(engine, short_row(0, end_ids=()))
    for i in range(4):
        gate.submit(f"many {i}", short_row(i + 1, end_ids=()), agent="many")
    gate.submit("one", short_row(9, end_ids=()), agent="one")
    gate.open(6)
    engine.close()
    assert gate.order.index("one") <= 2


def test_a_full_queue_refuses(denoiser, short_row):
    """Past its end the queue says so at once; what it took is answered."""
    engine = Engine(denoiser, max_rows=1, max_waiting=2)
    gate = Gate(engine, short_row(0))
    gate.submit("a", short_row(1))
    gate.submit("b", short_row(2))
    with pytest.raises(OverloadedError, match="2 requests wait"):
        engine.require_room()
    with pytest.raises(OverloadedError, match="2 requests wait"):
        gate.submit("c", short_row(3))
    gate.open(3)
    assert engine.statistics().num_refused == 2
    engine.close()
    assert gate.order == ["first", "a", "b"]


def test_a_row_that_is_too_late_fails_before_it_begins(denoiser, short_row):
    """Its deadline passed in the queue, so no pass is spent on it."""
    engine = Engine(denoiser, max_rows=1)
    gate = Gate(engine, short_row(0))
    late = short_row(1)
    gate.submit("late", late, deadline_s=time.monotonic() - 1.0)
    gate.submit("good", short_row(2))
    gate.open(3)
    engine.close()
    assert isinstance(gate.errors["late"], BackendError)
    assert gate.errors["good"] is None
    assert not hasattr(late, "context")


@pytest.mark.parametrize("is_checked", [False, True])
def test_a_long_prompt_is_read_in_pieces_while_others_go_on(packed, make_row, is_checked):
    """Beside an open canvas, a prompt of 1,500 tokens takes several passes, and the canvas takes part in all."""
    engine = Engine(packed)
    steps = []
    row = make_row(0, max_new_tokens=4000, max_denoising_steps=1000, end_ids=())
    gate = Gate(engine, row)
    long = make_row(1, num_prompt_tokens=1500, max_new_tokens=16, is_checked=is_checked)
    held = row.observe
    row.observe = lambda view: (held(view), steps.append(long.is_reading and hasattr(long, "context")))
    gate.submit("long", long)
    gate.open(1)
    engine.close()
    assert gate.errors["long"] is None
    assert sum(steps) >= 2


@pytest.mark.parametrize("is_checked", [False, True])
def test_rows_that_begin_alike_read_their_beginning_once(packed, make_row, is_checked):
    """Three rows at once with one long beginning: one reads it, the others wait for it and reuse it."""
    engine = Engine(packed)
    gate = Gate(engine, make_row(0, max_new_tokens=16, is_checked=is_checked))
    rows = [make_row(5, num_prompt_tokens=400, max_new_tokens=16, is_checked=is_checked) for _ in range(3)]
    for i, row in enumerate(rows):
        row.prompt_ids[-5:] = [10 + i] * 5
        gate.submit(f"row {i}", row)
    gate.open(4)
    engine.close()
    assert sorted(row.counts.cached_input_tokens for row in rows) == [0, 395, 395]


@pytest.mark.parametrize("is_checked", [False, True])
def test_batched_reused_and_watched_rows_write_what_rows_write_alone(packed, make_row, run_rows, is_checked):
    """Neighbours, a kept beginning and somebody who watches change no token."""

    def make():
        rows = [make_row(seed, num_prompt_tokens=60 + seed, max_new_tokens=40, is_checked=is_checked)
                for seed in range(5)]  # fmt: skip
        for row in rows:
            row.prompt_ids[:40] = [7 + i for i in range(40)]
        return rows

    alone = [run_rows(packed, [row])[0] for row in make()]
    rows = make()
    views = {i: [] for i in range(len(rows))}
    engine = Engine(packed, max_rows=3)
    gate = Gate(engine, make_row(9, max_new_tokens=16))
    for i, row in enumerate(rows):
        row.observe = views[i].append if i % 2 else None
        gate.submit(i, row)
    gate.open(len(rows) + 1)
    engine.close()

    assert [row.committed for row in rows] == alone
    assert any(row.counts.cached_input_tokens for row in rows)
    assert all(views[i][-1].is_committed for i in views if i % 2)


def test_drafts_have_room_for_what_recent_turns_took(packed, make_row):
    """On an idle CPU a draft is a whole canvas at first, and after many turns of six tokens little more than these."""
    engine = Engine(packed, max_rows=1)
    lengths = {}
    gate = Gate(engine, make_row(0, max_new_tokens=6, is_checked=True))
    for name in ("early", *range(40), "late"):
        row = make_row(3, max_new_tokens=6 if isinstance(name, int) else 40, is_checked=True)
        row.observe = lambda view, name=name: lengths.setdefault(name, len(view.tokens))
        gate.submit(name, row)
    gate.open(43)
    engine.close()
    assert (lengths["early"], lengths["late"]) == (16, 8)
