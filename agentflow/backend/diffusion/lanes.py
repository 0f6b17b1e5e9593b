"""Lanes: the requests of one pass on several cores, each lane with a share of them in a thread of its own.

At a few million parameters an operation takes some hundred microseconds, too short for OpenMP to share it out well.
So the requests of a pass are shared out instead, once: each lane takes its own through all layers with one thread of
torch, which releases the interpreter's lock inside its operations. Lanes meet only when the pass is over.

A pass that is too small to share runs on one thread, too: two of OpenMP's made single turns at best 1.2 times as fast,
and less than half as fast where something else wants the cores, because they wait for each other awake. Only a long
prompt that is read alone gets all threads of torch. All this is for small networks on the CPU; a large one keeps
torch's threads busy with every operation.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager, nullcontext
from typing import TypeVar

import torch

Result = TypeVar("Result")

MAX_WEIGHTS = 1 << 25
"""Weights of a network, above which its operations are long enough to be shared out one by one."""

_MIN_TOKENS = 64
"""Tokens of a pass per lane at least; fewer do not repay that every operation is started once more."""

_MANY_TOKENS = 256
"""Tokens of one request that are worth all threads of torch: 512 took 0.6 of the time of one thread on two."""


class Lanes:
    """Threads that work side by side on the parts of a pass; the caller's own is one of them.

    There are as many as torch has threads for the caller, so ``OMP_NUM_THREADS=1`` means one.
    """

    def __init__(self) -> None:
        self._pool: ThreadPoolExecutor | None = None

    def share_out(self, sizes: Sequence[int]) -> list[list[int]]:
        """Divide requests among lanes so that the largest share is small; gives the requests of each lane, by index.

        Args:
            sizes: Tokens of each request.
        """
        num_lanes = min(torch.get_num_threads(), len(sizes), sum(sizes) // _MIN_TOKENS)
        if num_lanes <= 1:
            return [list(range(len(sizes)))]
        shares: list[list[int]] = [[] for _ in range(num_lanes)]
        loads = [(0, lane) for lane in range(num_lanes)]
        for index in sorted(range(len(sizes)), key=lambda i: -sizes[i]):  # the largest first, each to the idlest lane
            load, lane = heapq.heappop(loads)
            shares[lane].append(index)
            heapq.heappush(loads, (load + sizes[index], lane))
        return [sorted(share) for share in shares]

    def run(self, parts: Sequence[Callable[[], Result]], *, num_tokens: int) -> list[Result]:
        """Do all parts at once and give their results in order; when this returns or raises, all are over.

        Args:
            parts: One per lane, as `share_out` has divided the work.
            num_tokens: Tokens of all parts; many in a single one keep all threads of torch.

        Raises:
            Exception: What the first part that failed has raised.
        """
        if len(parts) == 1:
            with nullcontext() if num_tokens >= _MANY_TOKENS else one_thread():
                return [parts[0]()]
        if self._pool is None:
            self._pool = ThreadPoolExecutor(torch.get_num_threads(), "agentflow-lane", initializer=_begin_lane)
        others = [self._pool.submit(part) for part in parts[1:]]
        try:
            with one_thread():
                first = parts[0]()
        finally:
            wait(others)
        return [first, *(future.result() for future in others)]


def _begin_lane() -> None:
    torch.get_num_threads()  # a new thread takes over the number of all others when it is first asked, so ask first
    torch.set_num_threads(1)


@contextmanager
def one_thread() -> Iterator[None]:
    """Run torch's operations on the calling thread alone in the block; afterwards it has its threads back."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(num_threads)
