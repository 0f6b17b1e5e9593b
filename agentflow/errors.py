"""Every error that agentflow raises on purpose.

    AgentflowError
    ├── UsageError                  the caller's mistake: change the call
    │   ├── ConfigurationError        an option, or a combination of options
    │   ├── ModelNotFoundError        no such model, or its weights are not here
    │   ├── MissingDependencyError    an extra is not installed
    │   ├── ContextLengthError        the prompt is longer than the model reads
    │   ├── ToolDefinitionError       a function that cannot become a tool
    │   └── SchemaError               something is wrong with a JSON Schema
    │       ├── InvalidSchemaError      it is not a JSON Schema
    │       ├── UnsupportedSchemaError  a keyword that cannot be expressed (keyword, pointer)
    │       ├── UnsatisfiableSchemaError  no value is valid
    │       └── SchemaBudgetError       valid values exist, none fits the token budget
    ├── ModelOutputError            the model's bad output: another try may help
    │   ├── MalformedOutputError      text that is no call and no answer
    │   ├── OutputValidationError     an answer that fails its type or validator
    │   └── TruncatedOutputError      the budget ended before the answer
    ├── JournalError                the journal of a run cannot be written or read
    ├── LimitExceededError          a limit of a run was reached (turns, calls, tokens, cost, seconds)
    └── ExternalError               a failure outside
        ├── ToolExecutionError        a tool raised, hung or returned what cannot be sent
        ├── BackendError              a model server or device failed
        │   └── OverloadedError           too many requests wait for it already
        └── ToolDeniedError           a tool refused for safety (path, address, statement)

Catch `UsageError` around set-up code, `ModelOutputError` and `LimitExceededError` around a run.
Each class says whether trying again can help (`retryable`) and gives a `hint`.
"""

from __future__ import annotations

from typing import Any, ClassVar

from agentflow.types import Message, Usage


class AgentflowError(Exception):
    """Base of all errors of agentflow.

    Attributes:
        retryable: Whether the same call may succeed when made again.
        hint: One line that says what to do; shown below the message in tracebacks.
        messages: The conversation up to here if an agent's run failed; it can be passed on as history.
    """

    retryable: ClassVar[bool] = False
    hint: str = ""
    messages: tuple[Message, ...] = ()

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        """Make the error; `hint` overrides the one of the class."""
        super().__init__(message)
        if hint is not None:
            self.hint = hint
        if self.hint:
            self.add_note(f"hint: {self.hint}")

    @property
    def message(self) -> str:
        """The message without the hint."""
        return str(self.args[0])

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle an error as it is; the constructors of most classes want other arguments than the message."""
        return _restore, (type(self), self.args), vars(self)


def _restore(kind: type[AgentflowError], args: tuple[Any, ...]) -> AgentflowError:
    return kind.__new__(kind, *args)


class UsageError(AgentflowError):
    """The caller's mistake; the same call fails again."""


class ConfigurationError(UsageError):
    """An option has a wrong value, or two options do not go together."""


class ModelNotFoundError(UsageError):
    """No such model, or its weights are not on this machine."""


class MissingDependencyError(UsageError):
    """An optional dependency is not installed."""


class ContextLengthError(UsageError):
    """The prompt is longer than the model's context."""

    hint = "shorten the conversation, offer fewer tools, or compact the history"


class ToolDefinitionError(UsageError):
    """A function cannot be made into a tool."""


class SchemaError(UsageError):
    """Something is wrong with a JSON Schema.

    Attributes:
        pointer: JSON pointer of the place in the schema, ``""`` for its root.
    """

    def __init__(self, message: str, *, pointer: str = "", hint: str | None = None) -> None:
        """Make the error for the place `pointer`."""
        super().__init__(f"{message} (at {pointer or '/'!r})", hint=hint)
        self.pointer = pointer


class InvalidSchemaError(SchemaError):
    """The value is not a JSON Schema."""


class UnsupportedSchemaError(SchemaError):
    """The schema uses a keyword that cannot be expressed as an automaton.

    Attributes:
        keyword: The keyword.
    """

    hint = "remove the keyword; json_grammar(..., on_unsupported='check') leaves it to a check of your own"

    def __init__(self, keyword: str, *, pointer: str = "", reason: str = "", hint: str | None = None) -> None:
        """Make the error for `keyword` at `pointer`."""
        because = f": {reason}" if reason else ""
        super().__init__(f"schema keyword {keyword!r} is not supported here{because}", pointer=pointer, hint=hint)
        self.keyword = keyword


class UnsatisfiableSchemaError(SchemaError):
    """No value satisfies the schema."""


class SchemaBudgetError(SchemaError):
    """No valid value fits the token budget.

    Attributes:
        num_tokens_needed: Fewest tokens of a valid value, the end token included.
        num_tokens_given: The budget.
    """

    hint = "raise max_new_tokens"

    def __init__(self, *, num_tokens_needed: int, num_tokens_given: int) -> None:
        """Make the error for a budget of `num_tokens_given`."""
        super().__init__(
            f"the shortest valid output needs {num_tokens_needed} tokens, the budget is {num_tokens_given}"
        )
        self.num_tokens_needed = num_tokens_needed
        self.num_tokens_given = num_tokens_given


class ModelOutputError(AgentflowError):
    """The model's output cannot be used.

    Attributes:
        text: The output as text.
        usage: What writing it cost, if the backend knows.
    """

    retryable = True
    usage: Usage | None = None

    def __init__(self, message: str, *, text: str = "", hint: str | None = None) -> None:
        """Make the error; `text` is the output."""
        super().__init__(message, hint=hint)
        self.text = text


class MalformedOutputError(ModelOutputError):
    """The output is no well-formed call and no well-formed answer."""


class OutputValidationError(ModelOutputError):
    """The answer fails its type or an output validator."""


class TruncatedOutputError(ModelOutputError):
    """The token budget ended before the answer did."""

    hint = "raise max_new_tokens"


class LimitExceededError(AgentflowError):
    """A limit of a run was reached; the transcript up to here is kept on the error.

    Attributes:
        limit: Name of the limit.
    """

    hint = "raise the limit, or give the agent a smaller task"

    def __init__(self, message: str, *, limit: str, hint: str | None = None) -> None:
        """Make the error for the limit called `limit`."""
        super().__init__(message, hint=hint)
        self.limit = limit


class JournalError(AgentflowError):
    """The journal cannot be written or read; a run stops before it does anything that is not recorded."""

    hint = "free space or fix the file, then resume the run"


class ExternalError(AgentflowError):
    """A failure outside agentflow."""


class ToolExecutionError(ExternalError):
    """A tool raised, hung or returned what cannot be sent. The agent turns it into a result."""

    retryable = True


class BackendError(ExternalError):
    """A model server or a device failed."""

    retryable = True

    @classmethod
    def of(cls, error: Exception, *, what: str) -> AgentflowError:
        """Give an error of ours for whatever went wrong: one of ours stays, another becomes the cause of a new one.

        Args:
            error: What was raised.
            what: What failed.
        """
        if isinstance(error, AgentflowError):
            return error
        failure = cls(f"{what} failed: {type(error).__name__}: {error}")
        failure.__cause__ = error
        return failure


class OverloadedError(BackendError):
    """As many requests wait for the model as may; it did not take this one."""

    hint = "try again later, or raise max_waiting"


class ToolDeniedError(ExternalError):
    """A tool refused for safety: a path, an address, a statement."""
