"""Backends for replicas to run: light ones, which need no torch."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from threading import Thread

import anyio

from agentflow.backend.base import DraftObserver, TurnListener
from agentflow.errors import SchemaBudgetError
from agentflow.types import AssistantMessage, Draft, Generation, GenerationRequest, Usage, UserMessage


@dataclass
class Statistics:
    """What an `Echo` has seen."""

    num_asked: int = 0
    num_cancelled: int = 0


class Echo:
    """Says which process it is in, and does what it is told."""

    name = "echo"

    def __init__(self) -> None:
        self._statistics = Statistics()

    def statistics(self) -> Statistics:
        """What it has seen."""
        return self._statistics

    async def generate(self, request: GenerationRequest, *, on_draft: DraftObserver | None = None) -> Generation:
        """Obey the last message."""
        self._statistics.num_asked += 1
        order = _order(request)
        if order == "wait":
            try:
                await anyio.sleep(60)
            except BaseException:
                self._statistics.num_cancelled += 1
                raise
        generation = _obey(order)
        if on_draft is not None:
            for step in range(3):
                on_draft(Draft(canvas_index=0, step=step, max_steps=3, pieces=("a",), states=("open",)))
        return generation

    async def aclose(self) -> None:
        """Nothing to release."""


class Caller(Echo):
    """One that can call back; every third turn it leaves to `generate`, the others it writes at once or in a thread."""

    def begin(self, request: GenerationRequest, on_done: TurnListener) -> Callable[[], None] | None:
        """Obey the last message."""
        if self._statistics.num_asked % 3 == 2:
            return None
        self._statistics.num_asked += 1
        order = _order(request)
        if order != "wait":
            generation = _obey(order)
            if self._statistics.num_asked % 3 == 1:
                on_done(generation)
            else:
                Thread(target=on_done, args=(generation,)).start()
        return self._drop

    def _drop(self) -> None:
        self._statistics.num_cancelled += 1


def _order(request: GenerationRequest) -> str:
    last = request.messages[-1]
    return last.text if isinstance(last, UserMessage) else ""


def _obey(order: str) -> Generation:
    if order == "print":
        print("on standard output")  # noqa: T201 - the point
    if order == "fail":
        raise ValueError("a bug")
    if order == "refuse":
        raise SchemaBudgetError(num_tokens_needed=9, num_tokens_given=3)
    if order == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    return Generation(AssistantMessage(str(os.getpid())), "stop", Usage(requests=1))


def make_echo() -> Echo:
    """Make one."""
    return Echo()


def make_caller() -> Caller:
    """Make one."""
    return Caller()


def make_none() -> Echo:
    """Fail."""
    raise SchemaBudgetError(num_tokens_needed=2, num_tokens_given=1)
