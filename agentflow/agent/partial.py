"""Answers that are not finished, as values of the output type.

    class Report(BaseModel): city: str; celsius: float

    {"city": "Os"}      ->  Report(city='Os', celsius=None)

Whatever stands in such a value is valid for its field; what is missing, or not valid yet, is `None` in models and
dataclasses and left out of dictionaries and lists. Types of the caller's stay: a partial `Report` is a `Report`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import cache, lru_cache
from types import NoneType, UnionType
from typing import Annotated, Any, Final, NotRequired, Union, get_args, get_origin, get_type_hints

from pydantic import AfterValidator, BaseModel, TypeAdapter, ValidationError, create_model
from pydantic.fields import FieldInfo
from typing_extensions import TypedDict, is_typeddict

from agentflow.agent.draft_json import DraftReader, find_places
from agentflow.errors import OutputValidationError
from agentflow.output import OutputType
from agentflow.types import Draft, JsonSchema, JsonValue

NOTHING: Final = object()
"""There is nothing to show yet, or nothing new."""

_EMPTY: Final[tuple[Any, ...]] = (None, {}, [], "")

_MAX_REPAIRS: Final = 16
"""Most members that are left out of one partial value because they are not valid yet."""

_BOUNDS: Final = frozenset({"required", "minItems", "minLength", "minProperties", "minContains", "contains", "pattern"})
"""Keywords that an unfinished value may break."""


class PartialOutput:
    """Makes partial outputs of the drafts of one turn."""

    def __init__(self, output_type: OutputType[Any]) -> None:
        """Make it for one turn of a run whose output is of `output_type`, which is not text."""
        assert output_type.schema is not None  # noqa: S101 # text has no parts
        self._reader = DraftReader(find_places(output_type.schema))
        self._output_type = output_type
        self._validate = _make_validator(output_type)
        self._last_value: JsonValue = None

    def read(self, draft: Draft) -> Any:
        """Get the output as far as the draft shows it, or `NOTHING` if it shows no more than the draft before."""
        value = self._reader.read(draft)
        if value in _EMPTY or value == self._last_value:
            return NOTHING
        self._last_value = value
        try:
            return self._output_type.validate(value)
        except OutputValidationError:  # something is missing
            return self._validate(value)


def _make_validator(output_type: OutputType[Any]) -> Any:
    source = output_type.source
    if isinstance(source, Mapping):
        return _SchemaValidator(source).validate
    return _TypeValidator(source).validate


class _SchemaValidator:
    """Partial values of a JSON Schema: plain JSON that breaks no rule but those that ask for more."""

    def __init__(self, schema: JsonSchema) -> None:
        from jsonschema.validators import validator_for

        lenient = _without_bounds(schema)
        self._validator = validator_for(lenient)(lenient)

    def validate(self, value: JsonValue) -> Any:
        for _ in range(_MAX_REPAIRS):
            error = next(iter(self._validator.iter_errors(value)), None)
            if error is None:
                return value
            if not error.absolute_path:
                return NOTHING
            value = _leave_out(value, tuple(error.absolute_path))
        return NOTHING


def _without_bounds(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_without_bounds(item) for item in schema]
    if not isinstance(schema, Mapping):
        return schema
    kept = {key: value for key, value in schema.items() if key not in _BOUNDS}
    return {
        key: {name: _without_bounds(member) for name, member in value.items()}
        if key in ("properties", "$defs")
        else value
        if key in ("const", "enum", "default", "examples")
        else _without_bounds(value)
        for key, value in kept.items()
    }


class _TypeValidator:
    """Partial values of a Python type."""

    def __init__(self, source: Any) -> None:
        self._adapter = _adapter_of(source)

    def validate(self, value: JsonValue) -> Any:
        for _ in range(_MAX_REPAIRS):
            try:
                return self._adapter.validate_python(value)
            except ValidationError as error:
                place = _find_place(value, error.errors(include_url=False, include_input=False)[0]["loc"])
                if not place:
                    return NOTHING
                value = _leave_out(value, place)
            except (AttributeError, TypeError):  # a validator of the caller's met a member that is not there yet
                return NOTHING
        return NOTHING


@lru_cache(maxsize=256)
def _adapter_of(source: Any) -> TypeAdapter[Any]:
    return TypeAdapter(make_lenient(source))


def _find_place(value: Any, location: tuple[int | str, ...]) -> tuple[int | str, ...]:
    """Follow pydantic's location as far as the value goes; it names members of unions, too, which are skipped."""
    place: list[int | str] = []
    for part in location:
        is_there = part in value if isinstance(value, dict) else isinstance(value, list) and part in range(len(value))
        if is_there:
            place.append(part)
            value = value[part]
    return tuple(place)


