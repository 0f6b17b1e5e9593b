r"""Ways to say things: a small notation, expanded by chance.

    "[work out|compute|what is] {expression}[| please]"

Square brackets offer alternatives and may nest; ``@word`` stands for a list of alternatives that many
phrasings share; braces are filled in afterwards. A skeleton, which is a phrasing before it is filled in,
belongs to training or is held out by its hash (see `splits`).
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping

from agentflow.embedded.data.splits import Split, is_held_out, wants_held_out

SHARED: Mapping[str, str] = {
    "find": "find|find out|get|tell me|give me|look up|check|determine|see|say|figure out|show me|let me know|fetch",
    "ask": "tell me|find out|say|check|see|look up|figure out|let me know|work out|show me",
    "compute": "work out|calculate|compute|find|evaluate|determine|figure out|get|give me|tell me",
    "read": "read|open|load|look at|look into|take a look at|check|view|get|consult|see|pull up|go through|show me",
    "save": "save|store|keep|put|write|record|note|enter|write down|place",
    "make": "make|create|write|add|save|set up|start|put down",
    "todos": "[my|the|our] [to-do list|todo list|list|to-dos|task list|list of things to do|tasks|list of tasks|todos]",
    "called": "called|named|titled|with the title|under the title|under|with title|by the name of|entitled|labelled",
    "list": "list|show me|give me|tell me|get|read me|print|display|see|check|look up|name",
}
"""Alternatives that many phrasings share, so that each word is met in many of them."""

_SHARED_WORD = re.compile(r"@(\w+)")
_INNERMOST = re.compile(r"\[([^\[\]]*)\]")
_MAX_TRIES = 60


def expand(notation: str, rng: random.Random) -> str:
    """Choose among all alternatives of a notation."""
    notation = _SHARED_WORD.sub(lambda match: f"[{SHARED[match[1]]}]", notation)
    while match := _INNERMOST.search(notation):
        notation = notation[: match.start()] + rng.choice(match[1].split("|")) + notation[match.end() :]
    return notation


def plainest(notation: str) -> str:
    """Choose the first alternative everywhere; a notation without brackets around it is a list of alternatives."""
    notation = _SHARED_WORD.sub(lambda match: f"[{SHARED[match[1]]}]", f"[{notation}]")
    while match := _INNERMOST.search(notation):
        notation = notation[: match.start()] + match[1].split("|")[0] + notation[match.end() :]
    return notation


class Phrasings:
    """Draws phrasings for one conversation.

    Args:
        rng: Random generator.
        split: Which split the phrasings belong to.
    """

    def __init__(self, rng: random.Random, split: Split) -> None:
        self.rng = rng
        self.split = split
        self._is_held_out = wants_held_out("phrasing", split)

    def say(self, notations: tuple[str, ...], **values: object) -> str:
        """Draw a phrasing of the split and fill it in; where all are of the other split, any will do."""
        for _ in range(_MAX_TRIES):
            skeleton = expand(self.rng.choice(notations), self.rng)
            if is_held_out("phrasing", skeleton) == self._is_held_out:
                break
        return skeleton.format(**values)

    def say_plainly(self, notations: tuple[str, ...], **values: object) -> str:
        """Say it in the first of all ways; where that one is not of the split, draw."""
        skeleton = plainest(notations[0])
        if is_held_out("phrasing", skeleton) == self._is_held_out:
            return skeleton.format(**values)
        return self.say(notations, **values)
