"""The packed pass computes what transformers' encoder and decoder compute, whoever shares the pass."""

from random import Random

import pytest
import torch

from agentflow.backend.diffusion.denoiser import Denoiser
from agentflow.backend.diffusion.packed import PackedDenoiser
from agentflow.backend.diffusion.segment import Segment
from agentflow.backend.diffusion.untrained import build_config, build_model

CLOSE = {"rtol": 1e-4, "atol": 1e-4}


@pytest.fixture(scope="module", params=[(12, 20), (16, 48)], ids=["torch", "loops"])
def model(request):
    """A dense network with sliding and full layers of different head sizes, and norms that are not 1.

    Heads of the first sizes attend with torch's attention, those of the others in compiled loops.
    """
    head_dim, global_head_dim = request.param
    config = build_config(
        vocab_size=96, canvas_length=16, num_experts=0, head_dim=head_dim, global_head_dim=global_head_dim
    )
    return build_model(config, scale=3.0)


@pytest.fixture(scope="module")
def own(model):
    """The same network, packed."""
    return PackedDenoiser(model)


def tokens(length, salt=0):
    """Some text."""
    return [6 + (7 * i + 5 * salt + i * i) % 90 for i in range(length)]


@pytest.mark.parametrize("chunks", [(10,), (60,), (10, 1, 1), (20, 16, 16, 5), (60, 16, 1)], ids=str)
def test_reading_in_pieces_equals_transformers(model, own, chunks):
    """Within and past the sliding window, hidden states agree, however the text is cut."""
    stock = Denoiser(model)
    expected_context, context = stock.open_context(), own.open_context()
    for i, length in enumerate(chunks):
        expected = stock.read_inplace(expected_context, tokens(length, i))
        torch.testing.assert_close(own.read_inplace(context, tokens(length, i)), expected, **CLOSE)


@pytest.mark.parametrize("lengths", [(40,), (5, 40, 17), (9, 9)], ids=str)
@pytest.mark.parametrize("has_signal", [False, True])
def test_canvases_equal_those_of_transformers(model, own, lengths, has_signal):
    """Canvases over contexts of any length give the logits of the stock decoder."""
    stock = Denoiser(model)
    generator = torch.Generator().manual_seed(0)
    canvases = torch.randint(96, (len(lengths), 16), generator=generator)
    signals = torch.randn(len(lengths), 16, 32, generator=generator) * has_signal
    contexts, expected_contexts = [], []
    for length in lengths:
        contexts.append(own.open_context())
        own.read_inplace(contexts[-1], tokens(length))
        expected_contexts.append(stock.open_context())
        stock.read_inplace(expected_contexts[-1], tokens(length))

    logits = own.denoise(canvases, signals, own.stack(contexts))

    expected = stock.denoise(canvases, signals, stock.stack(expected_contexts))
    torch.testing.assert_close(logits, expected, **CLOSE)
    assert expected.std() > 0.1


@pytest.mark.parametrize("num_unwanted", [(0, 0), (8, 4), (9, 5), (3, 5), (9, 0)], ids=str)
def test_one_pass_does_what_many_do(model, own, num_unwanted):
    """A request that reads, one that reads and denoises and one that denoises share a pass and get what is theirs.

    The last layer leaves out what nobody wants, also where that is all of a request; the keys are left all the same.
    """
    stock = Denoiser(model)
    canvas = torch.randint(96, (16,), generator=torch.Generator().manual_seed(3))
    contexts = [own.open_context() for _ in range(3)]
    for i, context in enumerate(contexts):
        own.read_inplace(context, tokens(20 + i, i))

    outcomes = own.run(
        [
            Segment(contexts[0], tokens(9, 7), num_unwanted=num_unwanted[0]),
            Segment(contexts[1], tokens(5, 8), canvas, num_unwanted=num_unwanted[1]),
            Segment(contexts[2], (), canvas),
        ]
    )

    for i, new in enumerate((tokens(9, 7), tokens(5, 8), [])):
        context = stock.open_context()
        stock.read_inplace(context, tokens(20 + i, i))
        if new:
            expected = stock.read_inplace(context, new)[:, num_unwanted[i] :]
            torch.testing.assert_close(outcomes[i].read[None], expected, **CLOSE)
        if i:
            expected = stock.denoise(canvas[None], torch.zeros(1, 16, 32), stock.stack([context]))
            torch.testing.assert_close(own.logits(outcomes[i].canvas)[None], expected, **CLOSE)
    assert outcomes[0].canvas is None
    assert [context.num_tokens for context in contexts] == [29, 26, 22]
    for i, new in enumerate((tokens(9, 7), tokens(5, 8), [])):
        alone = own.open_context()
        own.read_inplace(alone, tokens(20 + i, i) + new)
        torch.testing.assert_close(own.read_inplace(contexts[i], [50]), own.read_inplace(alone, [50]), **CLOSE)


def test_a_pass_may_want_nothing(own):
    """A piece of a long prompt leaves its keys, and no hidden states."""
    context, alone = own.open_context(), own.open_context()
    outcome = own.run([Segment(context, tokens(30), num_unwanted=30)])[0]
    assert outcome.read.shape == (0, 32)
    own.read_inplace(alone, tokens(30))
    torch.testing.assert_close(own.read_inplace(context, [50]), own.read_inplace(alone, [50]), **CLOSE)


