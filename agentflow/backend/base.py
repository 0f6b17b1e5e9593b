"""The border between the loop and whatever writes a turn.

A backend is given a conversation, tools and schemas, and gives back one turn. It knows nothing of
agents, of running tools or of other turns. Token ids, automata and devices stay behind this border.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeAlias, runtime_checkable

from agentflow.errors import AgentflowError
from agentflow.types import Draft, Generation, GenerationRequest

DraftObserver: TypeAlias = Callable[[Draft], None]
"""Called with the canvas after every denoising step; must return quickly and never raise."""

TurnListener: TypeAlias = Callable[[Generation | AgentflowError], None]
"""Called once with the turn, or why there is none, from any thread."""


@runtime_checkable
class Backend(Protocol):
    """What can write a turn. Many turns may be asked for at once; a backend batches or queues them."""

    @property
    def name(self) -> str:
        """Name of the model, for messages, spans and reports."""
        ...

    async def generate(self, request: GenerationRequest, *, on_draft: DraftObserver | None = None) -> Generation:
        """Write one turn.

        With ``settings.is_constrained`` the turn is valid: every call fits the schema of its tool and
        the final answer fits `request.output_schema`. Cancelling the awaiting task drops the request.

        Args:
            request: What to write.
            on_draft: Told about every draft; backends without drafts never call it.

        Returns:
            The turn, why it ended and what it cost.

        Raises:
            SchemaError: A schema cannot be compiled, or cannot fit the token budget; raised before the first step.
            ContextLengthError: The prompt and the budget exceed the context.
            ModelOutputError: Only without the constraint: the output is no turn.
            BackendError: The device or server failed.
        """
        ...

    async def aclose(self) -> None:
        """Release the device, threads and connections. Closing twice is harmless."""
        ...


@runtime_checkable
class CallingBackend(Backend, Protocol):
    """A backend that can also call back, for those who have no event loop or no time for one."""

    def begin(self, request: GenerationRequest, on_done: TurnListener) -> Callable[[], None] | None:
        """Begin a turn in the calling thread and return at once.

        Args:
            request: What to write.
            on_done: Told the outcome.

        Returns:
            What drops the turn, after which `on_done` is not called any more; ``None`` if the turn was not begun, since
            it may take long to prepare or has a time limit: then use `generate`.

        Raises:
            AgentflowError: What `generate` would raise before the first step.
        """
        ...
