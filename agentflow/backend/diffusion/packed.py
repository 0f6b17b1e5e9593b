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

Shapes: ``N`` tokens of a pass, ``T`` context length, ``L`` canvas length, ``H`` hidden size, ``Q`` query heads, ``K``
key heads, ``D`` head size, ``V`` vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional

from agentflow.backend.diffusion.denoiser import Context, Denoiser, Rotary
from agentflow.backend.diffusion.dense import DenseDenoiser
from agentflow.backend.diffusion.key_store import KeyStore, PackedContext
from agentflow.backend.diffusion.lanes import Lanes
from agentflow.backend.diffusion.matrix import round_rows

if TYPE_CHECKING:
    from transformers import DiffusionGemmaForBlockDiffusion


class Segment(NamedTuple):
    """What one request wants of a pass: tokens to read, then a canvas that looks at all that was read; either or both.

    Attributes:
        context: What the request has read; the pass appends `token_ids`.
        token_ids: Tokens to read; may be empty.
        canvas: Token ids of an open canvas, ``(L,)`` int64, or ``None``.
        signal: Its self-conditioning signal, ``(L, H)``; ``None``: zero.
        num_unwanted: Tokens at the beginning of `token_ids` whose predictions nobody needs.
        is_ranked: Whether only the order of a position's predictions counts, so that the cap may be left out.
    """

    context: Context
    token_ids: Sequence[int] = ()
    canvas: Tensor | None = None
    signal: Tensor | None = None
    num_unwanted: int = 0
    is_ranked: bool = False

    @property
    def num_tokens(self) -> int:
        """Tokens that go through the network."""
        return len(self.token_ids) + (0 if self.canvas is None else len(self.canvas))


class Prediction(NamedTuple):
    """What a pass tells one request, logits in float32, or what the cap makes logits of (`Segment.is_ranked`).

    Attributes:
        read: After each token that was read, but for those that nobody needs, ``(T_new - num_unwanted, V)``.
        canvas: At each position of the canvas, ``(L, V)``; ``None`` without one.
    """

    read: Tensor
    canvas: Tensor | None


class Outcome(NamedTuple):
    """What a pass gives one request: final hidden states, the input of `Denoiser.logits`.

    Attributes:
        read: Of the tokens that were read, ``(T_new, H)``.
        canvas: Of the canvas, ``(L, H)``; ``None`` without one.
    """

    read: Tensor
    canvas: Tensor | None


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
    for segment, outcome in zip(segments, outcomes, strict=True):
        parts.append(outcome.read[segment.num_unwanted :])
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


class _Query(NamedTuple):
    """One call of attention: positions of the packed row, and what they may look at.

    Attributes:
        tokens: Where they stand in the packed row.
        keys: The layers of their request, ``(2, K, room, D)`` each.
        first: Position of the first of them in the context.
        masks: By kind of layer, ``(T_new, T)``, bool or added to scores; ``None``: all up to the last of them.
        is_causal: Whether they look only at their own and earlier positions where there is no mask.
    """

    tokens: slice
    keys: list[Tensor]
    first: int
    masks: dict[str, Tensor | None]
    is_causal: bool


PackedBatch: TypeAlias = list[Context]
"""What `PackedDenoiser.stack` gives: nothing needs stacking."""


