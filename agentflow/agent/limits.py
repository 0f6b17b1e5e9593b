"""How far a run may go, and what it costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

from agentflow.errors import ConfigurationError, LimitExceededError
from agentflow.types import ToolCall, Usage

_TOKENS_PER_PRICE = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Prices:
    """What a model costs, in a currency of the caller's, per million tokens.

    Attributes:
        input: Of prompt tokens.
        output: Of output tokens.
        cached_input: Of prompt tokens whose encoding was reused; as `input` if not given.
        request: Of one model call, whatever its length (not per million).
    """

    input: float
    output: float
    cached_input: float | None = None
    request: float = 0.0

    def __post_init__(self) -> None:
        """Check the prices.

        Raises:
            ConfigurationError: One is negative.
        """
        for field in fields(self):
            value = getattr(self, field.name)
            if value is not None and not value >= 0:
                raise ConfigurationError(f"the price {field.name}={value!r} must not be negative")

    def cost(self, usage: Usage) -> float:
        """Say what `usage` costs at these prices."""
        cached_input = self.input if self.cached_input is None else self.cached_input
        num_fresh = usage.input_tokens - usage.cached_input_tokens
        tokens = num_fresh * self.input + usage.cached_input_tokens * cached_input + usage.output_tokens * self.output
        return tokens / _TOKENS_PER_PRICE + usage.requests * self.request


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Bounds of one run; ``None`` sets no bound. Reaching one raises `LimitExceededError` with the transcript.

    Attributes:
        max_turns: Turns that the model may write.
        max_calls: Tool calls that may run.
        max_tokens: Output tokens, checked before each turn.
        max_cost: Cost in the currency of the agent's prices, nested runs included, checked before each turn.
        timeout_s: Seconds from the start to the output.
        max_repeats: Turns in a row with the same calls and the same results; then the run is going nowhere.
            Polling a state that does not change needs a higher bound, or a tool that waits.
    """

    max_turns: int | None = 50
    max_calls: int | None = 200
    max_tokens: int | None = None
    max_cost: float | None = None
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

    def check_turn(self, *, num_turns: int, usage: Usage) -> None:
        """Check before the model is asked for a turn.

        Args:
            num_turns: Turns so far.
            usage: What the run has cost so far.

        Raises:
            LimitExceededError: The run may write no further turn.
        """
        if self.max_turns is not None and num_turns >= self.max_turns:
            raise LimitExceededError(f"no output after max_turns={self.max_turns} turns", limit="max_turns")
        if self.max_tokens is not None and usage.output_tokens >= self.max_tokens:
            raise LimitExceededError(
                f"no output after {usage.output_tokens} output tokens; max_tokens={self.max_tokens}",
                limit="max_tokens",
            )
        if self.max_cost is not None and usage.cost >= self.max_cost:
            raise LimitExceededError(f"no output for {usage.cost:.6g}; max_cost={self.max_cost:.6g}", limit="max_cost")

    def check_calls(self, num_calls: int, *, usage: Usage) -> None:
        """Check before `num_calls` calls run.

        Raises:
            LimitExceededError: They are too many.
        """
        if self.max_calls is not None and usage.tool_calls + num_calls > self.max_calls:
            raise LimitExceededError(
                f"the model asked for {num_calls} more calls after {usage.tool_calls}; max_calls={self.max_calls}",
                limit="max_calls",
            )

    def check_repeats(self, calls: Sequence[ToolCall], *, num_repeats: int) -> None:
        """Check after `calls` were made for the `num_repeats`-th time in a row, with the same results.

        Raises:
            LimitExceededError: They were repeated too often.
        """
        if self.max_repeats is not None and num_repeats >= self.max_repeats:
            shown = ", ".join(f"{call.name}({dict(call.arguments)})" for call in calls)
            raise LimitExceededError(
                f"the model made the same calls with the same results {self.max_repeats} turns in a row: "
                f"{shown}; max_repeats={self.max_repeats}",
                limit="max_repeats",
                hint="say in the instructions when to stop, or raise max_repeats",
            )


def check_prices(limits: Limits, prices: Prices | None) -> None:
    """Refuse a bound of the cost where nothing has a price: it would never be reached.

    Raises:
        ConfigurationError: `limits` bound the cost and there are no prices.
    """
    if limits.max_cost is not None and prices is None:
        raise ConfigurationError(
            f"max_cost={limits.max_cost!r} needs prices", hint="pass prices=Prices(input=..., output=...) to the agent"
        )
