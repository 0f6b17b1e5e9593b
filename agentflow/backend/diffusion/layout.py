"""Where the tokens of a pass stand, where their keys go and what they may look at.

    row of the pass    | read 0 | read 1 | ... | canvas 0 | canvas 1 | ...      (N,)
    wanted at its end         r        rr        canvas 0 | canvas 1 | ...      (M,)

Of what is read only the last tokens' predictions are wanted. The others only leave keys and values behind, so the last
layer computes nothing else of them.

Shapes: ``N`` tokens of a pass, ``M`` of them wanted, ``T_new`` tokens of a request, ``T`` its context, ``L`` canvas
length, ``K`` key heads, ``D`` head size.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from agentflow.backend.diffusion.key_store import LayerStore, PackedContext
from agentflow.backend.diffusion.segment import Segment


class Place(NamedTuple):
    """Where the new keys and values of one request go.

    Attributes:
        tokens: Where its tokens stand in the packed row.
        layers: Its store.
        first: Position of the first of them in the context.
    """

    tokens: slice
    layers: Sequence[LayerStore]
    first: int

    @property
    def end(self) -> int:
        """Position behind the last of them."""
        return self.first + int(self.tokens.stop - self.tokens.start)


class Query(NamedTuple):
    """One call of attention: rows of hidden states, and what they may look at.

    Attributes:
        rows: The rows.
        layers: The store of their request.
        first: Position of the first of them in the context.
        end: How many positions of the context there are up to the last of them.
        is_read: Whether they look only at their own and earlier positions; a canvas looks at all up to `end`.
        masks: By kind of layer, ``(T_new, T)``, bool or added to scores; ``None``: what `is_read` says. Empty where
            nobody asks for masks.
    """

    rows: slice
    layers: Sequence[LayerStore]
    first: int
    end: int
    is_read: bool
    masks: Mapping[str, Tensor | None]


class Layout(NamedTuple):
    """Where everything stands in a pass.

    Attributes:
        positions: Of every token in its context, ``(N,)``.
        places: Where new keys and values go.
        queries: Calls of attention over the tokens.
        wanted: Tokens whose hidden states are needed in the end, ``(M,)``; ``None``: all, in the last layer as well.
        last_queries: Calls of attention over these, for the last layer.
    """

    positions: Tensor
    places: list[Place]
    queries: list[Query]
    wanted: Tensor | None
    last_queries: list[Query]


class Layouter:
    """Lays passes out for one network.

    Args:
        kinds: Kinds of its layers.
        window: How far back its sliding layers look.
        context_length: Positions of a context at most.
        dtype: Of its hidden states.
        device: Where they are.
        has_masks: Whether attention takes masks.
    """

    def __init__(
        self,
        *,
        kinds: Iterable[str],
        window: int,
        context_length: int,
        dtype: torch.dtype,
        device: torch.device,
        has_masks: bool,
    ) -> None:
        self._kinds = frozenset(kinds if has_masks else ())
        self._window = window
        self._dtype = dtype
        self._all = torch.arange(context_length, device=device)  # (T,)

    def lay_out(self, segments: Sequence[Segment]) -> Layout:
        """Give every token its place; the contexts get room for what is read and for the canvases."""
        plan = _Plan()
        stores = []
        for segment in segments:
            assert isinstance(segment.context, PackedContext)  # noqa: S101 - contexts come from `open_context`
            stores.append(segment.context.writable(segment.num_tokens))
        for segment, store in zip(segments, stores, strict=True):
            if segment.token_ids:
                self._add_read(plan, segment, store)
        for segment, store in zip(segments, stores, strict=True):
            if segment.canvas is not None:
                first = segment.context.num_tokens + len(segment.token_ids)
                masks = {kind: self._canvas_mask(first, len(segment.canvas), kind) for kind in self._kinds}
                place = plan.add(store, first, len(segment.canvas))
                plan.ask(place, masks, is_read=False)
                plan.ask_last(place, masks, num_unwanted=0, is_read=False)
        return plan.finish(self._all.device)

    def _add_read(self, plan: _Plan, segment: Segment, store: Sequence[LayerStore]) -> None:
        first, num_new, num_unwanted = segment.context.num_tokens, len(segment.token_ids), segment.num_unwanted
        place = plan.add(store, first, num_new)
        masks = self._read_masks(first, num_new)
        plan.ask(place, masks, is_read=True)
        if num_unwanted:
            masks = self._read_masks(first + num_unwanted, num_new - num_unwanted)
        plan.ask_last(place, masks, num_unwanted=num_unwanted, is_read=True)

    def _window_of(self, kind: str, num_tokens: int) -> int | None:
        """How far back a layer looks, where that is less than so many tokens."""
        return self._window if kind == "sliding_attention" and num_tokens > self._window else None

    def _read_masks(self, first: int, num_new: int) -> dict[str, Tensor | None]:
        """By kind of layer, what is added to the scores of new tokens, ``(T_new, T)``; kinds alike share theirs."""
        windows = {kind: self._window_of(kind, first + num_new) for kind in self._kinds}
        masks = {window: self._read_mask(first, num_new, window) for window in set(windows.values())}
        return {kind: masks[window] for kind, window in windows.items()}

    def _read_mask(self, first: int, num_new: int, window: int | None) -> Tensor | None:
        """See `_read_masks`; ``None`` where new tokens see everything, or plainly what is before them."""
        if window is None and (num_new == 1 or first == 0):
            return None
        shape = num_new, first + num_new
        hidden = torch.full(shape, -torch.inf, dtype=self._dtype, device=self._all.device)  # (T_new, T)
        if window is None:
            return hidden.triu_(first + 1)
        return hidden.triu(first + 1) + hidden.tril_(first - window)

    def _canvas_mask(self, first: int, length: int, kind: str) -> Tensor | None:
        """What a canvas sees, ``(L, T)`` bool: all of itself, and of the context what the encoder would keep."""
        window = self._window_of(kind, first + 1)
        if window is None:
            return None
        return (self._all[: first + length] > first - window).expand(length, -1)  # (L, T)


@dataclass
class _Plan:
    """A layout in the making."""

    positions: list[int] = field(default_factory=list)
    places: list[Place] = field(default_factory=list)
    queries: list[Query] = field(default_factory=list)
    wanted: list[int] = field(default_factory=list)
    last_queries: list[Query] = field(default_factory=list)

    def add(self, layers: Sequence[LayerStore], first: int, num_tokens: int) -> Place:
        """Put the tokens of one request behind the others."""
        start = len(self.positions)
        self.positions += range(first, first + num_tokens)
        self.places.append(Place(slice(start, start + num_tokens), layers, first))
        return self.places[-1]

    def ask(self, place: Place, masks: Mapping[str, Tensor | None], *, is_read: bool) -> None:
        """Let tokens look at their context in all layers but the last."""
        self.queries.append(Query(place.tokens, place.layers, place.first, place.end, is_read, masks))

    def ask_last(self, place: Place, masks: Mapping[str, Tensor | None], *, num_unwanted: int, is_read: bool) -> None:
        """Let those that are wanted look at it in the last."""
        wanted = range(place.tokens.start + num_unwanted, place.tokens.stop)
        if wanted:
            rows = slice(len(self.wanted), len(self.wanted) + len(wanted))
            first = place.first + num_unwanted
            self.last_queries.append(Query(rows, place.layers, first, place.end, is_read, masks))
            self.wanted += wanted

    def finish(self, device: torch.device) -> Layout:
        """Give the layout."""
        positions = torch.tensor(self.positions, device=device)  # (N,)
        if len(self.wanted) == len(self.positions):
            return Layout(positions, self.places, self.queries, None, self.queries)
        wanted = torch.tensor(self.wanted, dtype=torch.int64, device=device)  # (M,)
        return Layout(positions, self.places, self.queries, wanted, self.last_queries)
