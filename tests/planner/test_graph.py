"""Plans as graphs: checks, references, files, views."""

import dataclasses

import pytest

from agentflow.errors import ConfigurationError, ToolExecutionError
from agentflow.planner import (
    check_plan,
    dump_plan,
    load_plan,
    plan_as_mermaid,
    plan_as_svg,
    plan_as_text,
    resolve_arguments,
)
from agentflow.types import Plan, PlanStep

PLAN = Plan(
    task="compare",
    steps=(
        PlanStep(id="s1", tool="look", goal="first", arguments={"city": "Oslo"}),
        PlanStep(id="s2", tool="look", goal='the "other" <one>', state="done", result=3),
        PlanStep(id="s3", tool="sum", needs=("s1",), arguments={"numbers": ["${s1.celsius}", "${s2}"]}),
    ),
)
RESULTS = {"s1": {"celsius": 4, "days": [{"name": "Mon"}]}, "s2": 3}


def test_good_plan_passes():
    """Needs and references to earlier steps are fine."""
    check_plan(PLAN, tools=["look", "sum"])


@pytest.mark.parametrize(
    ("step", "problem"),
    [
        (PlanStep(id="s1", tool="look"), "'s1' is repeated"),
        (PlanStep(id="two words", tool="look"), "'two words'"),
        (PlanStep(id="s4", tool="fly"), "uses 'fly'; tools that exist: look, sum"),
        (PlanStep(id="s4", tool="look", needs=("s5",)), "'s4' needs 's5'"),
        (PlanStep(id="s4", tool="look", needs=("s4",)), "'s4' needs 's4'"),
        (PlanStep(id="s4", tool="look", arguments={"a": [{"b": "see ${s9.x}"}]}), "'s4' needs 's9'"),
    ],
)
def test_bad_plan_is_refused(step, problem):
    """Ids are unique, tools exist, and a step only needs steps before it, so there is no circle."""
    with pytest.raises(ConfigurationError, match="step") as caught:
        check_plan(Plan(task="t", steps=(*PLAN.steps, step)), tools=["look", "sum"])
    assert problem in caught.value.message


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("${s1}", RESULTS["s1"]),
        ("${s1.celsius}", 4),
        ("${s1.days.0.name}", "Mon"),
        ("it is ${s1.celsius} on ${s1.days.0.name}", "it is 4 on Mon"),
        ("all: ${s1.days}", 'all: [{"name":"Mon"}]'),
        ({"a": ["${s2}", 1, None]}, {"a": [3, 1, None]}),
        ("$s1 {s1} ${}", "$s1 {s1} ${}"),
        (7, 7),
    ],
)
def test_references_become_results(argument, value):
    """A whole reference keeps the type of the value; inside text it is written out."""
    assert resolve_arguments({"x": argument}, RESULTS) == {"x": value}


def test_results_are_not_read_for_references():
    """A result that looks like a reference stays text: it is data."""
    assert resolve_arguments({"x": "${s1}"}, {"s1": "${s2}", "s2": "secret"}) == {"x": "${s2}"}


@pytest.mark.parametrize("argument", ["${s1.kelvin}", "${s1.days.1}", "${s1.days.name}", "${s2.x}"])
def test_reference_to_nothing_is_an_error(argument):
    """The message names the reference."""
    with pytest.raises(ToolExecutionError, match="points to nothing"):
        resolve_arguments({"x": argument}, RESULTS)


def test_plans_are_saved_and_read(tmp_path):
    """A saved plan comes back equal, or fresh for another run."""
    path = tmp_path / "plan.json"
    dump_plan(PLAN, path)
    assert load_plan(path, is_fresh=False) == PLAN
    fresh = load_plan(path)
    assert [step.state for step in fresh.steps] == ["pending"] * 3
    assert fresh.steps[1] == dataclasses.replace(PLAN.steps[1], state="pending", result=None)


def test_other_files_are_no_plans(tmp_path):
    """The error names the file."""
    path = tmp_path / "plan.json"
    path.write_text('{"steps": 3}')
    with pytest.raises(ConfigurationError, match=r"plan\.json holds no plan"):
        load_plan(path)


def test_text_view():
    """One line per step, with its state, call and needs."""
    assert plan_as_text(PLAN).splitlines() == [
        "Plan: compare",
        '○ s1 look(city="Oslo") - first',
        '● s2 look(…) - the "other" <one>',
        '○ s3 sum(numbers=["${s1.celsius}", "${s2}"]) after s1, s2',
    ]


def test_mermaid_view():
    """Edges follow needs and references; quotes are written as Mermaid wants them."""
    text = plan_as_mermaid(PLAN)
    assert "    s1 --> s3\n    s2 --> s3" in text
    assert 's1["s1: look(city=#quot;Oslo#quot;)"]:::pending' in text


def test_svg_view_is_well_formed():
    """An XML parser reads it; there is a box per step and an arrow per need; text is escaped."""
    from xml.etree import ElementTree as ET

    root = ET.fromstring(plan_as_svg(PLAN))  # noqa: S314 # written by us
    tags = [element.tag.rpartition("}")[2] for element in root.iter()]
    assert (tags.count("rect"), tags.count("line")) == (3, 2)
    assert 'the "other" <one>' in [element.text for element in root.iter()]
