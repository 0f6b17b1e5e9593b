"""Prompts that begin alike are read once."""

import pytest
import torch

from agentflow.backend.diffusion.denoiser import Denoiser
from agentflow.backend.diffusion.dense import DenseDenoiser
from agentflow.backend.diffusion.prefix import PrefixCache
from agentflow.backend.diffusion.untrained import build_config, build_model

PROMPT = [6 + (5 * i) % 89 for i in range(60)]


@pytest.fixture(scope="module", params=[Denoiser, DenseDenoiser])
def network(request):
    """A small network whose sliding window holds 100 tokens, through either pass."""
    return request.param(build_model(build_config(vocab_size=96, canvas_length=16, num_experts=0, sliding_window=100)))


def read(network, ids, prefixes=None):
    """Read `ids` as a row does; gives the context and how many tokens were reused."""
    context = (prefixes.find(ids) if prefixes else None) or network.open_context()
    num_reused = context.num_tokens
    network.read_inplace(context, ids[num_reused:])
    if prefixes:
        prefixes.keep(ids, context)
    return context, num_reused


@pytest.mark.parametrize(
    ("ids", "num_reused"),
    [
        ([*PROMPT, 7, 8, 9], 60),  # the prompt goes on
        ([*PROMPT[:40], 7, 8, 9], 40),  # another end
        (PROMPT[:40], 39),  # a beginning: the last token is read again
        (PROMPT, 59),
        (PROMPT[:10] + [7] * 50, 0),  # too little in common
        ([7] * 30, 0),
    ],
)
def test_a_shared_beginning_is_reused_and_changes_nothing(network, ids, num_reused):
    """The context equals one that read everything itself, and what was kept stays as it was."""
    prefixes = PrefixCache(max_bytes=1 << 20)
    kept, _ = read(network, PROMPT, prefixes)
    keys = kept.cache.layers[0].keys.clone()

    context, reused = read(network, ids, prefixes)
    expected, _ = read(network, ids)

    assert reused == num_reused
    assert context.num_tokens == len(ids)
    for layer, expected_layer in zip(context.cache.layers, expected.cache.layers, strict=True):
        torch.testing.assert_close(layer.keys, expected_layer.keys, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(layer.values, expected_layer.values, rtol=1e-4, atol=1e-4)
    assert torch.equal(kept.cache.layers[0].keys, keys)


def test_a_context_that_lost_keys_is_only_reused_whole(network):
    """Past the sliding window a context cannot be cut back, but it can go on."""
    prefixes = PrefixCache(max_bytes=1 << 20)
    long = PROMPT * 3
    read(network, long, prefixes)

    assert read(network, [*long[:150], 7], prefixes)[1] == 0
    assert read(network, [*long, 7], prefixes)[1] == len(long)


def test_memory_is_bounded_and_the_oldest_goes(network):
    """A cache for two prompts forgets the one that was used least recently."""
    one = read(network, PROMPT)[0].num_bytes
    prefixes = PrefixCache(max_bytes=2 * one)
    prompts = [[token] * 60 for token in (7, 8, 9)]
    read(network, prompts[0], prefixes)
    read(network, prompts[1], prefixes)
    read(network, [*prompts[0][:59], 6], prefixes)  # uses the first again; makes a third
    read(network, prompts[2], prefixes)

    assert prefixes.num_bytes <= 2 * one
    assert prefixes.find(prompts[1]) is None
    assert prefixes.find(prompts[2]) is not None


def test_without_memory_nothing_is_kept(network):
    """A size of 0 turns the cache off."""
    prefixes = PrefixCache(max_bytes=0)
    read(network, PROMPT, prefixes)

    assert prefixes.find(PROMPT) is None
