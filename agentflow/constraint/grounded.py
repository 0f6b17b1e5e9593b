"""`Grounded[str]`: a value that must be copied from the conversation, as a Python type and as a schema keyword.

    class Booking(BaseModel):
        city: Grounded[str]                                       # whole words of any message
        code: Annotated[str, Span(sources=("tool",), fallback="none", max_length=12)]

pydantic writes the annotation into the JSON Schema as ``x-grounded``, and the grammar reads it there; in a schema
written by hand it stands as ``true`` or as an object of the options of `Span`. Checking a value later is not its
business: a span is a string like any other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Annotated, Any, Literal, TypeAlias, TypeVar

from agentflow.errors import ConfigurationError, InvalidSchemaError

KEYWORD = "x-grounded"
Source: TypeAlias = Literal["system", "user", "assistant", "tool"]
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Span:
    """How a value is copied from the conversation. Used in ``Annotated[str, Span(...)]``.

    Attributes:
        words: ``"whole"``: a span begins and ends at the border of a word; ``"any"``: anywhere.
        min_length: Fewest characters.
        max_length: Most characters, or ``None``.
        case: ``"same"`` as in the text, or the span in ``"lower"`` or ``"upper"`` case.
        sources: Whose messages may be copied; empty: everyone's. Results of tools count as ``"tool"``.
        fallback: What happens where the texts hold no such span: ``"free"``: any text that the schema allows;
            ``"none"``: there is no value, so an optional field stays away and a tool that needs it is not called.
    """

    words: Literal["whole", "any"] = "whole"
    min_length: int = 1
    max_length: int | None = None
    case: Literal["same", "lower", "upper"] = "same"
    sources: tuple[Source, ...] = ()
    fallback: Literal["free", "none"] = "free"

    def __post_init__(self) -> None:
        """Check the options.

        Raises:
            ConfigurationError: An option has no such value; the message names it.
        """
        object.__setattr__(self, "sources", tuple(self.sources))
        choices = {"words": ("whole", "any"), "case": ("same", "lower", "upper"), "fallback": ("free", "none")}
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise ConfigurationError(f"{name} must be one of {allowed}, got {getattr(self, name)!r}")
        if unknown := sorted(set(self.sources) - {"system", "user", "assistant", "tool"}):
            raise ConfigurationError(f"sources are of system, user, assistant and tool, got {unknown}")
        if self.min_length < 0 or (self.max_length is not None and self.max_length < max(1, self.min_length)):
            raise ConfigurationError(f"no length is between {self.min_length} and {self.max_length}")

    @property
    def is_bounded(self) -> bool:
        """Whether the length is bounded."""
        return self.min_length > 1 or self.max_length is not None

    def __get_pydantic_json_schema__(self, core_schema: Any, handler: Any) -> dict[str, Any]:
        """Write the options into the JSON Schema of the field."""
        schema: dict[str, Any] = {**handler(core_schema)}
        given = {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) != f.default}
        schema[KEYWORD] = {name: list(v) if isinstance(v, tuple) else v for name, v in given.items()} or True
        return schema


Grounded: TypeAlias = Annotated[T, Span()]
"""A value that is copied from the conversation: ``Grounded[str]``, or ``Annotated[str, Span(...)]`` with options."""


def read_span(value: Any, *, pointer: str = "") -> Span | None:
    """Read the keyword ``x-grounded``; ``None``: the schema opts out.

    Raises:
        InvalidSchemaError: It is neither a boolean nor an object of options.
    """
    if isinstance(value, bool):
        return Span() if value else None
    known = {f.name for f in fields(Span)}
    if not isinstance(value, Mapping) or not known.issuperset(value):
        wanted = "true, false or an object of " + ", ".join(sorted(known))
        raise InvalidSchemaError(f"{KEYWORD} must be {wanted}, got {value!r}", pointer=pointer)
    try:
        return Span(**value)
    except (ConfigurationError, TypeError) as error:
        raise InvalidSchemaError(f"{KEYWORD}: {error}", pointer=pointer) from error


def needs_span(schema: Any) -> bool:
    """Say whether a schema has a grounded value anywhere that there is none of where the texts hold no span."""
    return _declares(schema, lambda own: isinstance(own, Mapping) and own.get("fallback") == "none")


def mentions_span(schema: Any) -> bool:
    """Say whether a schema asks for a grounded value anywhere."""
    return _declares(schema, lambda own: own is not False)


def _declares(schema: Any, is_meant: Callable[[Any], bool]) -> bool:
    """Say whether the keyword stands anywhere with a value that is meant; where it is left out, it is ``False``."""
    if isinstance(schema, Mapping):
        return is_meant(schema.get(KEYWORD, False)) or any(_declares(value, is_meant) for value in schema.values())
    return isinstance(schema, list | tuple) and any(_declares(value, is_meant) for value in schema)
