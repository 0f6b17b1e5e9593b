"""Drafts are as long as turns of their kind were lately."""

import pytest

from agentflow.backend.codec import kind_of
from agentflow.backend.diffusion.lengths import DraftLengths
from agentflow.types import AssistantMessage, GenerationRequest, ToolMessage, ToolSpec, UserMessage

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
BOOK, CANCEL = ToolSpec("book", "Book.", SCHEMA), ToolSpec("cancel", "Cancel.", SCHEMA)


def test_a_known_kind_counts_alone():
    """Few turns of a kind are enough, and the longest of them has room, and some to spare."""
    lengths = DraftLengths()
    for num_tokens in (17, 19, 18):
        lengths.note("read", num_tokens)
        lengths.note("plan", 100 + num_tokens)

    assert lengths.fit("read", is_busy=False) == lengths.fit("read", is_busy=True) == 21
    assert lengths.fit("plan", is_busy=True) == 121


@pytest.mark.parametrize("is_busy", [False, True])
def test_an_unknown_kind_has_a_usual_length(is_busy):
    """On a busy device a fixed one; on an idle one a whole canvas, until many turns of all kinds are known."""
    lengths = DraftLengths()
    assert lengths.fit("new", is_busy=is_busy) == (24 if is_busy else None)
    for i in range(100):
        lengths.note(f"kind {i}", 20 + i // 10)
    assert lengths.fit("new", is_busy=is_busy) == (24 if is_busy else 31)


def test_old_turns_and_old_kinds_are_forgotten():
    """A kind that changes is followed, and one that is not seen for long is unknown again."""
    lengths = DraftLengths()
    for _ in range(40):
        lengths.note("call", 90)
    for _ in range(40):
        lengths.note("call", 20)
    assert lengths.fit("call", is_busy=True) == 22
    for i in range(300):
        lengths.note(f"kind {i}", 30)
    assert lengths.fit("call", is_busy=True) == 24


def test_kinds_are_told_by_tools_schema_and_role():
    """What the conversation says makes no other kind; what may be written, and whether a tool answered, does."""
    first = GenerationRequest(messages=(UserMessage("Oslo?"),), tools=(BOOK, CANCEL))
    requests = [
        first,
        GenerationRequest(messages=(UserMessage("Oslo?"),), tools=(BOOK,)),
        GenerationRequest(messages=(UserMessage("Oslo?"),), tools=(BOOK, CANCEL), tool_choice="required"),
        GenerationRequest(messages=(UserMessage("Oslo?"),), tools=(BOOK, CANCEL), output_schema=SCHEMA),
        GenerationRequest(messages=(UserMessage("Oslo?"), AssistantMessage(), ToolMessage(())), tools=(BOOK, CANCEL)),
    ]

    assert len({kind_of(request) for request in requests}) == len(requests)
    assert kind_of(GenerationRequest(messages=(UserMessage("And Rome?"),), tools=(BOOK, CANCEL))) == kind_of(first)
