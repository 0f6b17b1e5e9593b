"""What backends of this folder share: one request at a time, in a thread, over a loaded checkpoint."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod

import anyio.to_thread

from agentflow.backend.base import DraftObserver
from agentflow.backend.codec import TurnCodec
from agentflow.backend.diffusion.loader import Checkpoint
from agentflow.types import Generation, GenerationRequest


class OneAtATimeBackend(ABC):
    """A backend that writes turns one after the other."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._checkpoint = checkpoint
        self._codec = TurnCodec.of(checkpoint)
        self._turns = threading.Lock()

    @property
    def name(self) -> str:
        """What the checkpoint was asked for as."""
        return self._checkpoint.name

    async def generate(self, request: GenerationRequest, *, on_draft: DraftObserver | None = None) -> Generation:
        """Write one turn."""
        del on_draft
        return await anyio.to_thread.run_sync(self._generate, request)

    async def aclose(self) -> None:  # noqa: B027 - there is nothing to end
        """Do nothing."""

    @abstractmethod
    def _generate(self, request: GenerationRequest) -> Generation:
        """Write one turn, under the lock `_turns`."""