def test_forks_and_crops_never_write_into_each_other(own):
    """Whoever goes on from a shared beginning, in whatever order, reads what it would read alone."""
    first = own.open_context()
    own.read_inplace(first, tokens(30))
    second = first.fork()
    own.read_inplace(first, tokens(10, 1))
    own.read_inplace(second, tokens(10, 2))
    third = first.fork()
    first.crop_inplace(33)
    own.read_inplace(first, tokens(6, 3))

    ways = {
        first: tokens(30) + tokens(10, 1)[:3] + tokens(6, 3),
        second: tokens(30) + tokens(10, 2),
        third: tokens(30) + tokens(10, 1),
    }
    for context, ids in ways.items():
        alone = own.open_context()
        own.read_inplace(alone, ids)
        torch.testing.assert_close(own.read_inplace(context, [50]), own.read_inplace(alone, [50]), **CLOSE)


@pytest.mark.parametrize("seed", range(20))
def test_any_family_of_forks_reads_what_each_would_read_alone(own, seed):
    """Forks, cuts, reads and canvases at random, several of them in one pass, also beyond the room of their store.

    Some are only kept, and go aside when others go on from an earlier place.
    """
    random = Random(seed)  # noqa: S311 - no secret
    family = [(own.open_context(), [])]
    for _ in range(60):
        context, ids = random.choice(family)
        action = random.random()
        if action < 0.35 or context.is_kept:
            fork = context.fork()
            fork.is_kept = random.random() < 0.4
            if random.random() < 0.5:
                fork.crop_inplace(random.randint(0, len(ids)))
            family.append((fork, ids[: fork.num_tokens]))
        elif action < 0.5:
            context.crop_inplace(random.randint(0, len(ids)))
            del ids[context.num_tokens :]
        elif action < 0.6 and len(family) > 4:
            family.remove((context, ids))
        else:
            canvas = torch.tensor(tokens(16, random.randint(0, 90)))
            segments = []
            able = [member for member in family if not member[0].is_kept]
            for other, known in random.sample(able, random.randint(1, len(able))):
                new = tokens(random.choice([1, 3, 70]), random.randint(0, 90))
                segments.append(Segment(other, new, random.choice([None, canvas])))
                known.extend(new)
            own.run(segments)
    for context, ids in family:
        alone = own.open_context()
        if ids:
            own.read_inplace(alone, ids)
        torch.testing.assert_close(own.read_inplace(context.fork(), [50]), own.read_inplace(alone, [50]), **CLOSE)


def test_what_is_kept_makes_room(own):
    """Turns that begin alike, one after the other, go on in one store; what was kept of each can be gone on from."""
    begin, layers, kept = own.open_context(), [], []
    own.read_inplace(begin, tokens(30))
    for i in range(4):
        turn = begin.fork() if not kept else kept[-1].fork()
        turn.crop_inplace(30)
        own.read_inplace(turn, tokens(9 + i, i))
        layers.append(turn.writable(0)[0])
        kept.append(turn.fork())
        kept[-1].is_kept = True
        del turn
        begin.is_kept = True
    assert all(layer is layers[0] for layer in layers)
    for i in (2, 0, 3, 1):
        alone, again = own.open_context(), kept[i].fork()
        own.read_inplace(alone, tokens(30) + tokens(9 + i, i))
        torch.testing.assert_close(own.read_inplace(again, [50]), own.read_inplace(alone, [50]), **CLOSE)
        assert again.writable(0)[0] is layers[0]


def test_a_conversation_goes_on_in_place(own):
    """A fork of what nobody else has gone on from is not copied; a second one is."""
    kept = own.open_context()
    own.read_inplace(kept, tokens(30))
    layers = kept.fork().writable(0)
    turn = kept.fork()
    own.run([Segment(turn, tokens(9, 1), torch.tensor(tokens(16)))])
    other = kept.fork()

    assert turn.writable(0)[0] is layers[0]
    assert other.writable(1)[0] is not layers[0]
    del turn
    again = kept.fork()
    assert again.writable(1)[0] is layers[0]


@pytest.mark.parametrize("num_rows", [1, 2, 16])
def test_products_in_bfloat16_do_not_depend_on_the_neighbours(model, own, num_rows):
    """Rounded products stay close to float32, and a request gets the very same bits alone and among others."""
    rounded = PackedDenoiser(model, product_dtype=torch.bfloat16)
    contexts = [rounded.open_context() for _ in range(num_rows)]
    rounded.run([Segment(context, tokens(30, i)) for i, context in enumerate(contexts)])
    canvases = [torch.tensor(tokens(16, 5 + i)) for i in range(num_rows)]
    outcomes = rounded.run([Segment(c, (), canvas) for c, canvas in zip(contexts, canvases, strict=True)])

    alone, exact = rounded.open_context(), own.open_context()
    rounded.read_inplace(alone, tokens(30, num_rows - 1))
    own.read_inplace(exact, tokens(30, num_rows - 1))
    hidden = rounded.run([Segment(alone, (), canvases[-1])])[0].canvas
    expected = own.logits(own.run([Segment(exact, (), canvases[-1])])[0].canvas)
    assert torch.equal(outcomes[-1].canvas, hidden)
    logits = rounded.logits(hidden)
    assert logits.dtype == torch.float32
    assert 0 < (logits - expected).abs().max() < 0.05 * expected.std() + 0.2
