"""`OutputType`: a type that a model's answer must have, as a JSON Schema and as a check.

    OutputType(Invoice).schema                      what the backend decodes to
    OutputType(Invoice).parse('{"total": 3}')       the value, or an error that says what is wrong

Types: pydantic models, dataclasses, TypedDicts, unions, enums, builtin containers, JSON Schemas (mappings), and
`str` for free text. Decoding is the backend's matter; asking the model again is the agent's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Generic, TypeVar, cast

from pydantic import PydanticUserError, TypeAdapter, ValidationError

from agentflow.constraint.judge import find_problem
from agentflow.errors import ConfigurationError, InvalidSchemaError, OutputValidationError
from agentflow.tool.schema import describe_problems, plain_json_schema
from agentflow.types import JsonSchema, JsonValue

T = TypeVar("T")


class OutputType(Generic[T]):
    """One output type.

    Attributes:
        schema: JSON Schema of the answer; ``None`` means free text.
        name: For people.
        source: The type or JSON Schema that it was made from.
    """

    def __init__(self, output_type: type[T] | JsonSchema | Any, *, is_trusted: bool = False) -> None:
        """Make it from a type or a JSON Schema; `is_trusted` skips the check that a mapping is one.

        Raises:
            ConfigurationError: The type has no JSON form.
            InvalidSchemaError: The mapping is no JSON Schema.
        """
        self.name: str = (
            "JSON" if isinstance(output_type, Mapping) else getattr(output_type, "__name__", str(output_type))
        )
        self.source: Any = output_type
        self._adapter: TypeAdapter[Any] | None = None
        self.schema: JsonSchema | None
        if output_type is str:
            self.schema = None
        elif isinstance(output_type, Mapping):
            self.schema = dict(output_type)
            if not is_trusted:
                _check_schema(self.schema)
        else:
            self._adapter, self.schema = _adapt(output_type, self.name)

    @classmethod
    def of(cls, output_type: type[T] | JsonSchema | Any) -> OutputType[T]:
        """Make it, unless it is one already."""
        return output_type if isinstance(output_type, OutputType) else cls(output_type)

    @property
    def is_text(self) -> bool:
        """Whether any text will do."""
        return self.schema is None

    def parse(self, text: str, *, checks_schema: bool = False) -> T:
        """Read an answer; JSON may stand in a Markdown code fence.

        Args:
            text: The answer.
            checks_schema: Check the JSON Schema of a Python type too, not only the type: for schemas that say more than
                their types check, and of which decoding could not hold to everything.

        Raises:
            OutputValidationError: It is no JSON, or does not fit; the message tells the model what is wrong.
        """
        if self.is_text:
            return cast("T", text)
        try:
            value = json.loads(_strip_fence(text))
        except (ValueError, RecursionError) as error:
            raise OutputValidationError(f"the answer is not JSON: {error}", text=text) from error
        if checks_schema:
            self._check_against_schema(value, text)
        return self.validate(value, text=text)

    def validate(self, value: JsonValue, *, text: str = "") -> T:
        """Check a JSON value and convert it to the type; `text` is kept on the error.

        Raises:
            OutputValidationError: It does not fit.
        """
        if self._adapter is None:
            return cast("T", self._check_against_schema(value, text))
        try:
            return cast("T", self._adapter.validate_json(json.dumps(value)))
        except (ValidationError, RecursionError) as error:
            problems = describe_problems(error, root="answer") if isinstance(error, ValidationError) else "too deep"
            raise OutputValidationError(f"the answer is no valid {self.name}: {problems}", text=text) from error

    def _check_against_schema(self, value: JsonValue, text: str) -> JsonValue:
        if self.schema is None:
            if not isinstance(value, str):
                raise OutputValidationError(f"the answer must be text, got {value!r}", text=text)
            return value
        problem = find_problem(value, self.schema)
        if problem is not None:
            raise OutputValidationError(f"the answer does not fit the schema: {problem}", text=text)
        return value


def _adapt(output_type: Any, name: str) -> tuple[TypeAdapter[Any], JsonSchema]:
    try:
        adapter = TypeAdapter[Any](output_type)
        return adapter, plain_json_schema(adapter)
    except (PydanticUserError, TypeError, RecursionError) as error:
        raise ConfigurationError(
            f"output type {name!r} has no JSON form: {str(error).splitlines()[0]}",
            hint="use a pydantic model, a dataclass, a TypedDict, a union of these, str, or a JSON Schema",
        ) from error


def _check_schema(schema: JsonSchema) -> None:
    from jsonschema.exceptions import SchemaError
    from jsonschema.validators import validator_for

    try:
        validator_for(schema).check_schema(schema)
    except SchemaError as error:
        pointer = "".join(f"/{part}" for part in error.absolute_path)
        raise InvalidSchemaError(f"not a JSON Schema: {error.message}", pointer=pointer) from error


def _strip_fence(text: str) -> str:
    body = text.strip()
    if body.startswith("```") and body.endswith("```"):
        return body[3:-3].removeprefix("json").strip()
    return body
