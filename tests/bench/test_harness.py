"""The harness: whole tasks through the real loop and the real tools, with a script in place of the model."""

from dataclasses import replace

import anyio
import pytest

from agentflow.backend.scripted import ScriptedBackend, call
from agentflow.bench.harness import Mode, count_exact_calls, run_suite, run_task
from agentflow.bench.suite import make_suite
from agentflow.errors import BackendError, MalformedOutputError
from agentflow.types import ToolCall

TASKS = make_suite(8)


def calls_of(task):
    """Write the reference calls as a script."""
    return [call(reference.name, **reference.arguments) for reference in task.reference]


def run(task, replies):
    """Run a task with a script and return its record."""
    return anyio.run(lambda: run_task(task, Mode(name="scripted", backend=ScriptedBackend(replies)), seed=3))


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.kind)
def test_reference_solution_is_solved(task):
    """A model that makes the reference calls and gives the right answer solves every kind of task."""
    record = run(task, [*calls_of(task), dict(task.answer)])
    assert record.is_solved, record.failure
    assert record.num_calls == record.num_valid_calls == record.num_exact_calls == len(task.reference)
    assert record.num_steps == len(task.reference) + 1
    assert record.usage.requests == record.num_steps
    assert 0 < record.tool_time_s < record.duration_s
    assert record.seed == 3


def test_right_answer_without_the_work_is_not_solved():
    """A model that guesses the answer and saves nothing fails."""
    task = TASKS[0]
    record = run(task, [dict(task.answer)])
    assert not record.is_solved
    assert "there is no note" in record.failure


def test_wrong_arguments_are_invalid_calls():
    """Calls with wrong arguments or of unknown tools count, but not as valid; the run goes on."""
    task = TASKS[0]
    bad = [call("calculate", wrong=1), call("no_such_tool")]
    record = run(task, [*bad, *calls_of(task), dict(task.answer)])
    assert record.is_solved
    assert record.num_calls == len(task.reference) + 2
    assert record.num_valid_calls == len(task.reference)


def test_unreadable_turns_are_counted():
    """A turn that is no call and no answer is counted; the model is asked again."""
    task = TASKS[0]
    record = run(task, [MalformedOutputError("no turn", text="call:("), *calls_of(task), dict(task.answer)])
    assert record.is_solved
    assert record.num_unreadable_turns == 1


def test_a_failing_backend_is_a_task_not_solved():
    """Errors of a run end up in its record, with what it did before."""
    task = TASKS[0]
    record = run(task, [*calls_of(task)[:1], BackendError("the device is gone")])
    assert not record.is_solved
    assert "the device is gone" in record.failure
    assert record.num_valid_calls == 1


def test_every_task_gets_a_world_of_its_own():
    """The same task solved twice: the second run does not see what the first one left behind."""
    task = TASKS[0]
    replies = [*calls_of(task), dict(task.answer)]
    mode = Mode(name="scripted", backend=ScriptedBackend(replies * 2))
    told = []
    records = anyio.run(lambda: run_suite([task, replace(task, name="again")], mode, on_record=told.append))
    assert [record.is_solved for record in records] == [True, True]
    assert told == records


def test_nobody_pays_for_drafts():
    """The harness watches no drafts, so a backend makes none."""
    observers = []

    class Watched(ScriptedBackend):
        async def generate(self, request, *, on_draft=None):
            observers.append(on_draft)
            return await super().generate(request, on_draft=on_draft)

    task = TASKS[0]
    backend = Watched([*calls_of(task), dict(task.answer)])
    anyio.run(lambda: run_task(task, Mode(name="scripted", backend=backend), seed=0))
    assert set(observers) == {None}


def test_exact_calls_match_one_to_one():
    """A call made twice counts once; number texts are equal to numbers of the same value."""
    task = next(task for task in TASKS if task.kind == "date-shift")
    first = task.reference[0]
    given = {**first.arguments, "days": str(first.arguments["days"])}
    assert count_exact_calls(task, [ToolCall("1", first.name, given), ToolCall("2", first.name, given)]) == 1
    assert count_exact_calls(task, []) == 0