class PackedDenoiser(DenseDenoiser):
    """A `DenseDenoiser` that runs segments of many requests in one pass."""

    def __init__(self, model: DiffusionGemmaForBlockDiffusion, *, product_dtype: torch.dtype = torch.float32) -> None:
        super().__init__(model, product_dtype=product_dtype)
        self.lanes = Lanes() if self._is_small else None
        self._angle_tables = {kind: self._make_table(kind) for kind in set(self._layer_types)}
        self._places = torch.arange(self.context_length, device=self.device)  # (T,)

    def _make_table(self, kind: str) -> Rotary:
        """Cosine and signed sine of every position, ``(context_length, 1, D)``; see `DenseDenoiser._angles`."""
        positions = torch.arange(self.context_length, device=self.device)[None]
        cosine, sine = self._decoder.rotary_emb(self._eps, positions, kind)  # (1, T, D)
        half = sine.shape[-1] // 2
        signed = torch.cat([-sine[..., :half], sine[..., half:]], dim=-1)  # (1, T, D)
        return cosine[0, :, None], signed[0, :, None]  # (T, 1, D)

    def open_context(self) -> PackedContext:
        """A context that has read nothing yet."""
        layers = [
            layer.head_norm.new_empty(2, layer.num_keys, 0, layer.head_size)  # (2, K, 0, D)
            for layer in self._layers
        ]
        return PackedContext(KeyStore(layers))

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
        queries, positions = self._lay_out(segments)
        num_tokens = len(positions)
        positions = self.fill_up(positions)  # (N,)
        angles = {kind: (c[positions], s[positions]) for kind, (c, s) in self._angle_tables.items()}  # (N, 1, D)
        hidden = self.fill_up(self._embed(segments))  # (N, H)
        for i, layer in enumerate(self._layers):
            kind = self._layer_types[i]
            hidden = self._transform(self._attend_packed(hidden, i, angles[kind], queries), layer)  # (N, H)
        hidden = self._normalize(hidden) * self._decoder.norm.weight  # (N, H)
        num_read = sum(len(segment.token_ids) for segment in segments)
        lengths = [len(segment.canvas) for segment in segments if segment.canvas is not None]
        canvases = iter(torch.split(hidden[num_read:num_tokens], lengths))
        reads = torch.split(hidden[:num_read], [len(segment.token_ids) for segment in segments])
        for segment in segments:
            segment.context.num_tokens += len(segment.token_ids)
        return [
            Outcome(read, None if segment.canvas is None else next(canvases))
            for segment, read in zip(segments, reads, strict=True)
        ]

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

    def _lay_out(self, segments: Sequence[Segment]) -> tuple[list[_Query], Tensor]:
        """Where everything stands: the calls of attention, and the position of every token, ``(N,)``."""
        reads: list[_Query] = []
        canvases: list[_Query] = []
        positions: list[int] = []
        stores = []
        for segment in segments:
            first, num_new = segment.context.num_tokens, len(segment.token_ids)
            length = 0 if segment.canvas is None else len(segment.canvas)
            assert isinstance(segment.context, PackedContext)  # noqa: S101 - contexts come from `open_context`
            stores.append(segment.context.writable(num_new + length))
            if num_new:
                start = len(positions)
                positions += range(first, first + num_new)
                masks = self._read_masks(first, num_new)
                place = slice(start, len(positions))
                reads.append(_Query(place, stores[-1], first, masks, is_causal=first == 0 and num_new > 1))
        for segment, store in zip(segments, stores, strict=True):
            if segment.canvas is not None:
                first, start = segment.context.num_tokens + len(segment.token_ids), len(positions)
                positions += range(first, first + len(segment.canvas))
                masks = {kind: self._canvas_mask(first, len(segment.canvas), kind) for kind in self._angle_tables}
                canvases.append(_Query(slice(start, len(positions)), store, first, masks, is_causal=False))
        return reads + canvases, torch.tensor(positions, device=self.device)

    def _window_of(self, kind: str, num_tokens: int) -> int | None:
        """How far back a layer looks, where that is less than so many tokens."""
        return self._window if kind == "sliding_attention" and num_tokens > self._window else None

    def _read_masks(self, first: int, num_new: int) -> dict[str, Tensor | None]:
        """By kind of layer, what is added to the scores of new tokens, ``(T_new, T)``; kinds alike share theirs."""
        windows = {kind: self._window_of(kind, first + num_new) for kind in self._angle_tables}
        masks = {window: self._read_mask(first, num_new, window) for window in set(windows.values())}
        return {kind: masks[window] for kind, window in windows.items()}

    def _read_mask(self, first: int, num_new: int, window: int | None) -> Tensor | None:
        """See `_read_masks`; ``None`` where new tokens see everything, or plainly what is before them."""
        if window is None and (num_new == 1 or first == 0):
            return None
        hidden = torch.full((num_new, first + num_new), -torch.inf, dtype=self.dtype, device=self.device)  # (T_new, T)
        if window is None:
            return hidden.triu_(first + 1)
        return hidden.triu(first + 1) + hidden.tril_(first - window)

    def _canvas_mask(self, first: int, length: int, kind: str) -> Tensor | None:
        """What a canvas sees, ``(L, T)`` bool: all of itself, and of the context what the encoder would keep."""
        window = self._window_of(kind, first + 1)
        if window is None:
            return None
        return (self._places[: first + length] > first - window).expand(length, -1)  # (L, T)

    def _attend_packed(self, hidden: Tensor, index: int, rotary: Rotary, queries: Sequence[_Query]) -> Tensor:
        layer = self._layers[index]
        num_rotated = layer.head_norm.shape[0]  # Q + K
        heads = layer.projection.multiply(self._normalize(hidden))
        heads = self._normalize(heads.view(len(hidden), -1, layer.head_size))  # (N, Q + K or 2K, D)
        turned = _rotate(heads[:, :num_rotated] * layer.head_norm, rotary).transpose(0, 1)  # (Q + K, N, D)
        value = heads[:, -layer.num_keys :].transpose(0, 1)  # (K, N, D)
        new_keys = torch.stack([turned[-layer.num_keys :], value])  # (2, K, N, D)
        kind = self._layer_types[index]
        looks = [_look(turned[: -layer.num_keys], new_keys, query, index, query.masks[kind]) for query in queries]
        num_blank = len(hidden) - sum(map(len, looks))
        looks += [hidden.new_zeros(num_blank, *looks[0].shape[1:])] * (num_blank > 0)
        mixed = layer.output.multiply(torch.cat(looks).flatten(1))  # (N, H)
        return torch.addcmul(hidden, self._normalize(mixed), layer.attention_norm)  # (N, H)


def _look(queries: Tensor, new_keys: Tensor, query: _Query, index: int, mask: Tensor | None) -> Tensor:
    """Write the keys and values of a query's tokens into its store and attend, ``(T_new, Q, D)``."""
    tokens, end = query.tokens, query.first + query.tokens.stop - query.tokens.start
    store = query.keys[index]
    store[:, :, query.first : end] = new_keys[:, :, tokens]
    mixed = functional.scaled_dot_product_attention(
        queries[None, :, tokens],
        store[None, 0, :, :end],
        store[None, 1, :, :end],
        attn_mask=mask,
        is_causal=query.is_causal and mask is None,
        scale=1.0,
        enable_gqa=store.shape[1] < len(queries),
    )  # (1, Q, T_new, D)
    return mixed[0].transpose(0, 1)  # (T_new, Q, D)


def _rotate(heads: Tensor, rotary: Rotary) -> Tensor:
    """Turn heads ``(N, Q + K, D)`` by the angles of their positions."""
    cosine, signed_sine = rotary  # (N, 1, D)
    return torch.addcmul(heads * cosine, heads.roll(heads.shape[-1] // 2, dims=-1), signed_sine)
