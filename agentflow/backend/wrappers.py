"""Backends around a backend: one that tries again, one that lets only so many requests in at once."""

from __future__ import annotations

import hashlib

import anyio

from agentflow.backend.base import Backend, DraftObserver
from agentflow.errors import BackendError, ConfigurationError
from agentflow.types import Generation, GenerationRequest


class RetryingBackend:
    """Asks again when the device or server failed, after a delay that doubles each time.

    Useful in front of remote models. Errors of the caller and of the model's output are passed on at once.
    """

    def __init__(
        self, backend: Backend, *, num_retries: int = 3, delay_s: float = 0.5, max_delay_s: float = 30.0
    ) -> None:
        """Wrap a backend.

        Args:
            backend: Who does the work.
            num_retries: Tries after the first.
            delay_s: Seconds before the second try; doubled for each further one, and spread by up to a half so
                that many runs that failed together do not come back together.
            max_delay_s: Longest delay.

        Raises:
            ConfigurationError: A number is negative.
        """
        if num_retries < 0 or delay_s < 0 or max_delay_s < 0:
            raise ConfigurationError(
                f"num_retries={num_retries!r}, delay_s={delay_s!r} and max_delay_s={max_delay_s!r} must not be negative"
            )
        self._backend = backend
        self._num_retries, self._delay_s, self._max_delay_s = num_retries, delay_s, max_delay_s
        self._num_requests = 0

    @property
    def name(self) -> str:
        """Name of the model."""
        return self._backend.name

    async def generate(self, request: GenerationRequest, *, on_draft: DraftObserver | None = None) -> Generation:
        """Write one turn, trying again after a `BackendError`; the last one is raised."""
        self._num_requests += 1
        spread = _spread(self._num_requests)
        for attempt in range(self._num_retries):
            try:
                return await self._backend.generate(request, on_draft=on_draft)
            except BackendError:
                await anyio.sleep(min(self._max_delay_s, self._delay_s * 2**attempt) * spread)
        return await self._backend.generate(request, on_draft=on_draft)

    async def aclose(self) -> None:
        """Close the wrapped backend."""
        await self._backend.aclose()


def _spread(number: int) -> float:
    """Derive a factor between 1 and 1.5 from a number, so that runs stay repeatable."""
    return 1.0 + hashlib.blake2b(str(number).encode(), digest_size=1).digest()[0] / 512


class GatedBackend:
    """Lets at most so many requests through at once; the others wait in the order in which they came.

    Each turn of a run is one request, so runs take turns: none can keep the others from the model.
    """

    def __init__(self, backend: Backend, *, max_requests: int) -> None:
        """Wrap a backend; use it in one event loop only.

        Raises:
            ConfigurationError: `max_requests` is below 1.
        """
        if max_requests < 1:
            raise ConfigurationError(f"max_requests must be at least 1, got {max_requests!r}")
        self._backend = backend
        self._slots = anyio.CapacityLimiter(max_requests)

    @property
    def name(self) -> str:
        """Name of the model."""
        return self._backend.name

    async def generate(self, request: GenerationRequest, *, on_draft: DraftObserver | None = None) -> Generation:
        """Wait for a slot and write one turn."""
        async with self._slots:
            return await self._backend.generate(request, on_draft=on_draft)

    async def aclose(self) -> None:
        """Close the wrapped backend."""
        await self._backend.aclose()
