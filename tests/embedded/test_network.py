"""The training forward gives the stock model's logits, and the batches and the noise are what they say."""

from __future__ import annotations

import pytest
import torch

from agentflow.backend.diffusion.denoiser import cache_argument
from agentflow.embedded.batches import NAME, SLOT, STRUCTURE, TAIL, Batch, BatchPlan, make_pool, weigh_turn
from agentflow.embedded.examples import Encoder, Turn
from agentflow.embedded.network import Network, Sizes, canvas_mask, gather_weights
from agentflow.embedded.objective import Objective, compute_losses, spoil


def _network(model):
    return Network(gather_weights(model, torch.float32), Sizes.of(model))


@pytest.mark.slow
@torch.no_grad()
def test_canvases_get_the_stock_models_logits(model):
    """Canvas by canvas, with and without self-conditioning, the logits are those of the stock forward."""
    ids = torch.randint(512, (2, 40))  # (B, T)
    canvases = torch.randint(512, (2, 3, 24))  # (B, C, L)
    starts = torch.tensor([[5, 17, 40], [40, 1, 30]])
    network = _network(model)
    _, cache = network.encode(ids)
    first = network.logits(network.denoise(canvases, starts, cache, None))  # (B, C * L, V)
    second = network.logits(network.denoise(canvases, starts, cache, network.signal(first)))
    for b in range(2):
        for c in range(3):
            here = slice(c * 24, (c + 1) * 24)
            stock = model(input_ids=ids[b : b + 1, : starts[b, c]], decoder_input_ids=canvases[b, c][None])
            assert torch.allclose(first[b, here], stock.logits[0], atol=1e-4)
            again = model(
                **{cache_argument(): getattr(stock, cache_argument())},
                decoder_input_ids=canvases[b, c][None],
                self_conditioning_logits=stock.logits,
            )
            assert torch.allclose(second[b, here], again.logits[0], atol=1e-4)


@torch.no_grad()
def test_the_encoder_gets_the_stock_models_hidden_states(model):
    """The causal pass equals the stock encoder's, so the same weights decode from left to right."""
    ids = torch.randint(512, (1, 30))
    hidden, _ = _network(model).encode(ids)
    stock = model(input_ids=ids, decoder_input_ids=ids[:, :24]).encoder_last_hidden_state
    assert torch.allclose(hidden, stock, atol=1e-4)


def test_a_canvas_sees_its_prefix_and_itself():
    """The mask lets a canvas see the tokens before its start and its own positions, nothing else."""
    mask = canvas_mask(torch.tensor([[1, 3]]), 4, 2)[0, 0]  # (C * L, T + C * L)
    assert mask.int().tolist() == [
        [1, 0, 0, 0, 1, 1, 0, 0],
        [1, 0, 0, 0, 1, 1, 0, 0],
        [1, 1, 1, 0, 0, 0, 1, 1],
        [1, 1, 1, 0, 0, 0, 1, 1],
    ]


@pytest.mark.slow
def test_pools_are_reproducible_and_hold_the_turns(tokenizer):
    """Equal seeds give equal batches, and each canvas is the text that follows its start."""
    encoder, plan = Encoder(tokenizer), BatchPlan(seed=1, canvas_length=24, num_tokens=4000)
    batches, again = make_pool(encoder, plan, 3), make_pool(encoder, plan, 3)
    assert all(
        torch.equal(a.ids, b.ids) and torch.equal(a.canvases, b.canvases) for a, b in zip(batches, again, strict=True)
    )
    batch = batches[0]
    for b in range(min(4, len(batch.ids))):
        for c in range(plan.num_canvases):
            length = int((batch.roles[b, c] != TAIL).sum())
            start = int(batch.starts[b, c])
            assert torch.equal(batch.ids[b, start : start + length], batch.canvases[b, c, :length])


def _batch():
    roles = torch.tensor([STRUCTURE, NAME, STRUCTURE, SLOT, SLOT, STRUCTURE, TAIL, TAIL]).expand(64, 4, 8)
    return Batch(
        torch.ones(64, 9, dtype=torch.long),
        torch.ones(64, 9),
        torch.full((64, 4, 8), 7),
        roles,
        torch.ones(64, 4, dtype=torch.long),
    )


def test_structured_noise_leaves_the_structure_clean():
    """In structured canvases forced tokens stay and slots are spoilt; the tail is always noise."""
    noisy = spoil(
        _batch(), Objective(structured_share=1, prefix_share=0, blank_share=0), 1000, torch.Generator().manual_seed(0)
    )
    is_spoilt = (noisy != 7).float().mean(dim=(0, 1))  # (L,)
    assert is_spoilt[[0, 2, 5]].max() == 0
    assert is_spoilt[[6, 7]].min() > 0.99
    assert 0.5 < is_spoilt[3] < 0.8


def test_blank_canvases_are_all_noise():
    """The first denoising step of inference sees nothing but noise; a share of training does too."""
    noisy = spoil(
        _batch(), Objective(structured_share=0, prefix_share=0, blank_share=1), 1000, torch.Generator().manual_seed(0)
    )
    assert (noisy != 7).float().mean() > 0.99


def test_prefix_noise_has_one_border():
    """In prefix canvases everything left of a place is clean and everything right of it is noise."""
    noisy = spoil(
        _batch(), Objective(structured_share=0, prefix_share=1, blank_share=0), 10**6, torch.Generator().manual_seed(0)
    )
    is_spoilt = (noisy != 7).int()
    assert bool((is_spoilt.diff(dim=-1) >= 0).all())


@pytest.mark.slow
def test_the_loss_reaches_every_trained_parameter(model, tokenizer):
    """One backward pass gives a gradient to all parameters of the decoder that are not experts' or routers'."""
    batch = make_pool(Encoder(tokenizer), BatchPlan(seed=1, canvas_length=24, num_tokens=4000), 0)[0]
    objective = Objective(conditioning_share=1)
    losses = compute_losses(_network(model), batch, objective, torch.Generator().manual_seed(0))
    losses.total.backward()
    for name, parameter in model.model.decoder.named_parameters():
        unused = (".router.", ".experts.", "layernorm_2")
        if not any(part in name for part in unused):
            assert parameter.grad is not None, name
            assert parameter.grad.abs().sum() > 0, name


def test_tokens_that_choose_weigh_more():
    """A turn's first token, a name, where a value begins and what comes behind it outweigh the rest of a copy."""
    slots, names = (0, 0, 1, 0, 1, 1, 1, 0, 0), (0, 0, 0, 0, 0, 0, 0, 0, 0)
    turn = Turn(5, tuple(range(9)), tuple(map(bool, slots)), tuple(map(bool, (0, 1, *names[2:]))))
    plan = BatchPlan(seed=1, canvas_length=24, structure_weight=0.5, choice_weight=3.0)
    assert weigh_turn(turn, plan).tolist() == [3, 3, 3, 3, 3, 1, 1, 3, 0.5]
