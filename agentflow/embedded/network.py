"""The forward pass that training uses: the stock model's parameters, arranged for speed.

A conversation is encoded once. All canvases of its model turns are then denoised in one pass: canvas k
attends to the encoder's keys before its start, and to itself.

    keys:      encoder tokens 0..T-1         | canvas 0 | canvas 1 | ...
    canvas 0   # # # . . . . . . . . . . . . | # # # #  | . . . .  |
    canvas 1   # # # # # # # # # . . . . . . | . . . .  | # # # #  |

The logits are those of `DiffusionGemmaForBlockDiffusion`, which a test checks. Dense text layers only.
Shapes: B conversations, T tokens, C canvases of L tokens, H heads of width K, D hidden, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

EPS = 1e-6


class LayerWeights(NamedTuple):
    """The tensors of one layer, projections fused and cast for matrix products."""

    qkv: Tensor
    out: Tensor
    gate_up: Tensor
    down: Tensor
    q_norm: Tensor
    k_norm: Tensor
    input_norm: Tensor
    post_attention_norm: Tensor
    pre_feedforward_norm: Tensor
    mlp_norm: Tensor
    post_feedforward_norm: Tensor


class Weights(NamedTuple):
    """The tensors of the model as the forward pass reads them."""

    embedding: Tensor
    norm: Tensor
    layers: tuple[LayerWeights, ...]
    conditioning_norm: Tensor
    conditioning_gate_up: Tensor
    conditioning_down: Tensor


class Sizes(NamedTuple):
    """What the forward pass must know beside the tensors."""

    num_heads: int
    num_kv_heads: int
    head_dim: int
    rope_theta: float
    softcap: float

    @classmethod
    def of(cls, model: Any) -> Sizes:
        """Read the sizes of a stock model."""
        text = model.config.text_config
        rope = text.rope_parameters["sliding_attention"]
        return cls(
            text.num_attention_heads,
            text.num_key_value_heads,
            text.head_dim,
            rope["rope_theta"],
            text.final_logit_softcapping,
        )


def gather_weights(model: Any, dtype: torch.dtype) -> Weights:
    """Fuse and cast the parameters of a stock model; gradients flow back to them.

    Args:
        model: A dense `DiffusionGemmaForBlockDiffusion`.
        dtype: Type of the matrix products; norms stay in float32.
    """
    decoder = model.model.decoder
    conditioning = decoder.self_conditioning
    return Weights(
        embedding=decoder.embed_tokens.weight,
        norm=decoder.norm.weight,
        layers=tuple(_gather_layer(layer, dtype) for layer in decoder.layers),
        conditioning_norm=conditioning.pre_norm.weight,
        conditioning_gate_up=torch.cat([conditioning.gate_proj.weight, conditioning.up_proj.weight]).to(dtype),
        conditioning_down=conditioning.down_proj.weight.to(dtype),
    )


def _gather_layer(layer: Any, dtype: torch.dtype) -> LayerWeights:
    attention = layer.self_attn
    value = attention.k_proj if attention.v_proj is None else attention.v_proj  # the full layer has K = V
    return LayerWeights(
        qkv=torch.cat([attention.q_proj.weight, attention.k_proj.weight, value.weight]).to(dtype),
        out=attention.o_proj.weight.to(dtype),
        gate_up=torch.cat([layer.mlp.gate_proj.weight, layer.mlp.up_proj.weight]).to(dtype),
        down=layer.mlp.down_proj.weight.to(dtype),
        q_norm=attention.q_norm.weight,
        k_norm=attention.k_norm.weight,
        input_norm=layer.input_layernorm.weight,
        post_attention_norm=layer.post_attention_layernorm.weight,
        pre_feedforward_norm=layer.pre_feedforward_layernorm.weight,
        mlp_norm=layer.post_feedforward_layernorm_1.weight,
        post_feedforward_norm=layer.post_feedforward_layernorm.weight,
    )


def rms_norm(x: Tensor, weight: Tensor | None = None) -> Tensor:
    """Root-mean-square norm over the last axis, in float32."""
    x = x.float()
    x = x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + EPS)
    return x if weight is None else x * weight


def rope_tables(positions: Tensor, sizes: Sizes) -> tuple[Tensor, Tensor]:
    """Give cosine and sine of the rotary embedding, each `(B, T, K)`, for positions `(B, T)`."""
    steps = torch.arange(0, sizes.head_dim, 2, dtype=torch.float32, device=positions.device)
    inverse = 1.0 / (sizes.rope_theta ** (steps / sizes.head_dim))  # (K/2,)
    angles = positions[..., None].float() * inverse  # (B, T, K/2)
    angles = torch.cat([angles, angles], dim=-1)  # (B, T, K)
    return angles.cos(), angles.sin()


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    half = x.shape[-1] // 2
    turned = torch.cat([-x[..., half:], x[..., :half]], dim=-1)
    return x * cos[:, :, None] + turned * sin[:, :, None]


def project(
    x: Tensor, weights: LayerWeights, rope: tuple[Tensor, Tensor], num_heads: int, num_kv_heads: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Give queries `(B, H, T, K)`, keys and values `(B, H_kv, T, K)` of hidden states `(B, T, D)`."""
    dtype = weights.qkv.dtype
    attention_dtype = dtype if x.is_cuda else torch.float32  # on CPU attention is twice as fast in float32
    head_dim = weights.q_norm.shape[0]
    normed = rms_norm(x, weights.input_norm).to(dtype)
    qkv = functional.linear(normed, weights.qkv).view(*x.shape[:2], -1, head_dim)  # (B, T, H + 2 H_kv, K)
    query, key, value = torch.split(qkv, [num_heads, num_kv_heads, num_kv_heads], dim=2)
    query = _rotate(rms_norm(query, weights.q_norm), *rope).to(attention_dtype).transpose(1, 2)  # (B, H, T, K)
    key = _rotate(rms_norm(key, weights.k_norm), *rope).to(attention_dtype).transpose(1, 2)  # (B, H_kv, T, K)
    value = rms_norm(value).to(attention_dtype).transpose(1, 2)  # (B, H_kv, T, K)
    return query, key, value


