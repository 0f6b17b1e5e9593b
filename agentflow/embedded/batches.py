"""Batches of examples of about one length, so that little of a batch is padding.

The stream is cut into pools; a pool is sorted by length, cut into batches and shuffled. Which batch
comes at which step follows from the seed alone, so training resumes anywhere.
"""

from __future__ import annotations

import pickle
import queue
import random
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import count, islice
from typing import Any, cast

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from agentflow.embedded.data.conversations import MIXTURE
from agentflow.embedded.examples import Encoder, Example, Turn, choose_canvases, stream_examples

STRUCTURE, NAME, SLOT, TAIL = range(4)
"""What a canvas token is: forced by the structure, of a tool's name, of a value, or behind the end token."""


@dataclass(frozen=True)
class Batch:
    """Conversations and some of their canvases; B conversations, T tokens, C canvases of L tokens.

    Attributes:
        ids: Token ids `(B, T)`, padded on the right.
        weights: Weight of each token as a target of the next-token loss `(B, T)`.
        canvases: Clean canvases `(B, C, L)`.
        roles: What each canvas token is `(B, C, L)`.
        starts: Tokens before each canvas `(B, C)`.
    """

    ids: Tensor
    weights: Tensor
    canvases: Tensor
    roles: Tensor
    starts: Tensor

    def to(self, device: torch.device) -> Batch:
        """Move to a device."""
        return Batch(*(part.to(device, non_blocking=True) for part in self._parts()))

    def arrays(self) -> tuple[Any, ...]:
        """Give the tensors as arrays, in the order of the attributes."""
        return tuple(part.numpy() for part in self._parts())

    def _parts(self) -> tuple[Tensor, ...]:
        return self.ids, self.weights, self.canvases, self.roles, self.starts


@dataclass(frozen=True, kw_only=True)
class BatchPlan:
    """How batches are made.

    Attributes:
        seed: Seed of the stream.
        canvas_length: Tokens of a canvas.
        num_canvases: Canvases of a conversation in a batch.
        num_tokens: Most tokens of a batch, canvases and padding included.
        max_length: Conversations with more tokens are left out.
        pad_id: Token that fills up.
        structure_weight: Weight of forced tokens in the next-token loss.
        choice_weight: Weight of tokens that choose there: a turn's first one (call or answer), a tool's name, where a
            value begins and what comes behind it; the rest of a copy is easy.
        prompt_share: Share of prompt tokens that are targets of the next-token loss.
        mixture: Shares of the kinds of conversation.
        pool_size: Conversations of a pool; the larger, the more alike are the lengths in a batch.
    """

    seed: int
    canvas_length: int
    num_canvases: int = 4
    num_tokens: int = 9000
    max_length: int = 1300
    pad_id: int = 0
    structure_weight: float = 0.4
    choice_weight: float = 2.0
    prompt_share: float = 0.03
    mixture: Mapping[str, float] | None = None
    pool_size: int = 256


def make_pool(encoder: Encoder, plan: BatchPlan, index: int) -> list[Batch]:
    """Make the batches of pool `index`, in the order of training."""
    rng = random.Random(f"{plan.seed}/{index}")  # noqa: S311 - reproducible batches, no secret
    stream = stream_examples(encoder, seed=plan.seed, first=index * plan.pool_size, mixture=plan.mixture or MIXTURE)
    examples = [example for example in islice(stream, plan.pool_size) if len(example.ids) <= plan.max_length]
    examples.sort(key=lambda example: len(example.ids))
    groups: list[list[Example]] = [[]]
    canvas_tokens = plan.num_canvases * plan.canvas_length
    for example in examples:
        if (len(groups[-1]) + 1) * (len(example.ids) + canvas_tokens) > plan.num_tokens and groups[-1]:
            groups.append([])
        groups[-1].append(example)
    rng.shuffle(groups)
    return [collate(group, plan, rng) for group in groups]


