"""Requests that leave something out: the model asks for it, the user says it, the call is made."""

from __future__ import annotations

import random

from agentflow.embedded.data.clauses import Draft
from agentflow.embedded.data.clauses.functions import wish_without
from agentflow.embedded.data.splits import Split
from agentflow.embedded.data.tasks import Conversation, capital, finish, instructions, play, replay, sentence, stop
from agentflow.embedded.data.tools import declare_many
from agentflow.types import AssistantMessage, UserMessage


def make_question(rng: random.Random, split: Split) -> Conversation:
    """Make a request that lacks one argument of a function."""
    draft = Draft.start(rng, split)
    said, missing, told = wish_without(draft)
    replay(draft)
    offered = declare_many([step.tool for step in draft.steps], rng, split, draft.functions)
    name = offered[draft.steps[-1].tool].names[missing]
    messages = [
        *instructions(draft, is_parallel=False),
        UserMessage(stop(capital(said))),
        AssistantMessage(f"What is the {name.replace('_', ' ')}?"),
        UserMessage(told),
    ]
    for index in range(len(draft.steps)):
        messages += play([index], draft.steps, offered)
    messages.append(AssistantMessage(sentence(draft, draft.outputs, heard=said)))
    return finish("question", draft, messages, offered, None)
