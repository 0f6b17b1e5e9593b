"""One model in several processes: every core writes turns, and none waits for another's interpreter lock.

    turns of 16 agents -> router -> replica 0: the whole model, on a core
                                    replica 1: the whole model, on another

At a few million parameters much of a turn is Python, and threads of one process take turns at it. Processes do not.
Each has an engine of its own with its own queue, its own kept prefixes and its own compiled schemas, so memory is that
of one times their number; a single agent is no faster. This is what servers call data parallelism, on the cores of one
machine.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import fields, replace
from threading import Lock
from typing import Any

import anyio
import anyio.to_thread

from agentflow.backend.base import Backend, DraftObserver
from agentflow.backend.replica import Replica
from agentflow.backend.routing import Router
from agentflow.errors import BackendError, ConfigurationError
from agentflow.types import Generation, GenerationRequest

_MAX_LEAD = 2
_GRACE_S = 5.0


class ReplicatedBackend:
    """Backends of one kind in processes of their own, as one `Backend`.

    A turn goes to the replica that wrote the conversation's last one, unless another one has much less to do, else to
    the idlest. The turn itself is the same wherever it is written. When a process dies, the turns that it had in hand
    fail with `BackendError`, and the next turn for it starts a new one.
    """

    def __init__(self, make: Callable[[], Backend], *, num_replicas: int, num_threads: int = 1) -> None:
        """Start the processes and wait until all have made their backend.

        Args:
            make: Makes a backend, over there; a function of a module, or a `functools.partial` of one.
            num_replicas: Processes.
            num_threads: Threads of torch in each of them.

        Raises:
            ConfigurationError: There would be no replica.
            AgentflowError: What `make` raised, or that a process ended.
        """
        if num_replicas < 1:
            raise ConfigurationError(f"num_replicas must be at least 1, got {num_replicas}")
        self._make, self._num_threads = make, num_threads
        self._router = Router(num_replicas, max_lead=_MAX_LEAD)
        self._is_closed = False
        self._lock = Lock()
        self._replicas: list[Replica] = []
        try:
            for index in range(num_replicas):  # all load at once
                self._replicas.append(self._start(index))
            names = [replica.wait_ready() for replica in self._replicas]
        except BaseException:
            self.close()
            raise
        self._name = names[0]

    @property
    def name(self) -> str:
        """Name of the model."""
        return self._name

    @property
    def num_replicas(self) -> int:
        """Number of processes."""
        return len(self._replicas)

    def statistics(self) -> Any:
        """What the engines have done so far, added up; of processes that died, nothing.

        Raises:
            BackendError: No replica is running, or one does not answer.
        """
        parts = [replica.statistics() for replica in self._replicas if replica.is_running]
        if not parts:
            raise BackendError(f"no replica of {self.name} is running", hint="load the model again")
        return None if parts[0] is None else _add_up(parts)

    async def generate(self, request: GenerationRequest, *, on_draft: DraftObserver | None = None) -> Generation:
        """Write one turn; see `agentflow.backend.base.Backend`. `on_draft` is called in the event loop."""
        started_s = time.perf_counter()
        index = self._router.choose(request.messages)
        try:
            with anyio.move_on_after(None if request.timeout_s is None else request.timeout_s + _GRACE_S):
                replica = self._replicas[index]
                if not replica.is_running:
                    replica = await anyio.to_thread.run_sync(self._start_again, index)
                generation = await replica.generate(request, on_draft=on_draft)
                usage = replace(generation.usage, model_time_s=time.perf_counter() - started_s)
                return replace(generation, usage=usage)
            raise BackendError(f"{self.name} wrote no turn within {request.timeout_s} s", hint="raise timeout_s")
        finally:
            self._router.release(index)

    async def aclose(self) -> None:
        """End the processes; open requests fail with `BackendError`. Closing twice is harmless."""
        await anyio.to_thread.run_sync(self.close)

    def close(self) -> None:
        """Do what `aclose` does, from outside an event loop."""
        with self._lock:
            self._is_closed = True
        for replica in self._replicas:
            replica.end()
        for replica in self._replicas:
            replica.close()

    def _start(self, index: int) -> Replica:
        return Replica(self._make, title=f"replica {index}", num_threads=self._num_threads)

    def _start_again(self, index: int) -> Replica:
        """Replace a process that has ended."""
        with self._lock:
            if self._is_closed:
                raise BackendError("the model is closed", hint="load it again")
            if not self._replicas[index].is_running:
                self._replicas[index] = self._start(index)
            replica = self._replicas[index]
        replica.wait_ready()
        return replica


def _add_up(parts: list[Any]) -> Any:
    first = parts[0]
    return type(first)(**{f.name: sum(getattr(part, f.name) for part in parts) for f in fields(first)})
