"""Processes that compute the gradients of a step together.

A step is some batches. Each process has one thread and takes the next batch whenever it is free, so that a
core that others use for a while delays nobody, and no time is lost on sharing out single operations; on
two cores this trains faster than two threads. With fixed shares each takes the same batches however fast it
is, so that a run can be repeated bit for bit. Weights lie in shared memory; each helper hands over the
sum of its gradients. Helpers are forked, so whatever stops the trainer by its command line stops them too.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from agentflow.embedded.batches import Batch, BatchStream
from agentflow.embedded.objective import Losses

_LOOK_EVERY_S = 5.0


class Crew:
    """A trainer's process and its helpers.

    Args:
        parameters: What is trained; moved into shared memory if there are helpers.
        compute: Computes the losses of a batch, given the step and the batch's place in it.
        streams: Opens the stream of batches of each worker; the first is the trainer's own.
        num_parts: Batches of a step.
        has_fixed_shares: Whether each worker takes the same places of every step.
    """

    def __init__(
        self,
        parameters: Sequence[Tensor],
        compute: Callable[[int, int, Batch], Losses],
        streams: Sequence[Callable[[], BatchStream]],
        *,
        num_parts: int,
        has_fixed_shares: bool = False,
    ) -> None:
        self._parameters, self._compute, self._streams = list(parameters), compute, list(streams)
        self._num_parts, self._has_fixed_shares = num_parts, has_fixed_shares
        num_helpers = len(streams) - 1
        context = multiprocessing.get_context("fork")
        self._step, self._num_taken = context.Value("l", 0), context.Value("i", 0)
        self._is_over = context.Value("b", 0)
        self._starts = [context.Semaphore(0) for _ in range(num_helpers)]
        self._ends = [context.Semaphore(0) for _ in range(num_helpers)]
        num_weights = sum(parameter.numel() for parameter in self._parameters) if num_helpers else 0
        self._gradients = _shared(torch.zeros(num_helpers, num_weights))  # (helpers, weights)
        self._losses = _shared(torch.zeros(len(streams), num_parts, len(Losses._fields)))
        self._num_done = _shared(torch.zeros(len(streams), dtype=torch.long))
        self._positions = _shared(torch.zeros(len(streams), 2, dtype=torch.long))
        if num_helpers:
            for parameter in self._parameters:
                _shared(parameter.data)
        self._helpers = [
            context.Process(target=self._help, args=(worker,), daemon=True) for worker in range(1, num_helpers + 1)
        ]
        for helper in self._helpers:
            helper.start()
        self._stream = self._streams[0]()
        self._batches = iter(self._stream)

    def accumulate(self, step: int) -> Losses:
        """Leave the mean gradient of a step's batches in the parameters, and give the mean losses.

        Raises:
            RuntimeError: A helper ended.
        """
        self._step.value, self._num_taken.value = step, 0
        for start in self._starts:
            start.release()
        self._work(0, self._stream, self._batches)
        for worker, (end, helper) in enumerate(zip(self._ends, self._helpers, strict=True), 1):
            while not end.acquire(timeout=_LOOK_EVERY_S):
                if not helper.is_alive():
                    raise RuntimeError(f"helper {worker} of the training ended; its output says why")
        self._add_up()
        done = [self._losses[worker, : self._num_done[worker]] for worker in range(len(self._streams))]
        return Losses(*torch.cat(done).nanmean(0))

    def positions(self) -> list[tuple[int, int]]:
        """Give the place of each worker in its stream."""
        return [(int(pool), int(batch)) for pool, batch in self._positions]

    def close(self) -> None:
        """End the helpers and the streams."""
        self._is_over.value = 1
        for start in self._starts:
            start.release()
        for helper in self._helpers:
            helper.join()
        self._stream.close()

    def _add_up(self) -> None:
        """Add the helpers' gradients to the trainer's own, and divide by the number of batches."""
        parts = self._split(self._gradients) if self._helpers else [None] * len(self._parameters)
        for parameter, part in zip(self._parameters, parts, strict=True):
            if part is not None:
                total = part.sum(0).view_as(parameter)
                parameter.grad = total if parameter.grad is None else parameter.grad + total
            if parameter.grad is not None:
                parameter.grad /= self._num_parts

    def _split(self, flat: Tensor) -> tuple[Tensor, ...]:
        return torch.split(flat, [parameter.numel() for parameter in self._parameters], dim=1)

    def _work(self, worker: int, stream: BatchStream, batches: Iterator[Batch]) -> None:
        """Take batches until the step has all of its own; leave the sum of the gradients in the parameters."""
        for parameter in self._parameters:
            parameter.grad = None
        num_done = 0
        for part in self._places(worker):
            losses = self._compute(self._step.value, part, next(batches))
            losses.total.backward()  # type: ignore[no-untyped-call]
            self._losses[worker, num_done] = torch.stack([value.detach().float().cpu() for value in losses])
            num_done += 1
        self._num_done[worker] = num_done
        self._positions[worker] = torch.tensor(stream.position)

    def _places(self, worker: int) -> Iterator[int]:
        """Give the places in the step that a worker fills."""
        if self._has_fixed_shares:
            yield from range(worker, self._num_parts, len(self._streams))
            return
        while (place := self._take()) < self._num_parts:
            yield place

    def _take(self) -> int:
        with self._num_taken.get_lock():
            self._num_taken.value += 1
            return int(self._num_taken.value) - 1

    def _help(self, worker: int) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the trainer ends the helpers
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        torch.set_num_threads(1)
        torch.set_flush_denormal(True)
        parent = os.getppid()
        stream = self._streams[worker]()
        batches = iter(stream)
        while True:
            while not self._starts[worker - 1].acquire(timeout=_LOOK_EVERY_S):
                if os.getppid() != parent:  # the trainer was killed
                    os._exit(1)
            if self._is_over.value:
                os._exit(0)
            self._work(worker, stream, batches)
            for parameter, part in zip(self._parameters, self._split(self._gradients), strict=True):
                part[worker - 1] = 0 if parameter.grad is None else parameter.grad.flatten()
            self._ends[worker - 1].release()


def _shared(tensor: Tensor) -> Tensor:
    """Move a tensor into memory that forked processes share."""
    tensor.share_memory_()  # type: ignore[no-untyped-call]
    return tensor
