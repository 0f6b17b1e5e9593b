"""How far a run may go."""

from __future__ import annotations

from dataclasses import dataclass, fields

from agentflow.errors import ConfigurationError


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Bounds of one run; ``None`` sets no bound. Reaching one raises `LimitExceededError` with the transcript.

    Attributes:
        max_turns: Turns that the model may write.
        max_calls: Tool calls that may run.
        max_tokens: Output tokens, checked after each turn.
        timeout_s: Seconds from the start to the output.
        max_repeats: Turns in a row with the same calls and the same results; then the run is going nowhere.
            Polling a state that does not change needs a higher bound, or a tool that waits.
    """

    max_turns: int | None = 50
    max_calls: int | None = 200
    max_tokens: int | None = None
    timeout_s: float | None = None
    max_repeats: int | None = 3

    def __post_init__(self) -> None:
        """Check the bounds.

        Raises:
            ConfigurationError: A bound is not above 0, or `max_repeats` is 1, which no run could pass.
        """
        for field in fields(self):
            value = getattr(self, field.name)
            if value is not None and not value > 0:
                raise ConfigurationError(f"{field.name} must be above 0, got {value!r}", hint="pass None for no limit")
        if self.max_repeats == 1:
            raise ConfigurationError("max_repeats must be at least 2, got 1: every call is made a first time")
