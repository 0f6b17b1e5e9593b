"""The suite: reproducible, varied, and solvable by its own reference calls with the real tools."""

import pytest

from agentflow.bench.suite import KINDS, make_suite
from agentflow.bench.task import find_failure
from agentflow.bench.world import World
from agentflow.errors import ConfigurationError

TASKS = make_suite(24)


def test_suite_depends_on_the_seed_alone():
    """Equal seeds give equal suites; a longer suite begins with the shorter one; another seed gives others."""
    assert make_suite(24) == TASKS
    assert make_suite(10) == TASKS[:10]
    assert make_suite(24, seed=1) != TASKS


def test_suite_is_varied():
    """24 tasks have distinct names and prompts and cover every kind equally."""
    assert len({task.name for task in TASKS}) == len({task.prompt for task in TASKS}) == 24
    assert {kind: sum(task.kind == kind for task in TASKS) for kind in KINDS} == dict.fromkeys(KINDS, 24 // len(KINDS))


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_tasks_take_several_calls_of_offered_tools(task):
    """Every task needs at least two calls, of tools that it offers among 3 to 6."""
    assert len(task.reference) >= 2
    assert {call.name for call in task.reference} <= set(task.tools)
    assert 3 <= len(task.tools) <= 6


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_reference_calls_solve_the_task_with_the_real_tools(task):
    """Running the reference calls leads to the world that the suite worked out by itself."""
    with World.opened(task.before) as world:
        tools = {tool.name: tool for tool in world.tools(task.tools)}
        for call in task.reference:
            tools[call.name](**call.arguments)
        assert find_failure(task, dict(task.answer), world.read()) == ""


@pytest.mark.parametrize("task", [t for t in TASKS if t.after is not None], ids=lambda task: task.name)
def test_doing_nothing_does_not_solve_a_task_that_changes_the_world(task):
    """The right answer alone is not enough where something was to be saved."""
    with World.opened(task.before) as world:
        assert find_failure(task, dict(task.answer), world.read()) != ""


def test_a_suite_that_is_too_long_is_an_error():
    """When every task of a kind has been used, no task is repeated to fill the suite."""
    with pytest.raises(ConfigurationError, match="no new task left"):
        make_suite(8 * 500)
