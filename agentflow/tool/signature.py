"""The signature and docstring of a function, read as the parameters of a tool.

    def f(city: str, days: int = 1)
    {"type": "object", "properties": {"city": ..., "days": ...}, "required": ["city"]}

Types become JSON Schema through pydantic; descriptions come from Google, NumPy or Sphinx docstrings.
A function that cannot be told to a model without guessing is refused here, before any model sees it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, NoReturn, NotRequired, Required, get_args, get_origin, get_type_hints

import docstring_parser
from pydantic import ConfigDict, Field, PydanticUserError, TypeAdapter, with_config
from pydantic.errors import PydanticInvalidForJsonSchema
from pydantic_core import PydanticSerializationError, to_jsonable_python
from typing_extensions import TypedDict

from agentflow.errors import ToolDefinitionError
from agentflow.tool.context import RunContext
from agentflow.tool.schema import plain_json_schema


@dataclass(frozen=True)
class Signature:
    """What a function takes from a model.

    Attributes:
        description: The docstring without its sections.
        schema: JSON Schema of the arguments, an object without additional properties.
        adapter: Checks and converts arguments; leaves out those that were not given.
        takes_context: Whether the first parameter is a `RunContext`.
    """

    description: str
    schema: dict[str, Any]
    adapter: TypeAdapter[dict[str, Any]]
    takes_context: bool


def read_signature(function: Callable[..., Any], *, name: str, skips_first: bool = False) -> Signature:
    """Read what `function` takes.

    Args:
        function: A function, a bound method or another callable.
        name: Name of the tool, for messages.
        skips_first: The first parameter is ``self`` and will be bound later.

    Raises:
        ToolDefinitionError: A parameter has no type, a type that JSON cannot say, or cannot be filled by name.
    """
    hints = _read_hints(function, name)
    parameters = list(inspect.signature(function).parameters.values())[1 if skips_first else 0 :]
    takes_context = bool(parameters) and _is_context(hints.get(parameters[0].name))
    parameters = parameters[1:] if takes_context else parameters
    for parameter in parameters:
        _check_parameter(parameter, hints, name)
    docs = docstring_parser.parse(inspect.getdoc(function) or "")
    adapter = _make_adapter(parameters, hints, name)
    schema = _make_schema(adapter, parameters, {p.arg_name: p.description or "" for p in docs.params}, name)
    return Signature((docs.description or "").strip(), schema, adapter, takes_context)


def _read_hints(function: Callable[..., Any], name: str) -> dict[str, Any]:
    target = getattr(function, "func", function)  # functools.partial
    if not inspect.isroutine(target):
        target = type(target).__call__
    try:
        return {key: _lift_description(hint) for key, hint in get_type_hints(target, include_extras=True).items()}
    except NameError as error:
        raise ToolDefinitionError(
            f"tool {name!r}: {error} while reading its annotations",
            hint="define the type at module level, or drop `from __future__ import annotations` in that module",
        ) from error


def _lift_description(hint: Any) -> Any:
    """Let ``Annotated[str, "Name of the city"]`` mean a description, as it does elsewhere."""
    if get_origin(hint) is not Annotated:
        return hint
    base, *metadata = get_args(hint)
    return Annotated[(base, *(Field(description=m) if isinstance(m, str) else m for m in metadata))]


def _is_context(hint: Any) -> bool:
    return hint is RunContext or get_origin(hint) is RunContext


def _check_parameter(parameter: inspect.Parameter, hints: Mapping[str, Any], name: str) -> None:
    def refuse(problem: str, hint: str) -> NoReturn:
        raise ToolDefinitionError(f"tool {name!r}: parameter {parameter.name!r} {problem}", hint=hint)

    if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
        stars = "*" if parameter.kind is parameter.VAR_POSITIONAL else "**"
        refuse(
            f"is {stars}{parameter.name}; a model fills arguments by name", "name every parameter; use a list or a dict"
        )
    if parameter.kind is parameter.POSITIONAL_ONLY:
        refuse("is positional-only; a model fills arguments by name", "remove the '/' from the signature")
    if parameter.name not in hints:
        refuse("has no type annotation", f"write {parameter.name}: str, or whatever it is")
    if _is_context(hints[parameter.name]):
        refuse("is a RunContext but not the first parameter", "move it to the front")


def _make_adapter(
    parameters: list[inspect.Parameter], hints: Mapping[str, Any], name: str
) -> TypeAdapter[dict[str, Any]]:
    members = {
        p.name: Required[hints[p.name]] if p.default is p.empty else NotRequired[hints[p.name]] for p in parameters
    }
    arguments: Any = with_config(ConfigDict(extra="forbid"))(TypedDict(f"{name}_arguments", members))  # type: ignore[operator] # the members are known at run time only
    try:
        return TypeAdapter(arguments)
    except (PydanticUserError, TypeError, RecursionError) as error:
        raise ToolDefinitionError(
            f"tool {name!r}: a parameter has a type that JSON cannot say: {str(error).splitlines()[0]}",
            hint="take plain values, dataclasses or pydantic models, and build other objects inside the tool",
        ) from error


def _make_schema(
    adapter: TypeAdapter[dict[str, Any]], parameters: list[inspect.Parameter], docs: Mapping[str, str], name: str
) -> dict[str, Any]:
    try:
        schema = plain_json_schema(adapter)
    except PydanticInvalidForJsonSchema as error:
        raise ToolDefinitionError(f"tool {name!r}: {error.message}", hint="take plain values instead") from error
    properties = schema.setdefault("properties", {})
    for parameter in parameters:
        if docs.get(parameter.name):
            properties[parameter.name].setdefault("description", docs[parameter.name].strip())
        if parameter.default is not parameter.empty:
            _set_default(properties[parameter.name], parameter.default)
    return schema


def _set_default(member: dict[str, Any], default: Any) -> None:
    """Tell the default where JSON can say it; otherwise the model only learns that the argument is optional."""
    try:
        member["default"] = to_jsonable_python(default)
    except PydanticSerializationError:
        return
