"""Which replica a turn goes to."""

from __future__ import annotations

from agentflow.backend.routing import Router
from agentflow.types import AssistantMessage, Message, SystemMessage, UserMessage

SYSTEM = SystemMessage("Be brief.")


def _begin(name: str) -> tuple[Message, ...]:
    return SYSTEM, UserMessage(name)


def _go_on(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    return *messages, AssistantMessage("yes"), UserMessage("more")


def test_new_conversations_go_to_the_idlest() -> None:
    """Instructions that all share bind nobody to a replica."""
    router = Router(3, max_lead=2)
    assert [router.choose(_begin(str(i))) for i in range(6)] == [0, 1, 2, 0, 1, 2]
    router.release(1)
    assert router.choose(_begin("next")) == 1
    assert router.num_open == (2, 2, 2)


def test_a_conversation_goes_on_where_it_was() -> None:
    """Turn after turn, also beside somewhat less busy ones."""
    router = Router(2, max_lead=1)
    messages = _begin("a")
    assert router.choose(messages) == 0
    for _ in range(3):
        router.release(0)
        messages = _go_on(messages)
        assert router.choose(messages) == 0
    assert router.choose(_go_on(messages)) == 0
    assert router.num_open == (2, 0)


def test_a_conversation_moves_from_a_busy_replica_and_stays_there() -> None:
    """A place in the queue is worth less than a long wait."""
    router = Router(2, max_lead=1)
    messages = _begin("a")
    assert [router.choose(messages) for _ in range(2)] == [0, 0]
    moved = _go_on(messages)
    assert router.choose(moved) == 1
    for index in (0, 0, 1):
        router.release(index)
    assert router.choose(_go_on(moved)) == 1


def test_old_conversations_are_forgotten() -> None:
    """What is remembered is bounded."""
    router = Router(2, max_lead=1)
    for i in range(5_000):
        router.release(router.choose(_begin(str(i))))
    assert len(router._homes) == 4_096


def test_an_empty_conversation_has_a_place() -> None:
    """Nothing to know it by."""
    router = Router(2, max_lead=0)
    assert router.choose(()) == 0
    assert router.choose(_begin("a")) == 1