def collate(examples: list[Example], plan: BatchPlan, rng: random.Random) -> Batch:
    """Put examples into one batch."""
    num_tokens = max(len(example.ids) for example in examples)
    shape = (len(examples), plan.num_canvases, plan.canvas_length)
    ids = torch.full((len(examples), num_tokens), plan.pad_id)  # (B, T)
    weights = torch.zeros(len(examples), num_tokens)  # (B, T)
    canvases = torch.full(shape, plan.pad_id)  # (B, C, L)
    roles = torch.full(shape, TAIL)  # (B, C, L)
    starts = torch.zeros(shape[:2], dtype=torch.long)  # (B, C)
    for b, example in enumerate(examples):
        ids[b, : len(example.ids)] = torch.tensor(example.ids)
        weights[b, : len(example.ids)] = (torch.tensor([rng.random() for _ in example.ids]) < plan.prompt_share) * 0.3
        weights[b, 0] = 0
        for turn in example.turns:
            weights[b, turn.start : turn.start + len(turn.ids)] = weigh_turn(turn, plan)
        chosen = choose_canvases(example, plan.num_canvases, plan.canvas_length, rng)
        for c, (turn, offset) in enumerate(chosen):
            end = min(offset + plan.canvas_length, len(turn.ids))
            canvases[b, c, : end - offset] = torch.tensor(turn.ids[offset:end])
            role = torch.full((end - offset,), STRUCTURE)
            role[torch.tensor(turn.is_name[offset:end])] = NAME
            role[torch.tensor(turn.is_slot[offset:end])] = SLOT
            roles[b, c, : end - offset] = role
            starts[b, c] = turn.start + offset
    return Batch(ids, weights, canvases, roles, starts)


def weigh_turn(turn: Turn, plan: BatchPlan) -> Tensor:
    """Give the weight of each token of a turn `(N,)` in the next-token loss."""
    is_slot, is_name = torch.tensor(turn.is_slot), torch.tensor(turn.is_name)  # (N,)
    is_choice = is_name.clone()
    is_choice[0] = True
    is_choice[1:] |= is_slot[1:] != is_slot[:-1]
    weights = torch.where(is_slot, 1.0, plan.structure_weight)
    return torch.where(is_choice, plan.choice_weight, weights)


class BatchStream:
    """Batches from a position on, made ahead by a thread.

    Args:
        make: Makes the pool of an index.
        pool: Pool to begin with.
        batch: Batch of that pool to begin with.
        num_makers: Processes that make pools; 0: the thread makes them itself. A fast device needs many.
    """

    def __init__(
        self, make: Callable[[int], list[Batch]], *, pool: int = 0, batch: int = 0, num_makers: int = 0
    ) -> None:
        self._make, self._num_makers = make, num_makers
        self._position = (pool, batch)
        self._queue: queue.Queue[tuple[int, list[Batch]]] = queue.Queue(maxsize=2)
        self._is_closed = threading.Event()
        self._thread = threading.Thread(target=self._fill, args=(pool,), daemon=True)
        self._thread.start()

    @property
    def position(self) -> tuple[int, int]:
        """Pool and batch that come next."""
        return self._position

    def __iter__(self) -> Iterator[Batch]:
        """Give batches without end."""
        while True:
            pool, batches = self._queue.get()
            first = self._position[1]
            for index in range(first, len(batches)):
                is_last = index + 1 == len(batches)
                self._position = (pool + 1, 0) if is_last else (pool, index + 1)
                yield batches[index]

    def close(self) -> None:
        """Stop the thread, and wait for the pool that it is making: a program that ended meanwhile would crash."""
        self._is_closed.set()
        self._thread.join()

    def _fill(self, pool: int) -> None:
        for batches in self._pools(pool):
            while not self._is_closed.is_set():
                try:
                    self._queue.put((pool, batches), timeout=0.2)
                    break
                except queue.Full:
                    continue
            if self._is_closed.is_set():
                return
            pool += 1

    def _pools(self, first: int) -> Iterator[list[Batch]]:
        if not self._num_makers:
            yield from map(self._make, count(first))
            return
        made = DataLoader(
            _Pools(self._make),
            batch_size=None,
            sampler=cast("Sampler[int]", count(first)),
            num_workers=self._num_makers,
            collate_fn=_same,
            multiprocessing_context="fork",
        )
        for packed in made:
            yield [Batch(*map(torch.from_numpy, arrays)) for arrays in pickle.loads(packed)]  # noqa: S301 - our own


class _Pools(Dataset[bytes]):
    """Pools by index, packed, so that they cross to another process as one piece."""

    def __init__(self, make: Callable[[int], list[Batch]]) -> None:
        self._make = make

    def __getitem__(self, index: int) -> bytes:
        return pickle.dumps([batch.arrays() for batch in self._make(index)])


def _same(value: Any) -> Any:
    return value
