"""The words of a scene: drawn anew each time, or from a handful that come again and again.

Where words come again, it is not enough to find them: which wish is meant follows from what was done before it.
"""

from __future__ import annotations

from collections.abc import Callable

from agentflow.embedded.data.clauses import Draft

_FEW_SHARE = 0.7
_FIRST_NAME_SHARE = 0.75
_HANDFUL = (5, 11)


class Words:
    """Draws the words of one scene.

    Args:
        draft: Draws values of the split.

    Attributes:
        are_few: Whether all of a kind come from a handful.
    """

    def __init__(self, draft: Draft) -> None:
        self._draft = draft
        self.are_few = draft.rng.random() < _FEW_SHARE
        self._handfuls: dict[str, list[str]] = {}

    def errand(self) -> str:
        """Draw a thing to do."""
        return self._draw("errand", self._draft.values.errand)

    def title(self) -> str:
        """Draw a title."""
        return self._draw("title", self._draft.values.title)

    def noun(self) -> str:
        """Draw a common noun."""
        return self._draw("noun", self._draft.values.noun)

    def stem(self) -> str:
        """Draw the stem of a file's name."""
        return self.noun() if self.are_few else self._draft.values.stem()

    def name(self) -> str:
        """Draw what a person is called, mostly by a first name."""
        return self._draw("name", self._drawn_name)

    def _drawn_name(self) -> str:
        values = self._draft.values
        return values.pooled("first") if self._draft.rng.random() < _FIRST_NAME_SHARE else values.person()

    def _draw(self, kind: str, make: Callable[[], str]) -> str:
        if not self.are_few:
            return make()
        if kind not in self._handfuls:
            num = self._draft.rng.randint(*_HANDFUL)
            self._handfuls[kind] = list(dict.fromkeys(make() for _ in range(num)))
        return self._draft.rng.choice(self._handfuls[kind])
