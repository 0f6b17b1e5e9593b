"""Functions become tools: schemas, descriptions, checks, refusals."""

import dataclasses
import enum
from collections.abc import Callable
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field
from typing_extensions import TypedDict

from agentflow.errors import ToolDefinitionError, ToolExecutionError
from agentflow.tool import RunContext, Tool, Toolset, collect_tools, tool


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclasses.dataclass
class Point:
    x: int
    y: int = 0


class Shape(BaseModel):
    title: str
    corners: list[Point]


class Options(TypedDict, total=False):
    width: int


def paint(  # noqa: D417, PLR0917 # one parameter of each kind, some described elsewhere, some not at all
    shape: Shape,
    color: Color = Color.RED,
    mode: Literal["fill", "line"] = "fill",
    options: Options | None = None,
    layer: Annotated[int, Field(ge=1)] = 1,
    note: Annotated[str, "A remark."] = "",
) -> str:
    """Paint a shape.

    It is painted at once.

    Args:
        shape: What to paint.
        layer: Which layer.
    """
    return f"{shape.title} {color.value} {mode} {options} {layer} {note}"


def test_schema_says_what_the_signature_says():
    """Required, optional, enum, nested, bounded and described parameters reach the schema; titles do not."""
    schema = tool(paint).spec.parameters
    assert schema["required"] == ["shape"]
    assert schema["additionalProperties"] is False
    properties = schema["properties"]
    assert list(properties) == ["shape", "color", "mode", "options", "layer", "note"]
    assert properties["mode"] == {"type": "string", "enum": ["fill", "line"], "default": "fill"}
    assert properties["layer"] == {"type": "integer", "minimum": 1, "default": 1, "description": "Which layer."}
    assert properties["note"] == {"type": "string", "default": "", "description": "A remark."}
    assert properties["color"]["default"] == "red"
    assert schema["$defs"]["Color"]["enum"] == ["red", "blue"]
    assert set(schema["$defs"]["Shape"]["properties"]) == {"title", "corners"}, "a property called title stays"
    assert "title" not in schema
    assert "title" not in schema["$defs"]["Shape"]


GOOGLE = """Look up the weather.

Args:
    city: Name of the city.
"""
NUMPY = """Look up the weather.

Parameters
----------
city : str
    Name of the city.
"""
SPHINX = """Look up the weather.

:param city: Name of the city.
"""


@pytest.mark.parametrize("docstring", [GOOGLE, NUMPY, SPHINX], ids=["google", "numpy", "sphinx"])
def test_descriptions_come_from_docstrings(docstring):
    """The three usual styles give the same description of tool and parameter."""

    def look_up(city: str) -> str:
        return city

    look_up.__doc__ = docstring
    spec = tool(look_up).spec
    assert spec.description == "Look up the weather."
    assert spec.parameters["properties"]["city"]["description"] == "Name of the city."


def test_arguments_become_the_types_of_the_function():
    """JSON values turn into dataclasses, models and enums; what was not given is left to the defaults."""
    arguments = tool(paint).validate_arguments(
        {"shape": {"title": "box", "corners": [{"x": 1}]}, "color": "blue", "options": {"width": 2}}
    )
    assert arguments == {"shape": Shape(title="box", corners=[Point(1)]), "color": Color.BLUE, "options": {"width": 2}}


BOX = {"title": "box", "corners": []}


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({}, "shape is required and missing"),
        (
            {"shape": BOX, "mode": "dots"},
            "mode: Input should be 'fill' or 'line', got 'dots'",
        ),
        ({"shape": {"title": "a", "corners": [{}]}}, "shape.corners.0.x is required and missing"),
        ({"shape": BOX, "size": 3}, "size is not known here"),
        (
            {"shape": BOX, "layer": 0},
            "layer: Input should be greater than or equal to 1, got 0",
        ),
    ],
)
def test_wrong_arguments_are_named(arguments, problem):
    """The message names the argument, what is wrong and what was given, and asks for another try."""
    with pytest.raises(ToolExecutionError) as caught:
        tool(paint).validate_arguments(arguments)
    assert problem in caught.value.message
    assert "Correct the arguments" in caught.value.message


