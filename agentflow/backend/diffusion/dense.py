"""Our own decoder pass for networks without experts: the checkpoint's weights, arranged for few large operations.

At a few million parameters a step is made of hundreds of small operations, and calling them costs as much as
computing them. Here query, key and value are one product, gate and up are another, every norm is one operation, the
rotary angles are computed once per batch, and the experts' branch, which is zero without experts, is left out. The
logits equal those of transformers' decoder up to rounding, which a test checks.

Shapes: ``B`` rows, ``L`` canvas length, ``T`` context length, ``H`` hidden size, ``Q`` query heads, ``K`` key heads,
``D`` head size, ``F`` feed-forward size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from agentflow.backend.diffusion.denoiser import ContextBatch, Denoiser, LayerKeys, Rotary

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
            and not text.attention_bias
            and text.hidden_activation == "gelu_pytorch_tanh"
            and model.model.decoder.embed_tokens.weight.dtype == torch.float32
        )

    @torch.inference_mode()
    def denoise(self, canvases: Tensor, signals: Tensor, batch: ContextBatch) -> Tensor:
        """See `Denoiser.denoise`."""
        decoder = self._decoder
        hidden = self._condition(decoder.embed_tokens(canvases), signals)  # (B, L, H)
        rotary = batch.rotary(lambda kind: self._angles(hidden, batch.positions, kind), self._layer_types)
        for i, layer in enumerate(self._weights):
            hidden = self._attend(hidden, layer, batch.layers[i], rotary[i], batch.masks[i])  # (B, L, H)
            hidden = self._transform(hidden, layer)  # (B, L, H)
        return self.logits(self._norm(hidden, decoder.norm.weight))  # (B, L, V)

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

    def _attend(
        self, hidden: Tensor, layer: DenseLayer, context: LayerKeys, rotary: Rotary, mask: Tensor | None
    ) -> Tensor:
        num_rows, length, _ = hidden.shape
        heads = functional.linear(self._norm(hidden, layer.norms[0]), layer.query_key)
        heads = heads.view(num_rows, length, -1, layer.head_size)  # (B, L, Q + K or 2K, D)
        num_keys = (heads.shape[2] - self._num_heads) // (2 if layer.has_values else 1)
        query, key, *rest = heads.split([self._num_heads] + [num_keys] * (2 if layer.has_values else 1), dim=2)
        value = self._norm(rest[0] if rest else key, None).transpose(1, 2)  # (B, K, L, D)
        query = _rotate(self._norm(query, layer.query_norm), rotary).transpose(1, 2)  # (B, Q, L, D)
        key = _rotate(self._norm(key, layer.key_norm), rotary).transpose(1, 2)  # (B, K, L, D)
        keys = torch.cat([context.keys, key], dim=2)  # (B, K, T + L, D)
        values = torch.cat([context.values, value], dim=2)  # (B, K, T + L, D)
        mixed = functional.scaled_dot_product_attention(
            query, keys, values, attn_mask=mask, scale=1.0, enable_gqa=num_keys < self._num_heads
        )  # (B, Q, L, D)
        mixed = functional.linear(mixed.transpose(1, 2).reshape(num_rows, length, -1), layer.output)  # (B, L, H)
        return hidden + self._norm(mixed, layer.norms[1])  # (B, L, H)

    def _transform(self, hidden: Tensor, layer: DenseLayer) -> Tensor:
        inner = _gated(self._norm(hidden, layer.norms[2]), layer.gate_up, layer.down)  # (B, L, H)
        inner = self._norm(self._norm(inner, layer.norms[3]), layer.norms[4])  # (B, L, H)
        return (hidden + inner) * layer.scalar  # (B, L, H)

    def _norm(self, hidden: Tensor, weight: Tensor | None) -> Tensor:
        return functional.rms_norm(hidden, hidden.shape[-1:], weight, self._eps)


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
