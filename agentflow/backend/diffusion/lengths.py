"""How long a draft is that is only to be checked: as long as turns of its kind were lately.

Positions behind the end of a turn are drafted in vain, and a turn that is longer than its draft needs another one.
Turns of one kind, which may call the same tools or answer by the same schema, are about as long as each other.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Hashable

_NUM_KINDS = 256
_NUM_OF_KIND, _MIN_OF_KIND = 32, 2
_NUM_RECENT, _MIN_RECENT = 128, 16
"""Turns that are remembered of a kind and of all kinds, and those that have to be known before they count."""

_SHARE = 0.95
"""Share of the known turns that a draft has room for. For turns of 17 to 39 tokens on an idle CPU, drafts of 40
positions took 0.93 of the time of whole canvases of 48, and shorter ones more, since then turns need a second draft."""

_NUM_SPARE = 2
"""Positions beyond: one costs less than a hundredth of a second draft and its check."""

_BUSY_LENGTH = 24
"""Positions of a draft of an unknown kind when a CPU is busy with the tokens of a pass rather than with starting its
operations: a second draft for the few longer turns costs less than the idle ends of all the others."""


class DraftLengths:
    """The lengths of the turns that ended last, by kind."""

    def __init__(self) -> None:
        self._all: deque[int] = deque(maxlen=_NUM_RECENT)
        self._by_kind: OrderedDict[Hashable, deque[int]] = OrderedDict()

    def note(self, kind: Hashable, num_tokens: int) -> None:
        """Take note of a turn that has ended."""
        self._all.append(num_tokens)
        self._by_kind.setdefault(kind, deque(maxlen=_NUM_OF_KIND)).append(num_tokens)
        self._by_kind.move_to_end(kind)
        if len(self._by_kind) > _NUM_KINDS:
            self._by_kind.popitem(last=False)

    def fit(self, kind: Hashable, *, is_busy: bool) -> int | None:
        """Give the positions of the next draft; ``None``: a whole canvas."""
        own = self._by_kind.get(kind)
        if own is not None and len(own) >= _MIN_OF_KIND:
            return _room_for(own)
        if is_busy:
            return _BUSY_LENGTH
        return _room_for(self._all) if len(self._all) >= _MIN_RECENT else None


def _room_for(lengths: deque[int]) -> int:
    return sorted(lengths)[int(_SHARE * len(lengths))] + _NUM_SPARE