def test_many_problems_are_cut_short():
    """A hopeless call does not flood the conversation."""

    def f(numbers: list[int]) -> None: ...

    with pytest.raises(ToolExecutionError) as caught:
        tool(f).validate_arguments({"numbers": ["x" * 500] * 100})
    assert "and 92 more" in caught.value.message
    assert len(caught.value.message) < 2_000


def test_context_is_not_shown_to_the_model():
    """A first parameter of type RunContext is left out of the schema."""

    def f(context: RunContext[int], a: str) -> None: ...

    made = tool(f)
    assert list(made.spec.parameters["properties"]) == ["a"]
    assert made.signature.takes_context


def test_tool_is_still_a_function():
    """A decorated function can be called as before."""

    @tool(timeout_s=5)
    def double(number: int) -> int:
        return 2 * number

    assert double(4) == 8
    assert double.timeout_s == 5


def _no_annotation(a): ...


def _star(*a: int): ...


def _double_star(**a: int): ...


def _positional_only(a: int, /): ...


def _context_second(a: int, context: RunContext[Any]): ...


def _callable(a: Callable[[], int]): ...


def _module(a: type(pytest)): ...


def _undefined(a: "Nowhere"): ...  # noqa: F821


@pytest.mark.parametrize(
    ("function", "problem"),
    [
        (_no_annotation, "parameter 'a' has no type annotation"),
        (_star, "parameter 'a' is *a"),
        (_double_star, "parameter 'a' is **a"),
        (_positional_only, "parameter 'a' is positional-only"),
        (_context_second, "parameter 'context' is a RunContext but not the first"),
        (_callable, "tool '_callable'"),
        (_module, "tool '_module'"),
        (_undefined, "'Nowhere' is not defined"),
        (Point, "is not a function"),
        (3, "is not a function"),
    ],
)
def test_what_a_model_could_not_call_is_refused(function, problem):
    """Each refusal names the tool or parameter and shows a cure."""
    with pytest.raises(ToolDefinitionError) as caught:
        tool(function)
    assert problem in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"name": "two words"}, "name is not usable"),
        ({"name": "1st"}, "name is not usable"),
        ({"timeout_s": 0}, "timeout_s must be above 0"),
        ({"max_concurrency": 0}, "max_concurrency must be at least 1"),
        ({"retries": -1}, "retries must be at least 0"),
        ({"retries": 1}, "needs is_idempotent=True"),
    ],
)
def test_wrong_options_are_refused(options, problem):
    """Options are checked where they are given."""
    with pytest.raises(ToolDefinitionError, match=problem):
        tool(**options)(paint)


class Counter:
    def __init__(self):
        self.count = 0

    @tool
    def add(self, number: int) -> int:
        """Add a number."""
        self.count += number
        return self.count

    @tool
    @staticmethod
    def name() -> str:
        return "counter"


def test_methods_are_bound_to_their_objects():
    """A decorated method becomes a tool of the instance it is taken from."""
    one, two = Counter(), Counter()
    assert one.add(3) == 3
    assert two.add(4) == 4
    assert list(one.add.spec.parameters["properties"]) == ["number"]


def test_unbound_method_is_refused():
    """A method taken from the class has no object to work on."""
    with pytest.raises(ToolDefinitionError, match="method without its object"):
        collect_tools([Counter.add])


def test_toolset_of_an_object_and_its_changes():
    """A toolset gathers decorated methods; prefix, filter and options give new toolsets."""
    tools = Toolset.from_object(Counter())
    assert {t.name for t in tools.tools} == {"add", "name"}
    changed = tools.prefixed("c").filtered(lambda t: t.name == "c_add").with_options(requires_approval=True)
    assert [(t.name, t.needs_approval) for t in changed.tools] == [("c_add", True)]
    assert not any(t.needs_approval for t in tools.tools)


def test_two_tools_with_one_name_are_refused():
    """A model could not tell them apart."""
    with pytest.raises(ToolDefinitionError, match="two tools are called 'paint'"):
        collect_tools([paint, Toolset.of(paint)])


def test_unknown_option_is_refused():
    """with_options knows only options."""
    with pytest.raises(ToolDefinitionError, match="unknown options"):
        tool(paint).with_options(signature=None)
    assert isinstance(tool(paint).with_options(name="draw"), Tool)
