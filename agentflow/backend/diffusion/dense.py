"""Our own passes for networks without experts: the checkpoint's weights, arranged for few large operations.

At a few million parameters a step is made of hundreds of small operations, and calling them costs as much as
computing them. Here query, key and value are one product, gate and up are another, every norm is one operation, the
rotary angles are computed once per batch, and the experts' branch, which is zero without experts, is left out. The
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

if TYPE_CHECKING:
    from transformers import DiffusionGemmaForBlockDiffusion


class DenseLayer(NamedTuple):
    """The weights of one layer.

    Attributes:
        query_key: Query and key projection, and the value projection where there is one, ``((Q + K or 2K) * D, H)``.
        output: ``(H, Q * D)``.
        gate_up: ``(2 * F, H)``.
        down: ``(H, F)``.
        norms: Weights of the norms before attention, after it, before the feed-forward part, after it, and at its end.
        query_norm: ``(D,)``.
        key_norm: ``(D,)``.
        scalar: Factor on the layer's output, ``(1,)``.
        has_values: Whether values have a projection of their own; otherwise they are the keys before norm and rotation.
        head_size: ``D``.
    """

    query_key: Tensor
    output: Tensor
    gate_up: Tensor
    down: Tensor
    norms: tuple[Tensor, ...]
    query_norm: Tensor
    key_norm: Tensor
    scalar: Tensor
    has_values: bool
    head_size: int


class DenseDenoiser(Denoiser):
    """A `Denoiser` for networks without experts; the same output, faster where the network is small."""

    def __init__(self, model: DiffusionGemmaForBlockDiffusion) -> None:
        super().__init__(model)
        self._num_heads: int = self._text_config.num_attention_heads
        self._window: int = self._text_config.sliding_window
        self._eps: float = self._text_config.rms_norm_eps
        self._weights = [_gather_layer(layer) for layer in self._decoder.layers]
        conditioning = self._decoder.self_conditioning
        self._conditioning_gate_up = torch.cat([conditioning.gate_proj.weight, conditioning.up_proj.weight]).detach()

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
        rotary = batch.rotary(lambda kind: self._angles(hidden, batch.positions, kind), self._layer_types)
        for i, layer in enumerate(self._weights):
            reach = _Reach(partial(_append, batch.layers[i]), batch.masks[i], is_causal=False)
            hidden = self._layer(hidden, layer, rotary[i], reach)  # (B, L, H)
        return self.logits(self._norm(hidden, self._decoder.norm.weight))  # (B, L, V)

    @torch.inference_mode()
    def read_inplace(self, context: Context, token_ids: Sequence[int]) -> Tensor:
        """See `Denoiser.read_inplace`."""
        hidden = self._decoder.embed_tokens(torch.tensor([token_ids], device=self.device))  # (1, T_new, H)
        first, num_new = context.num_tokens, len(token_ids)
        positions = torch.arange(first, first + num_new, device=self.device)[None]  # (1, T_new)
        rotary = {kind: self._angles(hidden, positions, kind) for kind in set(self._layer_types)}
        for i, (layer, kind) in enumerate(zip(self._weights, self._layer_types, strict=True)):
            window = self._window if kind == "sliding_attention" else None
            mask = _causal_mask(first, num_new, window, device=self.device)  # (T_new, T), or None
            is_causal = mask is None and num_new > 1
            reach = _Reach(partial(context.cache.update, layer_idx=i), mask, is_causal=is_causal)
            hidden = self._layer(hidden, layer, rotary[kind], reach)  # (1, T_new, H)
        context.num_tokens += num_new
        return self._norm(hidden, self._decoder.norm.weight)  # (1, T_new, H)

    def _angles(self, hidden: Tensor, positions: Tensor, kind: str) -> Rotary:
        """Cosine and signed sine, so that a rotation is one shift and two products."""
        cosine, sine = self._decoder.rotary_emb(hidden, positions, kind)  # (B, L, D)
        sign = torch.ones_like(sine[0, 0])  # (D,)
        sign[: len(sign) // 2] = -1
        return cosine[:, :, None], (sine * sign)[:, :, None]  # (B, L, 1, D)

    def _condition(self, embedded: Tensor, signals: Tensor) -> Tensor:
        block = self._decoder.self_conditioning
        signal = _gated(self._norm(signals, block.pre_norm.weight), self._conditioning_gate_up, block.down_proj.weight)
        return self._norm(embedded + signal, None)  # (B, L, H)

    def _layer(self, hidden: Tensor, layer: DenseLayer, rotary: Rotary, reach: _Reach) -> Tensor:
        return self._transform(self._attend(hidden, layer, rotary, reach), layer)  # (B, L, H)

    def _attend(self, hidden: Tensor, layer: DenseLayer, rotary: Rotary, reach: _Reach) -> Tensor:
        num_rows, length, _ = hidden.shape
        heads = functional.linear(self._norm(hidden, layer.norms[0]), layer.query_key)
        heads = heads.view(num_rows, length, -1, layer.head_size)  # (B, L, Q + K or 2K, D)
        num_keys = (heads.shape[2] - self._num_heads) // (2 if layer.has_values else 1)
        query, key, *rest = heads.split([self._num_heads] + [num_keys] * (2 if layer.has_values else 1), dim=2)
        value = self._norm(rest[0] if rest else key, None).transpose(1, 2)  # (B, K, L, D)
        query = _rotate(self._norm(query, layer.query_norm), rotary).transpose(1, 2)  # (B, Q, L, D)
        key = _rotate(self._norm(key, layer.key_norm), rotary).transpose(1, 2)  # (B, K, L, D)
        keys, values = reach.extend(key, value)  # (B, K, T + L, D) each
        mixed = functional.scaled_dot_product_attention(
            query,
            keys,
            values,
            attn_mask=reach.mask,
            is_causal=reach.is_causal,
            scale=1.0,
            enable_gqa=num_keys < self._num_heads,
        )  # (B, Q, L, D)
        mixed = functional.linear(mixed.transpose(1, 2).reshape(num_rows, length, -1), layer.output)  # (B, L, H)
        return hidden + self._norm(mixed, layer.norms[1])  # (B, L, H)

    def _transform(self, hidden: Tensor, layer: DenseLayer) -> Tensor:
        inner = _gated(self._norm(hidden, layer.norms[2]), layer.gate_up, layer.down)  # (B, L, H)
        inner = self._norm(self._norm(inner, layer.norms[3]), layer.norms[4])  # (B, L, H)
        return (hidden + inner) * layer.scalar  # (B, L, H)

    def _norm(self, hidden: Tensor, weight: Tensor | None) -> Tensor:
        return functional.rms_norm(hidden, hidden.shape[-1:], weight, self._eps)


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


def _gather_layer(layer: Any) -> DenseLayer:
    attention, block = layer.self_attn, layer.mlp
    projections = [attention.q_proj.weight, attention.k_proj.weight]
    if attention.v_proj is not None:
        projections.append(attention.v_proj.weight)
    norms = (
        layer.input_layernorm,
        layer.post_attention_layernorm,
        layer.pre_feedforward_layernorm,
        layer.post_feedforward_layernorm_1,
        layer.post_feedforward_layernorm,
    )
    return DenseLayer(
        query_key=torch.cat(projections).detach(),
        output=attention.o_proj.weight.detach(),
        gate_up=torch.cat([block.gate_proj.weight, block.up_proj.weight]).detach(),
        down=block.down_proj.weight.detach(),
        norms=tuple(norm.weight.detach() for norm in norms),
        query_norm=attention.q_norm.weight.detach(),
        key_norm=attention.k_norm.weight.detach(),
        scalar=layer.layer_scalar,
        has_values=attention.v_proj is not None,
        head_size=attention.head_dim,
    )


def _gated(hidden: Tensor, gate_up: Tensor, down: Tensor) -> Tensor:
    gate, up = functional.linear(hidden, gate_up).chunk(2, dim=-1)  # (B, L, F) each
    return functional.linear(functional.gelu(gate, approximate="tanh") * up, down)  # (B, L, H)


def _rotate(heads: Tensor, rotary: Rotary) -> Tensor:
    """Apply rotary positions to ``(B, L, heads, D)``; `rotary` is cosine and signed sine, ``(B, L, 1, D)``."""
    cosine, signed_sine = rotary
    half = heads.shape[-1] // 2
    return torch.addcmul(heads * cosine, heads.roll(half, dims=-1), signed_sine)
