"""Playing conversations and simulated tasks: the right turns solve them, a wrong one does not."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field

import pytest

from agentflow.embedded.data.conversations import make_conversation
from agentflow.embedded.playing import compare_turns, is_same_turn, play, play_simulated
from agentflow.embedded.simulated import make_simulated_task
from agentflow.embedded.tally import Tally
from agentflow.types import AssistantMessage, Generation, GenerationSettings, ToolCall, Usage

pytest.importorskip("faker", reason="the data is made with Faker")


@dataclass
class Parrot:
    """A model that says what it was told to, turn by turn."""

    turns: list[AssistantMessage] = field(default_factory=list)

    async def generate(self, request):
        """Give the next turn."""
        del request
        return Generation(self.turns.pop(0), "stop", Usage())


def _conversation(kind):
    return next(c for c in (make_conversation(1, index) for index in range(2000)) if c.kind == kind)


@pytest.mark.parametrize("kind", ["chain-3", "chat-2", "question", "parallel-3", "world-5"])
def test_the_right_turns_solve_a_conversation(kind):
    """All rounds are played, and turn by turn everything is right."""
    conversation = _conversation(kind)
    turns = [m for m in conversation.messages if isinstance(m, AssistantMessage)]
    tally = Tally()
    asyncio.run(play(Parrot(list(turns)), conversation, GenerationSettings(), tally))
    asyncio.run(compare_turns(Parrot(list(turns)), conversation, GenerationSettings(), tally))
    assert {score.share for score in tally.scores.values()} == {1.0}
    assert tally.scores["task"].num_all == 1


def test_a_wrong_answer_does_not_solve_a_conversation():
    """The calls are right, but the last round's answer is another."""
    conversation = _conversation("chat-2")
    turns = [m for m in conversation.messages if isinstance(m, AssistantMessage)]
    tally = Tally()
    asyncio.run(
        play(Parrot([*turns[:-1], AssistantMessage("I do not know.")]), conversation, GenerationSettings(), tally)
    )
    assert tally.scores["task"].num_right == 0


def test_the_reference_solves_a_simulated_task():
    """One call a turn, then the answer as JSON."""
    task = make_simulated_task("tickets", num_calls=5, seed=3)
    turns = [AssistantMessage(tool_calls=(call,)) for call in task.reference]
    world = task.open()
    model = Parrot([*turns, AssistantMessage(json.dumps(dict(task.answer)))])
    answer = asyncio.run(play_simulated(model, task, world, GenerationSettings(), Tally()))
    assert task.find_failure(world, answer) == ""


def test_turns_are_the_same_if_calls_and_arguments_are():
    """The ids of calls do not matter; the order of calls does."""
    one, two = ToolCall("1", "f", {"x": 1}), ToolCall("2", "g", {})
    right = AssistantMessage(tool_calls=(one, two))
    assert is_same_turn(AssistantMessage(tool_calls=(ToolCall("9", "f", {"x": 1}), two)), right)
    assert not is_same_turn(AssistantMessage(tool_calls=(two, one)), right)
    assert is_same_turn(AssistantMessage('{"a": 1}'), AssistantMessage('{"a":1}'))
