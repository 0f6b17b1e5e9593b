"""A denoising step through `torch.compile`, for networks that run through transformers' modules.

The operations between two products are fused, so a step starts fewer kernels and moves less memory. One decoder layer
is compiled, not the network: its code serves all layers of its kind, batches of any size and contexts of any length.

    embed, condition -> | layer | -> | layer | -> ... -> norm, head, cap
                        `-- one function, compiled for each kind of layer: one row, rows of one length, padded rows

A layer is written down here because transformers' own looks its keys up by its number, which would make a different
function of each. It computes what `DiffusionGemmaDecoderTextLayer` computes; a test holds it to that.

Shapes: ``B`` rows, ``T`` context length of a layer, ``L`` canvas length, ``H`` hidden size, ``Q`` query heads, ``K``
key heads, ``D`` head size, ``V`` vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from agentflow.backend.diffusion.denoiser import Context, ContextBatch, Denoiser, LayerKeys, Rotary
from agentflow.errors import ConfigurationError

if TYPE_CHECKING:
    from transformers import DiffusionGemmaForBlockDiffusion

_MOST_VARIANTS = 64
"""Of one compiled function: two kinds of layers, three kinds of batches, and models of several shapes in a process."""

_WARM_UP_LENGTHS = ((11,), (11, 11, 11), (11, 13, 17))
"""Contexts of the first batches, one of each kind; sizes that are equal by chance would be taken to be equal always."""


class CompiledDenoiser(Denoiser):
    """A `Denoiser` whose steps are compiled; everything is compiled when it is made, which takes a minute or so.

    Args:
        model: The transformers model, the whole of it on one device.

    Raises:
        ConfigurationError: The step cannot be compiled: no compiler is there, say.
    """

    def __init__(self, model: DiffusionGemmaForBlockDiffusion) -> None:
        super().__init__(model)
        compiled: Callable[..., Any] = torch.compile(dynamic=True, fullgraph=True)
        self._run_embed = compiled(_embed)
        self._run_layer = compiled(_layer)
        self._run_head = compiled(_head)
        try:
            self._warm_up()
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:  # the compiler's own tree, whose names are private
            raise ConfigurationError(
                f"the step cannot be compiled: {_first_line(error)}",
                hint="load the model without is_compiled; torch.compile needs a C++ compiler, and triton on CUDA",
            ) from error

    @torch.inference_mode()  # as in an engine's step: what is compiled for other tensors does not serve them
    def _warm_up(self) -> None:
        for lengths in _WARM_UP_LENGTHS:
            contexts = [self.open_context() for _ in lengths]
            for context, length in zip(contexts, lengths, strict=True):
                self.read_inplace(context, [0] * length)
            canvases = torch.zeros(len(lengths), self.canvas_length, dtype=torch.long, device=self.device)  # (B, L)
            signals = torch.zeros(*canvases.shape, self.hidden_size, dtype=self.dtype, device=self.device)  # (B, L, H)
            self.denoise(canvases, signals, self.stack(contexts))

    @torch.inference_mode()
    def stack(self, contexts: Sequence[Context]) -> ContextBatch:
        """See `Denoiser.stack`."""
        batch = super().stack(contexts)
        batch.layers = [LayerKeys(layer.keys.contiguous(), layer.values.contiguous()) for layer in batch.layers]
        return batch

    @torch.inference_mode()
    def denoise(self, canvases: Tensor, signals: Tensor, batch: ContextBatch) -> Tensor:
        """See `Denoiser.denoise`."""
        decoder = self._decoder
        with torch._dynamo.config.patch(recompile_limit=_MOST_VARIANTS):  # noqa: SLF001 - its documented place
            hidden = self._run_embed(decoder, canvases, signals)  # (B, L, H)
            rotary = batch.rotary(lambda: self._embed_positions(hidden, batch.positions))
            for layer, angles, mask, known in zip(decoder.layers, rotary, batch.masks, batch.layers, strict=True):
                hidden = self._run_layer(layer, hidden, angles, mask, known)  # (B, L, H)
            logits: Tensor = self._run_head(decoder.norm, self.model.lm_head, hidden, self._softcap)  # (B, L, V)
        return logits


def _embed(decoder: Any, canvases: Tensor, signals: Tensor) -> Tensor:
    """Embed the canvases and condition them on the beliefs of the step before, ``(B, L, H)``."""
    hidden: Tensor = decoder.self_conditioning(decoder.embed_tokens(canvases), signals)
    return hidden


def _layer(layer: Any, hidden: Tensor, angles: Rotary, mask: Tensor | None, known: LayerKeys) -> Tensor:
    """Run one decoder layer over the canvases, ``(B, L, H)``.

    Args:
        layer: A `DiffusionGemmaDecoderTextLayer`.
        hidden: ``(B, L, H)``.
        angles: Cosine and sine, ``(B, L, D)`` each.
        mask: Added to scores, ``(B, 1, 1, T + L)``.
        known: Keys and values of the contexts.
    """
    attended = _attend(layer.self_attn, layer.input_layernorm(hidden), angles, mask, known)
    hidden = hidden + layer.post_attention_layernorm(attended)
    dense = layer.post_feedforward_layernorm_1(layer.mlp(layer.pre_feedforward_layernorm(hidden)))  # (B, L, H)
    rows = hidden.reshape(-1, hidden.shape[-1])  # (B * L, H)
    _, weights, experts = layer.router(rows)  # (B * L, experts of a token) each
    mixed = layer.experts(layer.pre_feedforward_layernorm_2(rows), experts, weights)  # (B * L, H)
    mixed = layer.post_feedforward_layernorm_2(mixed.reshape(hidden.shape))  # (B, L, H)
    result: Tensor = (hidden + layer.post_feedforward_layernorm(dense + mixed)) * layer.layer_scalar
    return result


def _attend(attention: Any, hidden: Tensor, angles: Rotary, mask: Tensor | None, known: LayerKeys) -> Tensor:
    """Look from every position of a canvas at its context and the whole canvas, ``(B, L, H)``."""
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
    from transformers.models.diffusion_gemma.modeling_diffusion_gemma import (
        apply_rotary_pos_emb,
        eager_attention_forward,
    )

    shape = (*hidden.shape[:-1], -1, attention.head_dim)
    queries = attention.q_norm(attention.q_proj(hidden).view(shape))  # (B, L, Q, D)
    queries = apply_rotary_pos_emb(queries, *angles, unsqueeze_dim=2).transpose(1, 2)  # (B, Q, L, D)
    projected = attention.k_proj(hidden).view(shape)  # (B, L, K, D)
    own_values = projected if attention.v_proj is None else attention.v_proj(hidden).view(shape)  # (B, L, K, D)
    own_keys = apply_rotary_pos_emb(attention.k_norm(projected), *angles, unsqueeze_dim=2)  # (B, L, K, D)
    attend = ALL_ATTENTION_FUNCTIONS.get_interface(attention.config._attn_implementation, eager_attention_forward)  # noqa: SLF001 - where transformers keeps it
    attended, _ = attend(
        attention,
        queries,
        torch.cat([known.keys, own_keys.transpose(1, 2)], dim=-2),  # (B, K, T + L, D)
        torch.cat([known.values, attention.v_norm(own_values).transpose(1, 2)], dim=-2),  # (B, K, T + L, D)
        mask,
        dropout=0.0,
        scaling=attention.scaling,
        sliding_window=attention.sliding_window,
        is_causal=False,
    )  # (B, L, Q, D)
    result: Tensor = attention.o_proj(attended.reshape(*hidden.shape[:-1], -1))
    return result


def _head(norm: Any, head: Any, hidden: Tensor, softcap: float) -> Tensor:
    """Predict, ``(B, L, V)`` float32, softly capped."""
    logits = head(norm(hidden)).to(torch.float32)  # (B, L, V)
    return torch.tanh(logits / softcap) * softcap


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
