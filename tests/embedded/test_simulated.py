"""The simulated worlds: tasks are reproducible, their reference solves them, and a slip is noticed."""

from __future__ import annotations

import random
import re
from itertools import islice

import pytest

from agentflow.embedded.data.clauses import Draft
from agentflow.embedded.data.scenes.words import Words
from agentflow.embedded.evaluate import simulated_tasks
from agentflow.embedded.simulated import WORLDS, make_simulated_task
from agentflow.errors import ConfigurationError
from agentflow.types import ToolCall


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("num_calls", [3, 8, 40])
def test_the_reference_solves_the_task(world, num_calls):
    """Running the reference calls in a fresh world reaches the goal; leaving out the last change does not."""
    task = make_simulated_task(world, num_calls=num_calls, seed=5)
    assert num_calls <= len(task.reference) <= num_calls + 25
    opened = task.open()
    assert all(not opened.run(call).is_error for call in task.reference)
    assert task.find_failure(opened, dict(task.answer)) == ""
    assert "answer" in task.find_failure(opened, {})
    if task.before.state() != task.goal:
        assert task.find_failure(task.open(), dict(task.answer))


def test_equal_seeds_give_equal_tasks():
    """A task follows from world, length and seed."""
    first, again = (make_simulated_task("shop", num_calls=6, seed=2) for _ in range(2))
    assert (first.prompt, first.reference) == (again.prompt, again.reference)
    assert first.prompt != make_simulated_task("shop", num_calls=6, seed=3).prompt


@pytest.mark.parametrize("world", WORLDS)
def test_tools_are_declared_and_refuse_what_is_not_there(world):
    """Every tool has a described schema; a wrong name or argument is a result, never an exception."""
    task = make_simulated_task(world, num_calls=3, seed=1)
    assert all(spec.description and spec.parameters["properties"] for spec in task.specs)
    opened = task.open()
    for spec in task.specs:
        assert opened.run(ToolCall("1", spec.name, {})).is_error
    assert opened.run(ToolCall("1", "no_such_tool", {})).is_error
    assert opened.state() == task.before.state()


def test_a_world_or_a_length_that_there_is_not_is_refused():
    """The message names what there is."""
    with pytest.raises(ConfigurationError, match="files"):
        make_simulated_task("moon", num_calls=3, seed=0)
    with pytest.raises(ConfigurationError, match="40"):
        make_simulated_task("files", num_calls=41, seed=0)


@pytest.mark.parametrize("world", WORLDS)
def test_texts_of_the_reference_can_be_copied_from_word_to_word(world):
    """Whatever the reference solution says stands in the request, a result or a declaration, as whole words."""
    for seed in range(5):
        task = make_simulated_task(world, num_calls=8, seed=seed)
        opened, heard = task.open(), f"{task.prompt}\n{[spec.parameters for spec in task.specs]}"
        for call in task.reference:
            for text in filter(lambda value: isinstance(value, str), call.arguments.values()):
                assert re.search(rf"(?<!\w){re.escape(text)}(?!\w)", heard), text
            heard += f"\n{opened.run(call).content}"


def test_an_evaluation_plays_tasks_of_the_length_it_tells():
    """Tasks that need more calls than asked for are passed over."""
    tasks = list(islice(simulated_tasks("tickets", num_calls=6), 4))
    assert [len(task.reference) for task in tasks] == [6] * 4
    assert len({task.name for task in tasks}) == 4


def test_nothing_is_asked_for_twice():
    """A request has one right solution: no wish comes again, and what is cancelled is left alone."""
    for seed in range(3):
        prompt = make_simulated_task("calendar", num_calls=20, seed=seed).prompt
        wishes = [f"{wish}." for wish in prompt.split(". ")]
        assert len({wish.rstrip(".") for wish in wishes}) == len(wishes)
        cancelled = re.findall(r"Cancel the event (EV-\d+)", prompt)
        assert not any(f"event {number}" in prompt.split(f"Cancel the event {number}")[1] for number in cancelled)


def test_a_scene_of_few_words_says_them_again():
    """Sixty errands are at most eleven different ones where words are few, and more elsewhere."""
    drawn = [Words(Draft.start(random.Random(seed), "train")) for seed in range(20)]  # noqa: S311 - reproducible
    assert {words.are_few for words in drawn} == {True, False}
    for words in drawn:
        errands = [words.errand() for _ in range(60)]
        assert (len(set(errands)) <= 11) == words.are_few
