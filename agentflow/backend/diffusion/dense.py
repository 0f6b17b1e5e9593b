"""Our own passes for networks without experts: the checkpoint's weights, arranged for few large operations.

At a few million parameters a step is made of hundreds of small operations, and calling them costs as much as
computing them. Here query, key and value are one product, gate and up are another, the weights of a norm are folded
into the product behind it or into the rotary angles, which are computed once per batch, and the experts' branch,
which is zero without experts, is left out. The
outputs equal those of transformers' encoder and decoder up to rounding, which a test checks.

Shapes: ``B`` rows, ``L`` canvas length, ``T`` context length, ``H`` hidden size, ``Q`` query heads, ``K`` key heads,
``D`` head size, ``F`` feed-forward size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from agentflow.backend.diffusion.denoiser import Context, ContextBatch, Denoiser, LayerKeys, Rotary
from agentflow.backend.diffusion.lanes import MAX_WEIGHTS
from agentflow.backend.diffusion.matrix import GatedMatrix, Matrix

if TYPE_CHECKING:
    from transformers import DiffusionGemmaForBlockDiffusion


class DenseLayer(NamedTuple):
    """The weights of one layer.

    Attributes:
        projection: The norm before attention, then query, key and, where there is one, value,
            ``((Q + K or 2K) * D, H)``.
        output: ``(H, Q * D)``.
        gate_up: The norm before the feed-forward part, then gate and up, ``(2 * F, H)``.
        down: ``(H, F)``.
        attention_norm: The norm after attention, ``(H,)``.
        inner_norm: The norm after the feed-forward part, ``(H,)``.
        outer_norm: The norm at the end of the layer, ``(H,)``.
        head_norm: The norms of queries and keys, ``(Q + K, D)``.
        scalar: Factor on the layer's output, ``(1,)``.
        num_keys: ``K``.
        head_size: ``D``.
    """

    projection: Matrix
    output: Matrix
    gate_up: GatedMatrix
    down: Matrix
    attention_norm: Tensor
    inner_norm: Tensor
    outer_norm: Tensor
    head_norm: Tensor
    scalar: Tensor
    num_keys: int
    head_size: int


class DenseDenoiser(Denoiser):
    """A `Denoiser` for networks without experts; the same output, faster where the network is small.

    Args:
        model: The transformers model, in float32.
        product_dtype: Precision of what the products with the weights take; all else stays in float32.
    """

    def __init__(self, model: DiffusionGemmaForBlockDiffusion, *, product_dtype: torch.dtype = torch.float32) -> None:
        super().__init__(model)
        self._window: int = self._text_config.sliding_window
        self._eps = torch.tensor(self._text_config.rms_norm_eps, device=self.device)  # ()
        num_weights = sum(weights.numel() for weights in self._decoder.parameters())
        self._is_small = self.device.type == "cpu" and num_weights <= MAX_WEIGHTS

        def arrange(weight: Tensor) -> Matrix:
            return Matrix(weight.detach().to(product_dtype), is_twofold=self._is_small)

        def arrange_gated(weight: Tensor) -> GatedMatrix:
            return GatedMatrix(weight.detach().to(product_dtype), is_twofold=self._is_small)

        self._layers = [_gather_layer(layer, arrange, arrange_gated) for layer in self._decoder.layers]
        block = self._decoder.self_conditioning
        gate_up = torch.cat([block.gate_proj.weight, block.up_proj.weight])  # (2F, H)
        self._conditioning_gate_up = arrange_gated(gate_up * block.pre_norm.weight)  # (2F, H)
        self._conditioning_down = arrange(block.down_proj.weight)  # (H, F)
        self._head = arrange(model.lm_head.weight)  # (V, H)

    @staticmethod
    def can_run(model: DiffusionGemmaForBlockDiffusion) -> bool:
        """Whether this pass computes all that the network has."""
        text = model.config.text_config
        return (
            not text.num_experts
            and text.use_bidirectional_attention != "all"
            and not text.attention_bias
            and text.hidden_activation == "gelu_pytorch_tanh"
            and model.model.decoder.embed_tokens.weight.dtype == torch.float32
        )

    @torch.inference_mode()
    def denoise(self, canvases: Tensor, signals: Tensor, batch: ContextBatch) -> Tensor:
        """See `Denoiser.denoise`."""
        hidden = self._condition(self._decoder.embed_tokens(canvases), signals)  # (B, L, H)
        rotary = batch.rotary(lambda: self._angles(batch.positions))
        for i, layer in enumerate(self._layers):
            reach = _Reach(partial(_append, batch.layers[i]), batch.masks[i], is_causal=False)
            hidden = self._transform(self._attend(hidden, layer, rotary[i], reach), layer)  # (B, L, H)
        return self.logits(self._normalize(hidden) * self._decoder.norm.weight)  # (B, L, V)

    @torch.inference_mode()
    def logits(self, hidden: Tensor) -> Tensor:
        """See `Denoiser.logits`."""
        return self._cap(self.scores(hidden))  # (..., V)

    @torch.inference_mode()
    def scores(self, hidden: Tensor) -> Tensor:
        """What `logits` caps, ``(..., H)`` to ``(..., V)`` float32: the same order of a position's tokens, for less."""
        return self._head.multiply(hidden).float()  # (..., V)

    @torch.inference_mode()
    def read_inplace(self, context: Context, token_ids: Sequence[int]) -> Tensor:
        """See `Denoiser.read_inplace`."""
        hidden = self._decoder.embed_tokens(torch.tensor([token_ids], device=self.device))  # (1, T_new, H)
        first, num_new = context.num_tokens, len(token_ids)
        rotary = self._angles(torch.arange(first, first + num_new, device=self.device)[None])
        for i, layer in enumerate(self._layers):
            window = self._window if self._layer_types[i] == "sliding_attention" else None
            mask = _causal_mask(first, num_new, window, device=self.device)  # (T_new, T), or None
            is_causal = mask is None and num_new > 1
            reach = _Reach(partial(context.cache.update, layer_idx=i), mask, is_causal=is_causal)
            hidden = self._transform(self._attend(hidden, layer, rotary[i], reach), layer)  # (1, T_new, H)
        context.num_tokens += num_new
        return torch.mul(self._normalize(hidden), self._decoder.norm.weight)  # (1, T_new, H)

    def _angles(self, positions: Tensor) -> list[Rotary]:
        """Cosine and signed sine times the norm of queries and keys, for every layer, ``(B, L, Q + K, D)``.

        A rotation turns (a, b) into (a cos - b sin, b cos + a sin), where b is a shifted by half a head. With the
        sign and the norm's weights in the table, that is one shift and two products.
        """
        by_kind: dict[str, Rotary] = {}
        for kind in set(self._layer_types):
            cosine, sine = self._decoder.rotary_emb(self._eps, positions, kind)  # (B, L, D)
            half = sine.shape[-1] // 2
            signed = torch.cat([-sine[..., :half], sine[..., half:]], dim=-1)  # (B, L, D)
            by_kind[kind] = cosine[:, :, None], signed[:, :, None]  # (B, L, 1, D)
        tables = []
        for layer, kind in zip(self._layers, self._layer_types, strict=True):
            cosine, sine = by_kind[kind]
            shifted = layer.head_norm.roll(layer.head_size // 2, dims=-1)  # (Q + K, D)
            tables.append((cosine * layer.head_norm, sine * shifted))  # (B, L, Q + K, D)
        return tables

    def _condition(self, embedded: Tensor, signals: Tensor) -> Tensor:
        added = self._conditioning_down.multiply(self._conditioning_gate_up.multiply(self._normalize(signals)))
        return self._normalize(embedded + added)

    def _attend(self, hidden: Tensor, layer: DenseLayer, rotary: Rotary, reach: _Reach) -> Tensor:
        num_rows, length, _ = hidden.shape
        heads = layer.projection.multiply(self._normalize(hidden))
        heads = self._normalize(heads.view(num_rows, length, -1, layer.head_size))  # (B, L, Q + K or 2K, D)
        num_rotated = layer.head_norm.shape[0]  # Q + K
        turned = _rotate(heads[:, :, :num_rotated], rotary).transpose(1, 2)  # (B, Q + K, L, D)
        query, key = turned[:, : -layer.num_keys], turned[:, -layer.num_keys :]  # (B, Q, L, D), (B, K, L, D)
        value = heads[:, :, -layer.num_keys :].transpose(1, 2)  # (B, K, L, D)
        keys, values = reach.extend(key, value)  # (B, K, T + L, D) each
        mixed = functional.scaled_dot_product_attention(
            query,
            keys,
            values,
            attn_mask=reach.mask,
            is_causal=reach.is_causal,
            scale=1.0,
            enable_gqa=layer.num_keys < query.shape[1],
        )  # (B, Q, L, D)
        mixed = layer.output.multiply(mixed.transpose(1, 2).reshape(num_rows, length, -1))  # (B, L, H)
        return torch.addcmul(hidden, self._normalize(mixed), layer.attention_norm)  # (B, L, H)

    def _transform(self, hidden: Tensor, layer: DenseLayer) -> Tensor:
        inner = layer.down.multiply(layer.gate_up.multiply(self._normalize(hidden)))  # (B, L, H)
        inner = self._normalize(inner)
        inner = self._normalize(inner * layer.inner_norm)  # (B, L, H)
        return torch.addcmul(hidden, inner, layer.outer_norm).mul_(layer.scalar)  # (B, L, H)

    def _normalize(self, values: Tensor) -> Tensor:
        """Divide by the root mean square of the last dimension, in four small operations; gives float32."""
        size = torch.linalg.vector_norm(values, dim=-1, keepdim=True, dtype=torch.float32)  # (..., 1)
        return values * torch.addcmul(self._eps, size, size, value=1 / values.shape[-1]).rsqrt_()


class _Reach(NamedTuple):
    """What the queries of a layer may look at.

    Attributes:
        extend: Puts the new keys and values behind those of the context and gives all of them.
        mask: Added to the scores, or where it is true they count; ``None`` without one.
        is_causal: Whether a query looks only at its own and earlier positions; there is no context then.
    """

    extend: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
    mask: Tensor | None
    is_causal: bool


def _append(context: LayerKeys, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    return torch.cat([context.keys, key], dim=2), torch.cat([context.values, value], dim=2)  # (B, K, T + L, D) each


def _causal_mask(num_past: int, num_new: int, window: int | None, *, device: torch.device) -> Tensor | None:
    """Which of the kept keys each new token sees, ``(T_new, T)`` bool; ``None`` where it is all, or plainly causal."""
    num_kept = num_past if window is None else min(num_past, window - 1)
    if num_new == 1 or (num_past == 0 and (window is None or num_new <= window)):
        return None
    query = torch.arange(num_past, num_past + num_new, device=device)[:, None]  # (T_new, 1)
    key = torch.arange(num_past - num_kept, num_past + num_new, device=device)  # (T,)
    is_seen = key <= query  # (T_new, T)
    return is_seen if window is None else is_seen & (key > query - window)  # (T_new, T)


def _gather_layer(
    layer: Any, arrange: Callable[[Tensor], Matrix], arrange_gated: Callable[[Tensor], GatedMatrix]
) -> DenseLayer:
    attention, block = layer.self_attn, layer.mlp
    projections = [attention.q_proj.weight, attention.k_proj.weight]
    if attention.v_proj is not None:  # otherwise the values are the keys before norm and rotation
        projections.append(attention.v_proj.weight)
    num_queries, num_keys = (weight.shape[0] // attention.head_dim for weight in projections[:2])
    query_norm = attention.q_norm.weight.expand(num_queries, -1)  # (Q, D)
    key_norm = attention.k_norm.weight.expand(num_keys, -1)  # (K, D)
    gate_up = torch.cat([block.gate_proj.weight, block.up_proj.weight])  # (2F, H)
    return DenseLayer(
        projection=arrange(torch.cat(projections) * layer.input_layernorm.weight),
        output=arrange(attention.o_proj.weight),
        gate_up=arrange_gated(gate_up * layer.pre_feedforward_layernorm.weight),
        down=arrange(block.down_proj.weight),
        attention_norm=layer.post_attention_layernorm.weight.detach(),
        inner_norm=layer.post_feedforward_layernorm_1.weight.detach(),
        outer_norm=layer.post_feedforward_layernorm.weight.detach(),
        head_norm=torch.cat([query_norm, key_norm]).detach(),
        scalar=layer.layer_scalar,
        num_keys=num_keys,
        head_size=attention.head_dim,
    )


def _rotate(heads: Tensor, rotary: Rotary) -> Tensor:
    """Apply norm weights and positions to ``(B, L, Q + K, D)``; see `DenseDenoiser._angles`."""
    cosine, signed_sine = rotary
    return torch.addcmul(heads * cosine, heads.roll(heads.shape[-1] // 2, dims=-1), signed_sine)
