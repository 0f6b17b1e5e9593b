"""Attention in compiled loops gives what torch's attention gives."""

import numpy as np
import pytest
import torch

from agentflow.backend.diffusion.attention import attend, write_keys

ROOM = 128


def make_store(num_keys, size, num_written, generator):
    """Keys and values of some positions; what is behind them is no number."""
    keys = torch.full((num_keys, size, ROOM), torch.nan)
    values = torch.full((num_keys, ROOM, size), torch.nan)
    keys[:, :, :num_written] = torch.randn(num_keys, size, num_written, generator=generator)
    values[:, :num_written] = torch.randn(num_keys, num_written, size, generator=generator)
    return keys, values


def expect(asked, keys, values, first, end, *, is_read, window):
    """The reference: scores with a mask, softmax, weighted values, in float64."""
    num, num_heads, _ = asked.shape
    group = num_heads // len(keys)
    keys = keys[:, :, :end].double().repeat_interleave(group, dim=0)  # (Q, D, T)
    values = values[:, :end].double().repeat_interleave(group, dim=0)  # (Q, T, D)
    own = first + (torch.arange(num) if is_read else torch.zeros(num, dtype=torch.long))[:, None]
    position = torch.arange(end)
    is_hidden = (position > own) if is_read else torch.zeros(num, end, dtype=torch.bool)
    if window:
        is_hidden |= position <= own - window
    scores = (asked.transpose(0, 1).double() @ keys).masked_fill(is_hidden, -torch.inf)  # (Q, n, T)
    return (scores.softmax(dim=-1) @ values).transpose(0, 1).float()  # (n, Q, D)


@pytest.mark.parametrize(("size", "num_heads"), [(16, 2), (32, 4), (48, 4)])
@pytest.mark.parametrize(("num", "first"), [(1, 0), (1, 70), (3, 0), (4, 29), (9, 61), (33, 50), (100, 0)])
@pytest.mark.parametrize("window", [0, 7, 40])
@pytest.mark.parametrize("is_read", [True, False])
def test_it_equals_softmax_attention(size, num_heads, num, first, window, is_read):  # noqa: PLR0917 - parameters
    """Any number of tokens anywhere in the context, heads that share keys, with and without a window."""
    generator = torch.Generator().manual_seed(num + first)
    asked = 2 * torch.randn(num + 5, num_heads + 2, size, generator=generator)  # (N, Q + K, D)
    keys, values = make_store(2, size, first + num, generator)
    out = torch.full((num + 5, num_heads, size), 7.0)

    attend(asked.numpy(), 2, num, keys.numpy(), values.numpy(), first, first + num, is_read, window, out.numpy())

    rows = slice(2, 2 + num)
    expected = expect(asked[rows, :num_heads], keys, values, first, first + num, is_read=is_read, window=window)
    torch.testing.assert_close(out[rows], expected, rtol=2e-5, atol=2e-5)
    assert (out[:2] == 7).all()
    assert (out[rows.stop :] == 7).all()


def test_scores_far_apart_and_alike_are_weighed_well():
    """The largest score may be 1e4 larger than the others, or all may be the same: weights stay exact."""
    keys, values = torch.zeros(1, 16, ROOM), torch.randn(1, ROOM, 16)
    asked, out = torch.ones(3, 1, 16), torch.zeros(3, 1, 16)
    keys[0, 0, 5] = 1e4
    attend(asked.numpy(), 0, 3, keys.numpy(), values.numpy(), 0, 20, False, 0, out.numpy())
    torch.testing.assert_close(out, values[:, 5].expand(3, 1, 16))
    attend(asked.numpy(), 0, 3, keys.numpy(), values.numpy(), 0, 5, False, 0, out.numpy())
    torch.testing.assert_close(out, values[:, :5].mean(dim=1).expand(3, 1, 16))


def test_a_row_has_the_same_bits_alone():
    """What a token finds does not depend on the tokens beside it."""
    generator = torch.Generator().manual_seed(0)
    asked = torch.randn(11, 2, 32, generator=generator)
    keys, values = make_store(2, 32, 90, generator)
    together, alone = np.zeros((11, 2, 32), np.float32), np.zeros((11, 2, 32), np.float32)
    attend(asked.numpy(), 0, 11, keys.numpy(), values.numpy(), 79, 90, True, 0, together)
    for i in range(11):
        attend(asked.numpy(), i, 1, keys.numpy(), values.numpy(), 79 + i, 80 + i, True, 0, alone)
    assert (together == alone).all()


def test_keys_and_values_are_written_where_they_belong():
    """They are the last heads of each, and nothing else changes."""
    generator = torch.Generator().manual_seed(0)
    turned, heads = torch.randn(9, 6, 16, generator=generator), torch.randn(9, 8, 16, generator=generator)
    keys, values = torch.zeros(2, 16, ROOM), torch.zeros(2, ROOM, 16)

    write_keys(turned.numpy(), heads.numpy(), 3, 4, keys.numpy(), values.numpy(), 20)

    assert torch.equal(keys[:, :, 20:24], turned[3:7, 4:].permute(1, 2, 0))
    assert torch.equal(values[:, 20:24], heads[3:7, 6:].transpose(0, 1))
    assert not keys[:, :, :20].any() and not keys[:, :, 24:].any()  # noqa: PT018
    assert not values[:, :20].any() and not values[:, 24:].any()  # noqa: PT018
