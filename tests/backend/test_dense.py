"""Our own decoder pass computes what transformers' computes."""

import pytest
import torch

from agentflow.backend.diffusion.denoiser import Denoiser
from agentflow.backend.diffusion.dense import DenseDenoiser
from agentflow.backend.diffusion.untrained import build_config, build_model


@pytest.fixture(scope="module")
def model():
    """A dense network with sliding and full layers of different head sizes, and norms that are not 1."""
    return build_model(build_config(vocab_size=96, canvas_length=16, num_experts=0), scale=3.0)


@pytest.mark.parametrize("lengths", [(40,), (5, 40, 17), (9, 9)], ids=str)
def test_logits_equal_those_of_transformers(model, lengths):
    """One row, padded rows and rows of one length give equal logits, with and without self-conditioning."""
    stock, own = Denoiser(model), DenseDenoiser(model)
    contexts = []
    for length in lengths:
        context = stock.open_context()
        stock.read_inplace(context, [6 + i % 90 for i in range(length)])
        contexts.append(context)
    generator = torch.Generator().manual_seed(0)
    canvases = torch.randint(96, (len(lengths), 16), generator=generator)
    for signals in (
        torch.zeros(len(lengths), 16, 32),
        torch.randn(len(lengths), 16, 32, generator=generator),
    ):
        expected = stock.denoise(canvases, signals, stock.stack(contexts))
        torch.testing.assert_close(own.denoise(canvases, signals, own.stack(contexts)), expected, rtol=1e-4, atol=1e-4)
        assert expected.std() > 0.1


@pytest.mark.parametrize("chunks", [(10,), (60,), (10, 1, 1), (20, 16, 16, 5), (60, 16, 1)], ids=str)
def test_reading_in_pieces_equals_transformers(model, chunks):
    """Within and past the sliding window, hidden states and kept keys agree, however the text is cut."""
    stock, own = Denoiser(model), DenseDenoiser(model)
    expected_context, context = stock.open_context(), own.open_context()
    for i, length in enumerate(chunks):
        ids = [6 + (7 * i + 5 * j) % 90 for j in range(length)]
        expected = stock.read_inplace(expected_context, ids)
        torch.testing.assert_close(own.read_inplace(context, ids), expected, rtol=1e-4, atol=1e-4)

    assert context.num_tokens == expected_context.num_tokens == sum(chunks)
    for layer, expected_layer in zip(context.cache.layers, expected_context.cache.layers, strict=True):
        torch.testing.assert_close(layer.keys, expected_layer.keys, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(layer.values, expected_layer.values, rtol=1e-4, atol=1e-4)


def test_it_declines_what_it_does_not_compute(denoiser, model):
    """A network with experts runs through transformers' layers."""
    assert DenseDenoiser.can_run(model)
    assert not DenseDenoiser.can_run(denoiser.model)
