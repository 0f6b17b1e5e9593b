"""Typed answers while they are drafted: every partial value is valid, whatever is still open."""

from dataclasses import dataclass, field
from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, Field, model_validator
from typing_extensions import TypedDict

from agentflow.agent import Agent
from agentflow.agent.draft_json import find_places, read_settled
from agentflow.agent.partial import NOTHING, PartialOutput
from agentflow.backend.scripted import ScriptedBackend, call
from agentflow.events import OutputDrafted, OutputReady
from agentflow.output import OutputType
from agentflow.tool import tool
from agentflow.types import Draft

pytestmark = pytest.mark.anyio


class Place(BaseModel):
    street: str = Field(min_length=3)
    number: int


class Report(BaseModel):
    city: str
    celsius: Annotated[float, Field(ge=-100)]
    sky: Literal["rain", "sun"]
    place: Place
    tags: list[str] = []
    stops: list[Place] = Field(default_factory=list)


@dataclass(frozen=True)
class Point:
    x: int
    y: int = 7
    near: list[int] = field(default_factory=list)


class Trip(TypedDict):
    title: str
    start: Point


def _draft(text, *, is_committed=False, canvas_index=0):
    """Make a draft in which ``▒`` is open."""
    states = tuple("open" if char == "▒" else "accepted" for char in text)
    return Draft(
        canvas_index=canvas_index, step=1, max_steps=9, pieces=tuple(text), states=states, is_committed=is_committed
    )


def _read(output_type, *texts):
    partial = PartialOutput(OutputType(output_type))
    for text in texts:
        value = partial.read(_draft(text))
    return value


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"city":"Os▒▒▒', {"city": "Os"}),
        ('{"city":"Oslo","celsius":4▒', {"city": "Oslo"}),  # 4 may become 45
        ('{"city":"Oslo","celsius":4,▒', {"city": "Oslo", "celsius": 4}),
        ('{"city":"Oslo","sky":"ra▒', {"city": "Oslo"}),  # "ra" is no sky
        ('{"city":"O▒▒▒▒,"celsius":4,"sky":"rain"▒▒', {"city": "O", "celsius": 4, "sky": "rain"}),  # behind a gap
        ('{"▒▒▒"tags":["a","b"],▒"celsius":-200,▒', {"tags": ["a", "b"]}),  # too cold
        ('{"city":"Oslo","place":{"street":"ab▒', {"city": "Oslo", "place": {}}),
        ('{"place":{"street":"abcd","number":12}▒', {"place": {"street": "abcd", "number": 12}}),
        ('{"stops":[{"street":"abcd","number":1},{"num▒', {"stops": [{"street": "abcd", "number": 1}, {}]}),
        ('<|channel>thought\nhm {"city":"X"}<channel|>{"city":"Oslo"▒', {"city": "Oslo"}),
        ('{"city":"say \\"celsius\\":9, ok▒', {"city": 'say "celsius":9, ok'}),
    ],
)
def test_model_holds_what_is_settled(text, expected):
    """It is an instance of the caller's class; what is open or not valid yet is not there."""
    report = _read(Report, text)
    assert isinstance(report, Report)
    assert report.model_dump(exclude_unset=True) == expected
    assert report.place is None or isinstance(report.place, Place)


@pytest.mark.parametrize("text", ["", "▒▒", "{", '{"▒', '{"city":▒', "<|tool_call>call:look{", "no JSON"])
def test_nothing_is_told_while_there_is_nothing(text):
    """Empty values, calls and prose make no partial output."""
    assert _read(Report, text) is NOTHING


def test_same_draft_is_told_once():
    """A step that settles nothing of the answer tells nothing."""
    assert _read(Report, '{"city":"Os▒', '{"city":"Os▒') is NOTHING


def test_members_in_arrays_and_repeated_names_are_not_guessed():
    """Behind a gap only a name that leaves no doubt is read."""
    places = find_places(OutputType(Report).schema)
    assert set(places) == {"city", "celsius", "sky", "place", "tags", "stops"}  # street and number occur twice
    assert read_settled('{"\uffff"street":"abc","number":3}', places) == {}


def test_dataclasses_typed_dicts_lists_and_schemas():
    """Types of all kinds have partial values."""
    assert _read(Point, '{"x":5,▒') == Point(5)
    point = _read(Point, '{"near":[1,23▒')
    assert (point.x, point.y, point.near) == (None, 7, [1])
    assert _read(Trip, '{"title":"a","start":{"y":2,▒')["start"].y == 2
    assert _read(list[int], "[1,2,3▒") == [1, 2]
    schema = {
        "type": "object",
        "properties": {"name": {"type": "string", "minLength": 9}, "kind": {"enum": ["long", "short"]}},
        "required": ["name", "kind"],
    }
    assert _read(schema, '{"name":"Ad","kind":"lo▒') == {"name": "Ad"}


def test_validators_of_the_caller_may_fail_on_what_is_open():
    """They were written for whole values; a partial value that they cannot take is not told."""

    class Span(BaseModel):
        low: int
        high: int

        @model_validator(mode="after")
        def check(self):
            if self.low > self.high:
                raise ValueError("upside down")
            return self

    assert _read(Span, '{"low":3,▒') is NOTHING
    assert _read(Span, '{"low":3,"high":5}') == Span(low=3, high=5)


def test_answer_over_several_canvases_is_put_together():
    """What earlier canvases committed stands before what this one shows."""
    partial = PartialOutput(OutputType(Report))
    partial.read(_draft('{"city":"Oslo","cel', is_committed=True))
    report = partial.read(_draft('sius":4.5,"sky":▒▒', canvas_index=1))
    assert report.model_dump(exclude_unset=True) == {"city": "Oslo", "celsius": 4.5}


WHOLE = {"city": "Oslo", "celsius": 4.5, "sky": "rain", "place": {"street": "Main Street", "number": 1}}


@tool
async def look() -> str:
    """Look something up."""
    return "seen"


async def test_stream_gives_outputs_as_they_grow():
    """All are reports, each holds what the one before held, the last one is the output."""
    agent = Agent(ScriptedBackend([call("look"), WHOLE], num_draft_steps=9), tools=[look], output_type=Report)
    async with agent.stream("go") as stream:
        outputs = [output async for output in stream.outputs()]
    assert outputs[-1] == stream.result.output == Report(**WHOLE)
    assert all(isinstance(output, Report) for output in outputs)
    held = [output.model_dump(exclude_unset=True) for output in outputs]
    assert [len(members) for members in held] == sorted(len(members) for members in held)
    assert len(outputs) >= 4
    assert held[0] == {"city": "Oslo"}


async def test_partial_outputs_are_events():
    """They say whether the canvas is committed, and are not told to observers that want no drafts."""
    events = []
    agent = Agent(ScriptedBackend([WHOLE], num_draft_steps=3), output_type=Report)
    await agent.run("go", on_event=events.append)
    drafted = [e for e in events if isinstance(e, OutputDrafted)]
    assert [e.is_settled for e in drafted] == [False] * (len(drafted) - 1) + [True]
    assert drafted[-1].output == next(e.output for e in events if isinstance(e, OutputReady))

    class Blind:
        wants_drafts = False
        seen = ()

        def __call__(self, event):
            self.seen = (*self.seen, type(event))

    blind = Blind()
    await Agent(ScriptedBackend([WHOLE], num_draft_steps=3), output_type=Report).run("go", on_event=blind)
    assert OutputDrafted not in blind.seen
