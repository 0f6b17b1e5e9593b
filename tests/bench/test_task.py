"""When a task counts as solved."""

import pytest

from agentflow.bench.task import BenchTask, ReferenceCall, WorldState, find_failure, is_same

BEFORE = WorldState(files={"a.txt": "12"}, notes={"Old": "kept"}, todos=("wax the canoe",))
TASK = BenchTask(
    name="t",
    kind="k",
    prompt="p",
    tools=("calculate",),
    answer={"total": 100, "weekday": "Saturday"},
    before=BEFORE,
    after=BEFORE.with_changes(notes={"Rent": "100"}),
    reference=(ReferenceCall(name="calculate", arguments={"expression": "12.5 * 8"}),),
)
RIGHT = {"total": 100, "weekday": "Saturday"}


def test_right_answer_in_the_right_world_is_solved():
    """Nothing is wrong with the right answer and the right world; number texts compare as numbers."""
    assert find_failure(TASK, RIGHT, TASK.after) == ""
    assert (
        find_failure(TASK, {"total": 100.0, "weekday": " Saturday"}, BEFORE.with_changes(notes={"Rent": "100.0"})) == ""
    )


@pytest.mark.parametrize(
    ("output", "part"),
    [
        ({"total": 100.5, "weekday": "Saturday"}, "total=100.5"),
        ({"total": 100, "weekday": "saturday"}, "weekday='saturday'"),
        ({"total": 100}, "does not have the fields"),
        ({**RIGHT, "more": 1}, "does not have the fields"),
        ({"total": True, "weekday": "Saturday"}, "total=True"),
        (None, "does not have the fields"),
        ("100", "does not have the fields"),
    ],
)
def test_wrong_answer_is_not_solved(output, part):
    """A wrong, missing or surplus field fails the task even in the right world."""
    assert part in find_failure(TASK, output, TASK.after)


@pytest.mark.parametrize(
    ("world", "part"),
    [
        (BEFORE, "there is no note 'Rent'"),
        (BEFORE.with_changes(notes={"Rent": "101"}), "the note 'Rent' says '101'"),
        (TASK.after.with_changes(notes={"Extra": "1"}), "a note 'Extra' that nobody asked for"),
        (TASK.after.with_changes(files={"a.txt": "13"}), "the file 'a.txt'"),
        (TASK.after.with_changes(todos=()), "to-do list"),
    ],
)
def test_wrong_world_is_not_solved(world, part):
    """The right answer does not excuse a missing, wrong or surplus change of the world."""
    assert part in find_failure(TASK, RIGHT, world)


def test_output_schema_takes_the_types_of_the_answer():
    """Every field of the right answer is required, with its type."""
    assert TASK.output_schema == {
        "type": "object",
        "properties": {"total": {"type": "integer"}, "weekday": {"type": "string"}},
        "required": ["total", "weekday"],
    }


@pytest.mark.parametrize(
    ("given", "right", "verdict"),
    [
        ("8.50", "8.5", True),
        (8, 8.0, True),
        ("a", "a ", True),
        (True, 1, False),
        ("1", "one", False),
        (None, "", False),
    ],
)
def test_is_same(given, right, verdict):
    """Numbers compare by value, texts up to surrounding space, and truth values are no numbers."""
    assert is_same(given, right) is verdict