def _leave_out(value: Any, place: tuple[int | str, ...]) -> Any:
    """Copy `value` without what stands at `place`; of a list, what follows goes too."""
    first, rest = place[0], place[1:]
    if isinstance(value, list):
        number = int(first)
        return [*value[:number], _leave_out(value[number], rest), *value[number + 1 :]] if rest else value[:number]
    if rest:
        return {**value, first: _leave_out(value[first], rest)}
    return {name: member for name, member in value.items() if name != first}


def make_lenient(source: Any) -> Any:
    """Make the type of the partial values of `source`: nothing is required, everywhere inside."""
    if isinstance(source, type) and issubclass(source, BaseModel):
        return _lenient_model(source)
    if isinstance(source, type) and is_typeddict(source):
        return _lenient_dict(source)
    if isinstance(source, type) and dataclasses.is_dataclass(source):
        return _lenient_dataclass(source)
    return _lenient_alias(source)


def _lenient_alias(source: Any) -> Any:
    origin, arguments = get_origin(source), get_args(source)
    if origin is Annotated:
        return Annotated[(make_lenient(arguments[0]), *arguments[1:])]
    if origin in (Union, UnionType):
        return Union[tuple(make_lenient(argument) for argument in arguments)]
    if origin in (list, dict, set, frozenset):
        return origin[tuple(make_lenient(argument) for argument in arguments)]
    return source


@cache
def _lenient_model(model: type[BaseModel]) -> type[BaseModel]:
    if model.__pydantic_root_model__:
        return model
    members: dict[str, Any] = {name: _lenient_field(info) for name, info in model.model_fields.items()}
    return create_model(model.__name__, __base__=model, __module__=model.__module__, **members)


def _lenient_field(info: FieldInfo) -> tuple[Any, FieldInfo]:
    lenient = info._copy()  # noqa: SLF001 # pydantic has no public way to copy a field with its metadata
    lenient.default, lenient.default_factory = (
        (None, None) if info.is_required() else (info.default, info.default_factory)
    )
    lenient.annotation = make_lenient(info.annotation)
    annotation = Annotated[(lenient.annotation, *info.metadata)] if info.metadata else lenient.annotation
    return Union[annotation, NoneType], lenient


@cache
def _lenient_dict(source: Any) -> Any:
    hints = get_type_hints(source, include_extras=True)
    return _make_dict(source.__name__, {name: _bare(hint) for name, hint in hints.items()})


def _make_dict(name: str, members: Mapping[str, Any]) -> Any:
    make: Any = TypedDict  # type checkers know it only with members that stand in the source
    return make(name, {member: NotRequired[make_lenient(hint)] for member, hint in members.items()})


def _bare(hint: Any) -> Any:
    """Take ``Required`` and ``NotRequired`` off."""
    return get_args(hint)[0] if getattr(get_origin(hint), "_name", "") in ("Required", "NotRequired") else hint


@cache
def _lenient_dataclass(source: type[Any]) -> Any:
    hints = get_type_hints(source, include_extras=True)
    form = _make_dict(source.__name__, {f.name: hints[f.name] for f in dataclasses.fields(source) if f.init})

    def build(value: dict[str, Any]) -> Any:
        made = object.__new__(source)  # __init__ would ask for what is not there
        for member in dataclasses.fields(source):
            object.__setattr__(made, member.name, value.get(member.name, _default_of(member)))
        return made

    return Annotated[form, AfterValidator(build)]


def _default_of(member: dataclasses.Field[Any]) -> Any:
    if member.default is not dataclasses.MISSING:
        return member.default
    return None if member.default_factory is dataclasses.MISSING else member.default_factory()
