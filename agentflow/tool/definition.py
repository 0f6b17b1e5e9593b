"""`Tool`: a function, what a model is told of it, and how it may be run."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, overload

from pydantic import ValidationError
from typing_extensions import ParamSpec

from agentflow.errors import ToolDefinitionError, ToolExecutionError
from agentflow.tool.schema import describe_problems
from agentflow.tool.signature import Signature, read_signature
from agentflow.types import JsonValue, ToolSpec

P = ParamSpec("P")
R = TypeVar("R")

DEFAULT_TIMEOUT_S = 60.0
"""Seconds that a tool may take unless it says otherwise."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.\-]{0,63}")


@dataclass(frozen=True, eq=False, kw_only=True)
class Tool(Generic[P, R]):
    """A function that a model may call. Made by `tool`; still callable as the function it was.

    Attributes:
        function: The function; sync, async, or a generator that yields `Progress`.
        name: What the model calls it.
        description: What the model is told.
        signature: Its parameters as the model sees them.
        timeout_s: Seconds that one try may take; ``None`` sets no limit.
        retries: Tries after the first when it fails; only for idempotent tools.
        max_concurrency: Most calls of it at once in one event loop.
        is_idempotent: Whether running a call twice does the same as running it once.
        requires_approval: Whether somebody must approve each call before it runs.
        is_destructive: Whether it destroys or sends something that cannot be taken back; needs approval too.
        is_method: Whether its first parameter is a ``self`` that is not bound yet.
    """

    function: Callable[P, R]
    name: str
    description: str
    signature: Signature = dataclasses.field(repr=False)
    timeout_s: float | None = DEFAULT_TIMEOUT_S
    retries: int = 0
    max_concurrency: int | None = None
    is_idempotent: bool = False
    requires_approval: bool = False
    is_destructive: bool = False
    is_method: bool = False

    def __post_init__(self) -> None:
        """Check the options.

        Raises:
            ToolDefinitionError: An option has a wrong value, or two do not go together.
        """
        if not _NAME.fullmatch(self.name):
            self._refuse("its name is not usable", "use up to 64 letters, digits, '_', '-' and '.', not a digit first")
        if self.timeout_s is not None and not self.timeout_s > 0:
            self._refuse(f"timeout_s must be above 0, got {self.timeout_s!r}", "pass timeout_s=None for no limit")
        if self.max_concurrency is not None and self.max_concurrency < 1:
            self._refuse(f"max_concurrency must be at least 1, got {self.max_concurrency!r}", "pass None for no limit")
        if self.retries < 0:
            self._refuse(f"retries must be at least 0, got {self.retries!r}", "pass retries=0 for one try")
        if self.retries and not self.is_idempotent:
            self._refuse(
                f"retries={self.retries} needs is_idempotent=True, because a failed try may have done its work",
                "pass is_idempotent=True if running it twice does no harm",
            )

    def _refuse(self, problem: str, cure: str) -> None:
        raise ToolDefinitionError(f"tool {self.name!r}: {problem}", hint=cure)

    @property
    def spec(self) -> ToolSpec:
        """What a model is told."""
        return ToolSpec(self.name, self.description, self.signature.schema)

    @property
    def needs_approval(self) -> bool:
        """Whether a call may only run after somebody approved it."""
        return self.requires_approval or self.is_destructive

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function as if it were no tool."""
        return self.function(*args, **kwargs)

    def __get__(self, instance: object, owner: type | None = None) -> Tool[..., R]:
        """Bind a tool that was defined in a class body to its instance."""
        if instance is None or not self.is_method:
            return self
        bound: Callable[..., R] = self.function.__get__(instance, owner)
        return Tool(**{**self._fields(), "function": bound, "is_method": False})

    def with_options(self, **changes: Any) -> Tool[P, R]:
        """Copy the tool with other options, for example ``with_options(requires_approval=True)``.

        Raises:
            ToolDefinitionError: No such option, or a wrong value.
        """
        allowed = set(self._fields()) - {"function", "signature", "is_method"}
        if unknown := sorted(set(changes) - allowed):
            self._refuse(f"unknown options {unknown}", f"options are {sorted(allowed)}")
        return Tool(**{**self._fields(), **changes})

    def _fields(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    def validate_arguments(self, arguments: Mapping[str, JsonValue]) -> dict[str, Any]:
        """Check a model's arguments and convert them to the types of the function.

        Returns:
            Arguments by name; those that were not given are left to the function's defaults.

        Raises:
            ToolExecutionError: Something is wrong; the message tells the model what, argument by argument.
        """
        try:
            return self.signature.adapter.validate_python(dict(arguments))
        except ValidationError as error:
            problems = describe_problems(error, root="arguments")
            raise ToolExecutionError(
                f"{self.name} was called with wrong arguments: {problems}. Correct the arguments and call it again."
            ) from error
        except RecursionError as error:
            raise ToolExecutionError(f"{self.name} was called with arguments that nest too deep.") from error


@overload
def tool(function: Callable[P, R], /) -> Tool[P, R]: ...
@overload
def tool(
    function: None = None,
    /,
    *,
    name: str | None = None,
    description: str | None = None,
    timeout_s: float | None = DEFAULT_TIMEOUT_S,
    retries: int = 0,
    max_concurrency: int | None = None,
    is_idempotent: bool = False,
    requires_approval: bool = False,
    is_destructive: bool = False,
) -> Callable[[Callable[P, R]], Tool[P, R]]: ...
def tool(function: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """Make a function a tool: ``@tool``, ``@tool(timeout_s=5)`` or ``tool(function)``.

    Every parameter needs a type annotation; the docstring (Google, NumPy or Sphinx) describes the tool and
    its parameters. A first parameter of type `RunContext` receives the run's context and is not shown to the model.

    Args:
        function: The function, when used without parentheses.
        **options: See the attributes of `Tool`; `name` and `description` default to the function's own.

    Raises:
        ToolDefinitionError: The function cannot be told to a model; the message says why and what to change.
    """
    if function is None:
        return lambda wrapped: _make_tool(wrapped, **options)
    return _make_tool(function, **options)


def _make_tool(
    function: Callable[..., Any], *, name: str | None = None, description: str | None = None, **options: Any
) -> Tool[..., Any]:
    if isinstance(function, Tool):
        changes = {"name": name, "description": description}
        return function.with_options(**options, **{key: value for key, value in changes.items() if value is not None})
    if isinstance(function, staticmethod):
        function = function.__func__
    if not callable(function) or inspect.isclass(function):
        raise ToolDefinitionError(
            f"{function!r} is not a function", hint="pass a function, a method or a callable object"
        )
    target = getattr(function, "func", function)
    name = name or str(getattr(target, "__name__", type(target).__name__))
    is_method = _is_unbound_method(function)
    signature = read_signature(function, name=name, skips_first=is_method)
    text = signature.description if description is None else description
    return Tool(function=function, name=name, description=text, signature=signature, is_method=is_method, **options)


def _is_unbound_method(function: Callable[..., Any]) -> bool:
    """Whether `function` is written in a class body and waits for its ``self``."""
    if not inspect.isfunction(function):
        return False
    *_, scope, _name = ("", *function.__qualname__.split("."))
    return scope not in ("", "<locals>") and next(iter(inspect.signature(function).parameters), "") == "self"
