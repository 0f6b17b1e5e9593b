"""The stream of conversations: conversation `index` of `seed` is always the same one."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping

from agentflow.embedded.data.asking import make_question
from agentflow.embedded.data.extraction import make_extraction, make_lookup, make_small_talk
from agentflow.embedded.data.simulated import make_simulated
from agentflow.embedded.data.splits import Split
from agentflow.embedded.data.tasks import Conversation, make_api_task, make_declared_task, make_function_task, make_task
from agentflow.errors import ConfigurationError

MAKERS: Mapping[str, Callable[[random.Random, Split], Conversation]] = {
    "task": make_task,
    "function": make_function_task,
    "declared": make_declared_task,
    "operation": make_api_task,
    "question": make_question,
    "lookup": make_lookup,
    "extraction": make_extraction,
    "text": make_small_talk,
    "world": make_simulated,
}
"""Kinds of conversation and how they are made."""

MIXTURE: Mapping[str, float] = {
    "task": 0.44, "function": 0.08, "declared": 0.05, "operation": 0.12,
    "question": 0.02, "lookup": 0.01, "extraction": 0.06, "text": 0.01, "world": 0.21,
}  # fmt: skip
"""Share of each kind in training."""

COPYING: Mapping[str, float] = {"lookup": 0.75, "extraction": 0.25}
"""Shares of the warm-up, which is all copying."""


def mix(chosen: Mapping[str, float]) -> Mapping[str, float]:
    """Give the share of each kind: the chosen ones, and the others in their usual proportion.

    Raises:
        ConfigurationError: There is no such kind, or the shares are not from 0 to 1, all together.
    """
    if unknown := sorted(set(chosen) - set(MIXTURE)):
        raise ConfigurationError(f"no kind of conversation is called {unknown[0]!r}", hint=f"use {', '.join(MIXTURE)}")
    left = 1.0 - sum(chosen.values())
    if min(chosen.values(), default=0.0) < 0.0 or left < 0.0:
        raise ConfigurationError(f"shares must be from 0 to 1, all together, got {dict(chosen)}")
    usual = sum(share for kind, share in MIXTURE.items() if kind not in chosen)
    return {kind: chosen.get(kind, left * share / max(usual, share)) for kind, share in MIXTURE.items()}


def make_conversation(
    seed: int, index: int, *, split: Split = "train", mixture: Mapping[str, float] = MIXTURE
) -> Conversation:
    """Make one conversation of the stream.

    Args:
        seed: Seed of the stream.
        index: Place in the stream.
        split: What is new in it.
        mixture: Share of each kind.
    """
    rng = random.Random(f"{split}/{seed}/{index}")  # noqa: S311 - reproducible data, no secret
    kind = rng.choices(list(mixture), list(mixture.values()))[0]
    return MAKERS[kind](rng, split)
