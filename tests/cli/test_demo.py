"""The demo with a scripted model: real tools, a checked answer, a picture."""

import io

import pytest
from rich.console import Console

from agentflow.backend.scripted import ScriptedBackend, call
from agentflow.bench.task import find_failure
from agentflow.cli.app import main
from agentflow.cli.demo import run_demo
from agentflow.cli.demo_tasks import DEMO_TASKS
from agentflow.cli.picture import draw_run
from agentflow.cli.views import FilmView

RENT_CALLS = (
    call("calculate", expression="12.5 * 8"),
    [call("add_note", title="Rent", text="100"), call("weekday", date="2026-03-14")],
)


def run_rent(*replies):
    """Run the task ``rent`` with a script; return outcome, failure and film."""
    film = FilmView()
    backend = ScriptedBackend([*RENT_CALLS, *replies], num_draft_steps=4)
    console = Console(file=io.StringIO())
    outcome, failure = run_demo(DEMO_TASKS["rent"], console, model=backend, seed=0, is_live=False, film=film)
    return outcome, failure, film


def test_right_answer_is_found_right():
    """The answer is a pydantic object of the task's type and passes the check."""
    outcome, failure, _ = run_rent({"total": 100, "weekday": "Saturday"})
    assert failure == ""
    assert outcome.output == DEMO_TASKS["rent"].output_type(total=100, weekday="Saturday")
    assert outcome.usage.tool_calls == 3


def test_wrong_answer_is_found_wrong():
    """A wrong weekday is told, although every call was right."""
    _, failure, _ = run_rent({"total": 100, "weekday": "Sunday"})
    assert "weekday='Sunday'" in failure


@pytest.mark.parametrize("task", DEMO_TASKS.values(), ids=lambda task: task.name)
def test_right_answers_follow_from_the_tools(task):
    """The reference calls give every field of the answer type, and solve the task."""
    solved = task.solved()
    assert set(solved.answer) == set(task.output_type.model_fields)
    task.output_type(**solved.answer)
    assert len(task.reference) >= 2
    assert find_failure(solved, dict(solved.answer), solved.after) == ""


def test_the_right_answer_of_the_default_task():
    """12.5 * 8 is 100, and 2026-03-14 was a Saturday, whatever the tools say."""
    assert dict(DEMO_TASKS["rent"].solved().answer) == {"total": 100, "weekday": "Saturday"}


def test_film_chooses_the_canvas_with_the_most_noise():
    """The picture shows a first draft, one on the way, and the committed canvas, of the turn with two calls."""
    *_, film = run_rent({"total": 100, "weekday": "Saturday"})
    turn, (first, middle, last) = film.frames()
    assert turn == 2
    assert (first.step, last.is_committed) == (1, True)
    assert last.states.count("open") < middle.states.count("open") < first.states.count("open")
    assert len(film.calls) == 3


def test_film_of_a_model_that_does_not_draft_is_empty():
    """A left-to-right model has no canvas to show."""
    assert FilmView().frames() == (0, [])


def test_picture_is_a_self_contained_svg(tmp_path):
    """The picture holds the answer and fetches nothing from anywhere."""
    outcome, failure, film = run_rent({"total": 100, "weekday": "Saturday"})
    draw_run(tmp_path / "demo.svg", DEMO_TASKS["rent"], film, outcome, model="scripted", seed=0, failure=failure)
    svg = (tmp_path / "demo.svg").read_text()
    assert svg.startswith("<svg")
    assert "RentReport" in svg
    assert "@font-face" not in svg


def test_unknown_task_is_a_usage_error(capsys):
    """The message lists the tasks there are."""
    assert main(["demo", "--task", "nonsense"]) == 2
    assert "choose one of: rent" in capsys.readouterr().err