def finish_layer(x: Tensor, attended: Tensor, weights: LayerWeights) -> Tensor:
    """Add attention output `(B, H, T, K)` and the feed-forward block to hidden states `(B, T, D)`."""
    dtype = weights.out.dtype
    mixed = functional.linear(attended.transpose(1, 2).flatten(2).to(dtype), weights.out)  # (B, T, D)
    x = x + rms_norm(mixed, weights.post_attention_norm)
    normed = rms_norm(x, weights.pre_feedforward_norm).to(dtype)
    gate, up = functional.linear(normed, weights.gate_up).chunk(2, dim=-1)
    hidden = functional.linear(functional.gelu(gate, approximate="tanh") * up, weights.down)  # (B, T, D)
    return x + rms_norm(rms_norm(hidden, weights.mlp_norm), weights.post_feedforward_norm)


class Network:
    """The training forward over one gathering of the weights.

    Args:
        weights: See `gather_weights`.
        sizes: See `Sizes`.
        is_compiled: Fuse the parts between attention with `torch.compile`.
    """

    def __init__(self, weights: Weights, sizes: Sizes, *, is_compiled: bool = False) -> None:
        self.weights = weights
        self.sizes = sizes
        self._project = _compile(project) if is_compiled else project
        self._finish = _compile(finish_layer) if is_compiled else finish_layer

    def encode(self, ids: Tensor) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        """Read conversations causally.

        Args:
            ids: Token ids `(B, T)`, padded on the right.

        Returns:
            Normed hidden states `(B, T, D)`, and keys and values of each layer, each `(B, H_kv, T, K)`.
        """
        positions = torch.arange(ids.shape[1], device=ids.device)[None]  # (1, T)
        rope = rope_tables(positions, self.sizes)
        x = self.embed(ids)
        cache = []
        for layer in self.weights.layers:
            query, key, value = self._project(x, layer, rope, self.sizes.num_heads, self.sizes.num_kv_heads)
            cache.append((key, value))
            attended = functional.scaled_dot_product_attention(
                query, *self._share_heads(key, value), is_causal=True, scale=1.0
            )  # (B, H, T, K)
            x = self._finish(x, attended, layer)
        return rms_norm(x, self.weights.norm), cache

    def denoise(
        self, canvases: Tensor, starts: Tensor, cache: list[tuple[Tensor, Tensor]], signal: Tensor | None
    ) -> Tensor:
        """Read noisy canvases, each against the encoded tokens before its start.

        Args:
            canvases: Token ids `(B, C, L)`.
            starts: Encoded tokens that canvas c of conversation b sees, `(B, C)`.
            cache: Keys and values of `encode`.
            signal: Self-conditioning signal `(B, C * L, D)`, or None for the first step.

        Returns:
            Normed hidden states `(B, C * L, D)`.
        """
        num_tokens, length = cache[0][0].shape[2], canvases.shape[2]
        positions = (starts[..., None] + torch.arange(length, device=starts.device)).flatten(1)  # (B, C * L)
        rope = rope_tables(positions, self.sizes)
        mask = canvas_mask(starts, num_tokens, length)  # (B, 1, C * L, T + C * L)
        x = self._condition(self.embed(canvases.flatten(1)), signal)
        for layer, (past_key, past_value) in zip(self.weights.layers, cache, strict=True):
            query, key, value = self._project(x, layer, rope, self.sizes.num_heads, self.sizes.num_kv_heads)
            key, value = torch.cat([past_key, key], dim=2), torch.cat([past_value, value], dim=2)
            attended = functional.scaled_dot_product_attention(
                query, *self._share_heads(key, value), attn_mask=mask, scale=1.0
            )  # (B, H, C * L, K)
            x = self._finish(x, attended, layer)
        return rms_norm(x, self.weights.norm)

    def embed(self, ids: Tensor) -> Tensor:
        """Give the scaled embeddings `(B, T, D)` of token ids `(B, T)`."""
        scale: float = self.weights.embedding.shape[1] ** 0.5
        return functional.embedding(ids, self.weights.embedding) * scale

    def signal(self, logits: Tensor) -> Tensor:
        """Give the self-conditioning signal `(..., D)` of logits `(..., V)`."""
        embedding = self.weights.embedding
        dtype = self.weights.layers[0].qkv.dtype
        expected = logits.softmax(-1).to(dtype) @ embedding.to(dtype)
        scale: float = embedding.shape[1] ** 0.5
        return expected.float() * scale

    def logits(self, hidden: Tensor) -> Tensor:
        """Give capped logits `(..., V)` in float32 of normed hidden states `(..., D)`."""
        dtype = self.weights.layers[0].qkv.dtype
        raw = functional.linear(hidden.to(dtype), self.weights.embedding.to(dtype)).float()
        return torch.tanh(raw / self.sizes.softcap) * self.sizes.softcap

    def _condition(self, x: Tensor, signal: Tensor | None) -> Tensor:
        if signal is None:
            return rms_norm(x)
        dtype = self.weights.conditioning_gate_up.dtype
        normed = rms_norm(signal, self.weights.conditioning_norm).to(dtype)
        gate, up = functional.linear(normed, self.weights.conditioning_gate_up).chunk(2, dim=-1)
        hidden = functional.gelu(gate, approximate="tanh") * up
        added = functional.linear(hidden, self.weights.conditioning_down)  # (B, C * L, D)
        return rms_norm(x + added)

    def _share_heads(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        groups = self.sizes.num_heads // self.sizes.num_kv_heads
        if groups == 1:
            return key, value
        return key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)


def canvas_mask(starts: Tensor, num_tokens: int, length: int) -> Tensor:
    """Say which keys each canvas position sees, `(B, 1, C * L, T + C * L)`; the picture is above."""
    num_rows, num_canvases = starts.shape
    prefix = torch.arange(num_tokens, device=starts.device) < starts[..., None]  # (B, C, T)
    prefix = prefix[:, :, None].expand(-1, -1, length, -1).flatten(1, 2)  # (B, C * L, T)
    owner = torch.arange(num_canvases, device=starts.device).repeat_interleave(length)  # (C * L,)
    own = (owner[:, None] == owner).expand(num_rows, -1, -1)  # (B, C * L, C * L)
    return torch.cat([prefix, own], dim=-1)[:, None]


@cache
def _compile(function: Callable[..., Any]) -> Callable[..., Any]:
    return torch.compile(function, dynamic=True)
