r"""Ways to say things: a small notation, expanded by chance.

    "[work out|compute|what is] {expression}[| please]"

Square brackets offer alternatives and may nest; braces are filled in afterwards. A skeleton, which is a
phrasing before it is filled in, belongs to training or is held out by its hash (see `splits`).
"""

from __future__ import annotations

import random
import re

from agentflow.embedded.data.splits import Split, is_held_out, wants_held_out

_INNERMOST = re.compile(r"\[([^\[\]]*)\]")
_MAX_TRIES = 60


def expand(notation: str, rng: random.Random) -> str:
    """Choose among all alternatives of a notation."""
    while match := _INNERMOST.search(notation):
        notation = notation[: match.start()] + rng.choice(match[1].split("|")) + notation[match.end() :]
    return notation


class Phrasings:
    """Draws phrasings for one conversation.

    Args:
        rng: Random generator.
        split: Which split the phrasings belong to.
    """

    def __init__(self, rng: random.Random, split: Split) -> None:
        self.rng = rng
        self._is_held_out = wants_held_out("phrasing", split)

    def say(self, notations: tuple[str, ...], **values: object) -> str:
        """Draw a phrasing of the split and fill it in; where all are of the other split, any will do."""
        for _ in range(_MAX_TRIES):
            skeleton = expand(self.rng.choice(notations), self.rng)
            if is_held_out("phrasing", skeleton) == self._is_held_out:
                break
        return skeleton.format(**values)
