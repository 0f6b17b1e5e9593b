"""Requests of a pass are shared out among cores, and each gets what it would get alone."""

import threading

import pytest
import torch

from agentflow.backend.diffusion.lanes import Lanes, one_thread
from agentflow.backend.diffusion.packed import PackedDenoiser, predict
from agentflow.backend.diffusion.segment import Segment
from agentflow.backend.diffusion.untrained import build_config, build_model


@pytest.fixture(autouse=True)
def two_threads():
    """Torch on two threads, whatever the machine has."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(num_threads)


@pytest.fixture(scope="module")
def denoiser():
    """A small dense network."""
    return PackedDenoiser(build_model(build_config(vocab_size=96, canvas_length=16, num_experts=0), scale=3.0))


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([100, 30, 90, 40], [[0, 1], [2, 3]]),
        ([500], [[0]]),
        ([30, 30], [[0, 1]]),
        ([300, 10, 10, 10], [[0], [1, 2, 3]]),
    ],
    ids=str,
)
def test_shares_are_even_and_small_passes_are_not_shared(sizes, expected):
    """The largest request goes to the idlest lane; too few tokens, or one request, stay together."""
    assert Lanes().share_out(sizes) == expected


def test_lanes_give_what_one_pass_gives(denoiser):
    """Requests of all kinds, two of which share what they have read, are predicted alike in two lanes and in one."""
    generator = torch.Generator().manual_seed(0)
    texts = [torch.randint(6, 96, (n,), generator=generator).tolist() for n in (40, 50, 60, 70)]
    canvas = torch.randint(96, (16,), generator=generator)

    def run(lanes):
        denoiser.lanes = lanes
        first = denoiser.open_context()
        denoiser.read_inplace(first, texts[0])
        contexts = [first, first.fork(), denoiser.open_context(), denoiser.open_context()]
        segments = [
            Segment(contexts[0], texts[1], canvas),
            Segment(contexts[1], texts[2]),
            Segment(contexts[2], texts[3], num_unwanted=7),
            Segment(contexts[3], texts[0], canvas),
        ]
        return predict(denoiser, segments), [context.num_tokens for context in contexts]

    apart, lengths = run(None)
    together, same_lengths = run(Lanes())

    assert lengths == same_lengths == [90, 100, 70, 40]
    for expected, got in zip(apart, together, strict=True):
        torch.testing.assert_close(got.read, expected.read, rtol=1e-4, atol=1e-4)
        assert (got.canvas is None) == (expected.canvas is None)
        if expected.canvas is not None:
            torch.testing.assert_close(got.canvas, expected.canvas, rtol=1e-4, atol=1e-4)


def test_parts_run_at_once_on_one_thread_of_torch_each():
    """Each part sees the others at work, has one thread, and the caller has its own back afterwards."""
    meeting = threading.Barrier(2)

    def part():
        meeting.wait(timeout=30)
        return threading.get_ident(), torch.get_num_threads()

    (first, own), (second, other) = Lanes().run([part, part], num_tokens=200)

    assert first == threading.get_ident() != second
    assert (own, other, torch.get_num_threads()) == (1, 1, 2)


@pytest.mark.parametrize(("num_tokens", "num_threads"), [(48, 1), (512, 2)])
def test_a_single_part_has_all_threads_only_for_much_work(num_tokens, num_threads):
    """A short pass runs on one thread, a long prompt on as many as torch has."""
    assert Lanes().run([torch.get_num_threads], num_tokens=num_tokens) == [num_threads]


@pytest.mark.parametrize("failing", [0, 1])
def test_a_part_that_fails_is_raised_when_all_are_over(failing):
    """Nothing of a pass is still at work when its failure is known."""
    is_over = []

    def fail():
        raise ValueError("no such position")

    def work():
        is_over.append(True)

    with pytest.raises(ValueError, match="no such position"):
        Lanes().run([fail, work] if failing == 0 else [work, fail], num_tokens=200)
    assert is_over == [True]


def test_one_thread_gives_the_threads_back_after_an_error():
    """The caller's number of threads survives whatever happens inside."""
    seen = []

    def fail():
        with one_thread():
            seen.append(torch.get_num_threads())
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert seen == [1]
    assert torch.get_num_threads() == 2
