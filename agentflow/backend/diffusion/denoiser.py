"""The network behind a canvas: encodes what is already said, and predicts the tokens of open canvases.

This module speaks token ids and tensors. It knows nothing of sampling, schemas or requests, and it keeps no state
of its own: what has been read lives in a `Context`, one per request. Rows of different lengths share a forward pass
through a `ContextBatch`, which pads the contexts on the left:

    row 0   . . . c c c | x x x x        c: keys and values of the context
    row 1   c c c c c c | x x x x        x: the canvas, every position attends to every c and x of its row

Shapes: ``B`` rows, ``T`` context length, ``L`` canvas length, ``V`` vocabulary, ``H`` hidden size, ``K`` key heads,
``D`` head size. Source: transformers' `models/diffusion_gemma/modeling_diffusion_gemma.py`.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import torch
from torch import Tensor
from transformers import DynamicCache

if TYPE_CHECKING:
    from transformers import DiffusionGemmaForBlockDiffusion


Rotary: TypeAlias = tuple[Tensor, Tensor]
"""Cosine and sine of the rotary angles."""


@lru_cache(maxsize=1)
def cache_argument() -> str:
    """Under which name transformers takes a cache: ``past_key_values``, since version 5.24 ``cache``."""
    from transformers.models.diffusion_gemma.modeling_diffusion_gemma import DiffusionGemmaEncoderTextModel

    names = inspect.signature(DiffusionGemmaEncoderTextModel.forward).parameters
    return "cache" if "cache" in names else "past_key_values"


class Context:
    """What one request has read so far: keys and values of every layer.

    Attributes:
        cache: The encoder's cache; sliding layers keep only their window.
        num_tokens: Tokens read.
        is_kept: Whether it is only forked from now on, and reads nothing itself.
    """

    is_kept = False

    def __init__(self, cache: DynamicCache, num_tokens: int = 0) -> None:
        self.cache = cache
        self.num_tokens = num_tokens

    def fork(self) -> Context:
        """A context that starts with the same tokens and then goes its own way; the tensors are shared."""
        cache = copy.copy(self.cache)
        cache.layers = [copy.copy(layer) for layer in self.cache.layers]
        return Context(cache, self.num_tokens)

    @property
    def num_bytes(self) -> int:
        """Memory of keys and values."""
        return sum(layer.keys.nbytes + layer.values.nbytes for layer in self.cache.layers)

    @property
    def can_crop(self) -> bool:
        """Whether every layer still has the keys of all tokens."""
        return all(layer.keys.shape[-2] == self.num_tokens for layer in self.cache.layers)

    def crop_inplace(self, num_tokens: int) -> None:
        """Forget what was read after the first `num_tokens`; `can_crop` must hold unless nothing is forgotten."""
        if num_tokens == self.num_tokens:
            return
        for layer in self.cache.layers:
            layer.keys, layer.values = layer.keys[..., :num_tokens, :], layer.values[..., :num_tokens, :]
            if hasattr(layer, "cumulative_length"):
                layer.cumulative_length = num_tokens
        self.num_tokens = num_tokens


class LayerKeys(NamedTuple):
    """Keys and values of one layer for all rows of a batch, each ``(B, K, T, D)``."""

    keys: Tensor
    values: Tensor


class ContextBatch:
    """The contexts of the rows that share a forward pass, padded on the left to one length per layer.

    It is valid as long as its rows and their contexts stay the same. To transformers' decoder layers it looks like a
    cache that is only read.

    Attributes:
        layers: Keys and values by layer.
        positions: Position of every canvas token, ``(B, L)`` int64.
        masks: Additive attention mask by context length of the layer, ``(B, 1, 1, T + L)``; ``None`` without padding.
    """

    is_compileable = False  # asked for by transformers: the layers grow by concatenation

    def __init__(self, contexts: Sequence[Context], *, canvas_length: int, dtype: torch.dtype) -> None:
        caches = [context.cache for context in contexts]
        self.layers = [_pad_layer([cache.layers[i] for cache in caches]) for i in range(len(caches[0].layers))]
        device = self.layers[0].keys.device
        lengths = torch.tensor([context.num_tokens for context in contexts], device=device)  # (B,)
        self.positions = lengths[:, None] + torch.arange(canvas_length, device=device)  # (B, L)
        self.masks: list[Tensor | None] = []
        known: dict[tuple[int, ...], Tensor | None] = {}
        for i in range(len(self.layers)):
            row_lengths = tuple(cache.layers[i].keys.shape[-2] for cache in caches)
            if row_lengths not in known:
                known[row_lengths] = _padding_mask(row_lengths, canvas_length, dtype=dtype, device=device)
            self.masks.append(known[row_lengths])
        self._rotary: list[Rotary] | None = None

    def rotary(self, embed: Callable[[], list[Rotary]]) -> list[Rotary]:
        """Rotary angles of the positions for every layer; `embed` computes them when they are first asked for."""
        if self._rotary is None:
            self._rotary = embed()
        return self._rotary


def _pad_layer(layers: Sequence[LayerKeys]) -> LayerKeys:
    if len(layers) == 1:
        return LayerKeys(layers[0].keys, layers[0].values)
    length = max(layer.keys.shape[-2] for layer in layers)
    _, num_heads, _, head_size = layers[0].keys.shape
    keys = layers[0].keys.new_zeros(len(layers), num_heads, length, head_size)  # (B, K, T, D)
    values = torch.zeros_like(keys)  # (B, K, T, D)
    for row, layer in enumerate(layers):
        start = length - layer.keys.shape[-2]
        keys[row, :, start:] = layer.keys[0]
        values[row, :, start:] = layer.values[0]
    return LayerKeys(keys, values)


def _padding_mask(
    row_lengths: Sequence[int], canvas_length: int, *, dtype: torch.dtype, device: torch.device
) -> Tensor | None:
    length = max(row_lengths)
    if min(row_lengths) == length:
        return None
    first_real = length - torch.tensor(row_lengths, device=device)  # (B,)
    is_padding = torch.arange(length + canvas_length, device=device) < first_real[:, None]  # (B, T + L)
    mask = torch.zeros(is_padding.shape, dtype=dtype, device=device).masked_fill_(is_padding, -torch.inf)
    return mask[:, None, None, :]  # (B, 1, 1, T + L)


class Denoiser:
    """A DiffusionGemma network, ready to encode contexts and to denoise canvases.

    Attributes:
        model: The transformers model, in evaluation mode.
        canvas_length: Positions of a canvas (``L``).
        vocab_size: Tokens of the vocabulary (``V``).
        context_length: Most tokens that fit into a context, canvases included.
    """

    def __init__(self, model: DiffusionGemmaForBlockDiffusion) -> None:
        self.model = model.eval()
        text_config = model.config.text_config
        self.canvas_length: int = model.config.canvas_length
        self.vocab_size: int = text_config.vocab_size
        self.hidden_size: int = text_config.hidden_size
        self.context_length: int = text_config.max_position_embeddings
        self._text_config = text_config
        self._layer_types: list[str] = text_config.layer_types
        self._decoder = model.model.decoder
        self._encoder = model.model.encoder.language_model
        self._softcap: float = model.final_logit_softcapping

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        device: torch.device = self._decoder.embed_tokens.weight.device
        return device

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the weights."""
        dtype: torch.dtype = self._decoder.embed_tokens.weight.dtype
        return dtype

    def open_context(self) -> Context:
        """A context that has read nothing yet."""
        return Context(DynamicCache(config=self._text_config))

    @torch.inference_mode()
    def read_inplace(self, context: Context, token_ids: Sequence[int]) -> Tensor:
        """Encode more tokens at the end of `context`.

        Args:
            context: Extended by the tokens.
            token_ids: At least one token.

        Returns:
            The last hidden states of the new tokens, ``(1, T_new, H)``, input of `logits`.
        """
        ids = torch.tensor([token_ids], device=self.device)  # (1, T_new)
        positions = torch.arange(context.num_tokens, context.num_tokens + len(token_ids), device=self.device)[None]
        output = self._encoder(input_ids=ids, position_ids=positions, **{cache_argument(): context.cache})
        context.num_tokens += len(token_ids)
        hidden: Tensor = output.last_hidden_state  # (1, T_new, H)
        return hidden

    def stack(self, contexts: Sequence[Context]) -> ContextBatch:
        """The batch of these contexts, one row each."""
        return ContextBatch(contexts, canvas_length=self.canvas_length, dtype=self.dtype)

    @torch.inference_mode()
    def denoise(self, canvases: Tensor, signals: Tensor, batch: ContextBatch) -> Tensor:
        """Predict the clean tokens of the canvases.

        Args:
            canvases: Token ids, ``(B, L)`` int64.
            signals: Self-conditioning signal of the step before (see `soft_embed`), ``(B, L, H)``; zero rows for
                canvases in their first step.
            batch: The contexts of the rows.

        Returns:
            Logits, ``(B, L, V)`` float32.
        """
        decoder = self._decoder
        hidden = decoder.self_conditioning(decoder.embed_tokens(canvases), signals)  # (B, L, H)
        rotary = batch.rotary(lambda: self._embed_positions(hidden, batch.positions))
        for layer, angles, mask in zip(decoder.layers, rotary, batch.masks, strict=True):
            hidden = layer(
                hidden,
                position_embeddings=angles,
                attention_mask=mask,
                position_ids=batch.positions,
                **{cache_argument(): batch},
            )  # (B, L, H)
        return self.logits(decoder.norm(hidden))  # (B, L, V)

    def _embed_positions(self, hidden: Tensor, positions: Tensor) -> list[Rotary]:
        by_kind = {kind: self._decoder.rotary_emb(hidden, positions, kind) for kind in set(self._layer_types)}
        return [by_kind[kind] for kind in self._layer_types]

    @torch.inference_mode()
    def logits(self, hidden: Tensor) -> Tensor:
        """The head: hidden states ``(..., H)`` to soft-capped logits ``(..., V)`` float32."""
        return self._cap(self.model.lm_head(hidden).to(torch.float32))  # (..., V)

    def _cap(self, logits: Tensor) -> Tensor:
        """Cap logits softly, in place: they are large."""
        return logits.div_(self._softcap).tanh_().mul_(self._softcap)

    @torch.inference_mode()
    def soft_embed(self, probs: Tensor) -> Tensor:
        """The self-conditioning signal: the expected embedding under the beliefs of a step.

        Args:
            probs: Distribution of every position, ``(..., L, V)`` float32.

        Returns:
            The signal, ``(..., L, H)`` in the precision of the weights.
        """
        table = self._decoder.embed_tokens
        weight: Tensor = table.weight  # (V, H)
        scale: Tensor = table.embed_scale  # ()
        return torch.matmul(probs.to(weight.dtype), weight) * scale.to(weight.dtype)  # (..., L, H)
