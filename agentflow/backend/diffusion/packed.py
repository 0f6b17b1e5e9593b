"""Many requests in one pass without padding: prompts, drafts to check and canvases of any length, side by side.

A pass takes one `Segment` per request. The tokens of all segments stand in one long row, so every product with the
weights is one large operation; only attention is computed request by request, over that request's own keys:

    tokens    | read 0 | read 1 | ... | canvas 0 | canvas 1 | ...      (N, H)
    request 0 reads causally and looks from its canvas at all it has read, in the same pass;
    request 1 only reads; another only denoises.

Because encoder and decoder share their weights, a canvas may look at tokens that are read in the same pass: their keys
and values are ready, layer by layer, when the canvas asks for them. What a request gets does not depend on its
neighbours, up to the rounding of products. Where the CPU has several cores, `predict` shares the requests out among
them (`lanes`). Only for networks that `DenseDenoiser` can run.

Shapes: ``N`` tokens of a pass, ``M`` of them wanted at its end, ``T`` context length, ``L`` canvas length, ``H`` hidden
size, ``Q`` query heads, ``K`` key heads, ``D`` head size, ``V`` vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from agentflow.backend.diffusion.attention import LANES, attend, write_keys
from agentflow.backend.diffusion.denoiser import Context, Denoiser, Rotary
from agentflow.backend.diffusion.dense import DenseDenoiser, DenseLayer
from agentflow.backend.diffusion.key_store import KeyStore, LayerStore, LoopLayer, PackedContext, PlainLayer
from agentflow.backend.diffusion.lanes import Lanes
from agentflow.backend.diffusion.layout import Layout, Layouter, Place, Query
from agentflow.backend.diffusion.matrix import round_rows
from agentflow.backend.diffusion.segment import Outcome, Prediction, Segment

if TYPE_CHECKING:
    from transformers import DiffusionGemmaForBlockDiffusion


@torch.inference_mode()
def predict(denoiser: Denoiser, segments: Sequence[Segment]) -> list[Prediction]:
    """Run one pass over all segments with any network; what they read is appended to their contexts.

    Only a `PackedDenoiser` makes it one pass: others read request by request, then denoise all canvases together.

    Args:
        denoiser: The network.
        segments: At most one per context; for networks that are not packed, canvases of `canvas_length` tokens.
    """
    if not isinstance(denoiser, PackedDenoiser):
        return _predict_in_turn(denoiser, segments)
    if denoiser.lanes is None:
        return _predict_share(denoiser, segments)
    sizes = [segment.num_tokens for segment in segments]
    shares = denoiser.lanes.share_out(sizes)
    parts = [partial(_predict_share, denoiser, [segments[i] for i in share]) for share in shares]
    predictions: list[Prediction | None] = [None] * len(segments)
    for share, part in zip(shares, denoiser.lanes.run(parts, num_tokens=sum(sizes)), strict=True):
        for i, prediction in zip(share, part, strict=True):
            predictions[i] = prediction
    return [prediction for prediction in predictions if prediction is not None]


@torch.inference_mode()
def _predict_share(denoiser: PackedDenoiser, segments: Sequence[Segment]) -> list[Prediction]:
    outcomes = denoiser.run(segments)
    parts = []
    for outcome in outcomes:
        parts.append(outcome.read)
        if outcome.canvas is not None:
            parts.append(outcome.canvas)
    hidden = denoiser.fill_up(torch.cat(parts))  # (N, H)
    lengths = [*map(len, parts), len(hidden) - sum(map(len, parts))]
    is_ranked = all(segment.is_ranked for segment in segments)
    scores = iter(torch.split((denoiser.scores if is_ranked else denoiser.logits)(hidden), lengths))  # (n, V) each
    return [Prediction(next(scores), None if o.canvas is None else next(scores)) for o in outcomes]


def _predict_in_turn(denoiser: Denoiser, segments: Sequence[Segment]) -> list[Prediction]:
    reads = []
    for segment in segments:
        hidden = torch.empty(0, denoiser.hidden_size, dtype=denoiser.dtype, device=denoiser.device)  # (0, H)
        if segment.token_ids:
            hidden = denoiser.read_inplace(segment.context, segment.token_ids)[0, segment.num_unwanted :]  # (n, H)
        reads.append(denoiser.logits(hidden))  # (n, V)
    is_open = [segment for segment in segments if segment.canvas is not None]
    canvases: list[Tensor] = []
    if is_open:
        blank = torch.zeros(denoiser.canvas_length, denoiser.hidden_size, dtype=denoiser.dtype, device=denoiser.device)
        tokens = torch.stack([s.canvas for s in is_open if s.canvas is not None])  # (B, L)
        signals = torch.stack([blank if s.signal is None else s.signal for s in is_open])  # (B, L, H)
        canvases = list(denoiser.denoise(tokens, signals, denoiser.stack([s.context for s in is_open])))  # (L, V) each
    rest = iter(canvases)
    return [
        Prediction(read, None if segment.canvas is None else next(rest))
        for segment, read in zip(segments, reads, strict=True)
    ]


PackedBatch: TypeAlias = list[Context]
"""What `PackedDenoiser.stack` gives: nothing needs stacking."""


class PackedDenoiser(DenseDenoiser):
    """A `DenseDenoiser` that runs segments of many requests in one pass."""

    def __init__(self, model: DiffusionGemmaForBlockDiffusion, *, product_dtype: torch.dtype = torch.float32) -> None:
        super().__init__(model, product_dtype=product_dtype)
        self.lanes = Lanes() if self._is_small else None
        self._angle_tables = {kind: self._make_table(kind) for kind in set(self._layer_types)}
        self._has_loops = self._is_small and all(layer.head_size % LANES == 0 for layer in self._layers)
        self._layouter = Layouter(
            kinds=self._angle_tables,
            window=self._window,
            context_length=self.context_length,
            dtype=self.dtype,
            device=self.device,
            has_masks=not self._has_loops,
        )
        num_outputs = (self._layers[-1].head_norm.shape[0] - self._layers[-1].num_keys) * self._layers[-1].head_size
        self._last_query = self._layers[-1].projection.part(slice(None, num_outputs))  # (Q * D, H)
        self._last_keys = self._layers[-1].projection.part(slice(num_outputs, None))  # (K * D or 2K * D, H)

    def _make_table(self, kind: str) -> Rotary:
        """Cosine and signed sine of every position, ``(context_length, 1, D)``; see `DenseDenoiser._angles`."""
        positions = torch.arange(self.context_length, device=self.device)[None]
        cosine, sine = self._decoder.rotary_emb(self._eps, positions, kind)  # (1, T, D)
        half = sine.shape[-1] // 2
        signed = torch.cat([-sine[..., :half], sine[..., half:]], dim=-1)  # (1, T, D)
        return cosine[0, :, None], signed[0, :, None]  # (T, 1, D)

    def open_context(self) -> PackedContext:
        """A context that has read nothing yet."""
        layers = [self._open_layer(layer) for layer in self._layers]
        return PackedContext(KeyStore(layers))

    def _open_layer(self, layer: DenseLayer) -> LayerStore:
        if self._has_loops:
            return LoopLayer(
                np.empty((layer.num_keys, layer.head_size, 0), np.float32),
                np.empty((layer.num_keys, 0, layer.head_size), np.float32),
            )
        empty = layer.head_norm.new_empty(layer.num_keys, 0, layer.head_size)  # (K, 0, D)
        return PlainLayer(empty, empty)

    def read_inplace(self, context: Context, token_ids: Sequence[int]) -> Tensor:
        """See `Denoiser.read_inplace`."""
        return self.run([Segment(context, token_ids)])[0].read[None]  # (1, T_new, H)

    def stack(self, contexts: Sequence[Context]) -> PackedBatch:  # type: ignore[override]  # opaque to those who use it
        """See `Denoiser.stack`."""
        return list(contexts)

    @torch.inference_mode()
    def denoise(self, canvases: Tensor, signals: Tensor, batch: PackedBatch) -> Tensor:  # type: ignore[override]  # as above
        """See `Denoiser.denoise`."""
        segments = [Segment(c, (), canvas, s) for c, canvas, s in zip(batch, canvases, signals, strict=True)]
        hidden = [outcome.canvas for outcome in self.run(segments)]
        return self.logits(torch.stack([h for h in hidden if h is not None]))  # (B, L, V)

    @torch.inference_mode()
    def run(self, segments: Sequence[Segment]) -> list[Outcome]:
        """Run one pass over all segments; what they read is appended to their contexts.

        Args:
            segments: At most one per context.
        """
        layout = self._layouter.lay_out(segments)
        positions = self.fill_up(layout.positions)  # (N,)
        angles = {kind: (c[positions], s[positions]) for kind, (c, s) in self._angle_tables.items()}  # (N, 1, D)
        hidden = self.fill_up(self._embed(segments))  # (N, H)
        for i, layer in enumerate(self._layers):
            mixed = self._attend_packed(hidden, i, angles[self._layer_types[i]], layout)
            hidden = self._transform(mixed, layer)  # (N, H), at last (M, H)
        hidden = self._normalize(hidden) * self._decoder.norm.weight  # (M, H)
        for segment in segments:
            segment.context.num_tokens += len(segment.token_ids)
        return _divide(hidden, segments)

    def fill_up(self, rows: Tensor) -> Tensor:
        """Append zeros to ``(N, ...)`` up to a number of rows that recurs; see `matrix.round_rows`."""
        num_blank = round_rows(len(rows)) - len(rows) if self._is_small else 0
        return torch.cat([rows, rows.new_zeros(num_blank, *rows.shape[1:])]) if num_blank else rows

    def _embed(self, segments: Sequence[Segment]) -> Tensor:
        """Embed the tokens of a pass, conditioned where they are a canvas, ``(N, H)``."""
        canvases = [segment.canvas for segment in segments if segment.canvas is not None]
        read = torch.tensor([token for segment in segments for token in segment.token_ids], device=self.device)
        embedded = self._decoder.embed_tokens(torch.cat([read.long(), *canvases]))  # (N, H)
        if not canvases:
            return torch.as_tensor(embedded)
        noisy = embedded[len(read) :]  # (sum of L, H)
        if any(segment.signal is not None for segment in segments):
            blank = noisy.new_zeros(1, noisy.shape[1])
            signals = [
                blank.expand(len(segment.canvas), -1) if segment.signal is None else segment.signal
                for segment in segments
                if segment.canvas is not None
            ]
            noisy = self._condition(noisy, torch.cat(signals))
        else:  # the block adds nothing to a zero signal, but it does normalize
            noisy = self._normalize(noisy)
        return torch.cat([embedded[: len(read)], noisy])  # (N, H)

    def _attend_packed(self, hidden: Tensor, index: int, rotary: Rotary, layout: Layout) -> Tensor:
        layer = self._layers[index]
        normal = self._normalize(hidden)  # (N, H)
        if layout.wanted is not None and index == len(self._layers) - 1:
            return self._attend_last(hidden, normal, rotary, layout)
        num_rotated = layer.head_norm.shape[0]  # Q + K
        heads = layer.projection.multiply(normal).view(len(hidden), -1, layer.head_size)
        heads = self._normalize(heads)  # (N, Q + K or 2K, D)
        turned = _rotate(heads[:, :num_rotated] * layer.head_norm, rotary)  # (N, Q + K, D)
        self._write(layout.places, index, turned, heads)
        return self._look(hidden, turned, index, layout.queries)  # (N, H)

    def _attend_last(self, hidden: Tensor, normal: Tensor, rotary: Rotary, layout: Layout) -> Tensor:
        """Attend in the last layer: all leave keys and values, only those that are wanted look at them, ``(M, H)``."""
        assert layout.wanted is not None  # noqa: S101 - the caller's case
        layer, wanted, index = self._layers[-1], self.fill_up(layout.wanted), len(self._layers) - 1  # (M,)
        heads = self._last_keys.multiply(normal).view(len(normal), -1, layer.head_size)
        heads = self._normalize(heads)  # (N, K or 2K, D)
        num_queries = layer.head_norm.shape[0] - layer.num_keys  # Q
        keys = _rotate(heads[:, : layer.num_keys] * layer.head_norm[num_queries:], rotary)  # (N, K, D)
        self._write(layout.places, index, keys, heads)
        if not layout.last_queries:
            return hidden[:0]  # (0, H)
        asked = self._last_query.multiply(normal[wanted]).view(len(wanted), num_queries, layer.head_size)
        asked = self._normalize(asked) * layer.head_norm[:num_queries]  # (M, Q, D)
        asked = _rotate(asked, (rotary[0][wanted], rotary[1][wanted]))  # (M, Q, D)
        return self._look(hidden[wanted], asked, index, layout.last_queries)

    def _write(self, places: Sequence[Place], index: int, turned: Tensor, heads: Tensor) -> None:
        """Write new keys and values into the stores of their requests.

        Args:
            places: Where they go.
            index: The layer.
            turned: Heads that end with the keys, ``(N, ..., D)``.
            heads: Heads that end with the values, ``(N, ..., D)``.
        """
        if self._has_loops:
            keys_in, values_in = turned.numpy(), heads.numpy()
            for place in places:
                num = place.tokens.stop - place.tokens.start
                layer = place.layers[index]
                write_keys(keys_in, values_in, place.tokens.start, num, layer.keys, layer.values, place.first)
            return
        num_keys = self._layers[index].num_keys
        new = PlainLayer(turned[:, -num_keys:].transpose(0, 1), heads[:, -num_keys:].transpose(0, 1))
        for place in places:
            place.layers[index].copy_from(new, place.tokens.start, place.tokens.stop, to=place.first)

    def _look(self, hidden: Tensor, asked: Tensor, index: int, queries: Sequence[Query]) -> Tensor:
        """Let rows look at their contexts and add what they find, ``(N, H)``.

        Args:
            hidden: The rows, ``(N, H)``.
            asked: Heads that begin with their queries, ``(N, ..., D)``.
            index: The layer.
            queries: What they may look at.
        """
        layer = self._layers[index]
        num_heads = layer.head_norm.shape[0] - layer.num_keys  # Q
        found = asked.new_empty(len(hidden), num_heads, layer.head_size)  # (N, Q, D)
        found[queries[-1].rows.stop :] = 0  # rows that fill the pass up
        if self._has_loops:
            window = self._window if self._layer_types[index] == "sliding_attention" else 0
            asked_in, out = asked.numpy(), found.numpy()
            for query in queries:
                num, own = query.rows.stop - query.rows.start, query.layers[index]
                attend(
                    asked_in, query.rows.start, num, own.keys, own.values, query.first, query.end, query.is_read,
                    window, out,
                )  # fmt: skip
        else:
            for query in queries:
                mask = query.masks[self._layer_types[index]]
                found[query.rows] = _find(asked[query.rows, :num_heads], query, index, mask)
        mixed = layer.output.multiply(found.flatten(1))  # (N, H)
        return torch.addcmul(hidden, self._normalize(mixed), layer.attention_norm)  # (N, H)


def _find(asked: Tensor, query: Query, index: int, mask: Tensor | None) -> Tensor:
    """Attend, ``(T_new, Q, D)``."""
    layer = query.layers[index]
    keys, values = layer.keys[:, : query.end], layer.values[:, : query.end]  # (K, T, D) each
    mixed = functional.scaled_dot_product_attention(
        asked.transpose(0, 1)[None],
        keys[None],
        values[None],
        attn_mask=mask,
        is_causal=query.is_read and mask is None and query.first == 0,
        scale=1.0,
        enable_gqa=len(keys) < asked.shape[1],
    )  # (1, Q, T_new, D)
    return mixed[0].transpose(0, 1)  # (T_new, Q, D)


def _divide(hidden: Tensor, segments: Sequence[Segment]) -> list[Outcome]:
    """Give each request its hidden states out of ``(M, H)``; canvases stand behind all that was read."""
    num_read = [len(segment.token_ids) - segment.num_unwanted for segment in segments]
    lengths = [0 if segment.canvas is None else len(segment.canvas) for segment in segments]
    num_blank = len(hidden) - sum(num_read) - sum(lengths)
    reads_and_canvases = torch.split(hidden, [*num_read, *lengths, num_blank])
    reads, canvases = reads_and_canvases[: len(segments)], reads_and_canvases[len(segments) : -1]
    return [
        Outcome(read, None if segment.canvas is None else canvas)
        for segment, read, canvas in zip(segments, reads, canvases, strict=True)
    ]


def _rotate(heads: Tensor, rotary: Rotary) -> Tensor:
    """Turn heads ``(N, Q + K, D)`` by the angles of their positions."""
    cosine, signed_sine = rotary  # (N, 1, D)
    return torch.addcmul(heads * cosine, heads.roll(heads.shape[-1] // 2, dims=-1), signed_sine)
