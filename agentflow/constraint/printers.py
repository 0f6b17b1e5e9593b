"""Surfaces: how values are written. Both are printers of the same grammar tree.

json    {"city":"Paris","days":3}             compact, spaced, or pretty-printed
gemma   {city:<|"|>Paris<|"|>,days:3}         keys bare and sorted, strings between control tokens
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from agentflow.constraint.automaton import CharDfa
from agentflow.constraint.graph import Control, Run, concat
from agentflow.constraint.regex import pattern_dfa
from agentflow.constraint.surface_bytes import Style, escape

Surface: TypeAlias = Literal["json", "gemma"]
Whitespace: TypeAlias = Literal["compact", "spaced", "pretty"]

_BARE_KEY = re.compile(r"[A-Za-z_][\w.\-]*", re.ASCII)
_MARK = Control('<|"|>')


@dataclass(frozen=True)
class Printer:
    """How one surface writes strings, keys and brackets.

    Attributes:
        surface: Which surface.
        whitespace: For JSON: ``{"a":1}``, ``{"a": 1}`` or two-space indentation.
    """

    surface: Surface = "json"
    whitespace: Whitespace = "compact"

    @property
    def style(self) -> Style:
        """How characters of strings are spelt."""
        return "json" if self.surface == "json" else "raw"

    @property
    def has_bounded_layout(self) -> bool:
        """Whether values look the same at any nesting depth and hold no control tokens."""
        return self.surface == "json" and self.whitespace != "pretty"

    @property
    def shows_nesting(self) -> bool:
        """Whether values look different at different nesting depths."""
        return self.whitespace == "pretty"

    @property
    def quote(self) -> Run:
        """What opens and closes a string."""
        return ('"',) if self.surface == "json" else (_MARK,)

    def string(self, text: str) -> Run:
        """Write a string."""
        return concat(self.quote, (escape(text, self.style),), self.quote)

    def key(self, name: str) -> Run:
        """Write a key and its colon. A key of the call syntax that is not bare-safe stands between quotes."""
        if self.surface == "json":
            return concat((f'"{escape(name, "json")}"',), self.colon)
        if _BARE_KEY.fullmatch(name):
            return (f"{name}:",)
        return concat(self.string(name), self.colon)

    @property
    def key_quote(self) -> Run:
        """What opens and closes a key that is not known beforehand."""
        return ('"',) if self.surface == "json" else ()

    @property
    def free_keys(self) -> CharDfa | None:
        """The keys that can be written where they are not known beforehand; ``None``: all."""
        return None if self.surface == "json" else pattern_dfa(r"^[A-Za-z_][A-Za-z0-9_.\-]*$")

    @property
    def colon(self) -> Run:
        """What stands between a key and its value."""
        return (":",) if self.whitespace == "compact" else (": ",)

    def open(self, bracket: str, depth: int) -> Run:
        """Write an opening bracket at nesting depth `depth` and go to the first entry."""
        return (bracket + self._line(depth + 1),)

    def close(self, bracket: str, depth: int) -> Run:
        """Write the closing bracket after an entry."""
        return (self._line(depth) + bracket,)

    def comma(self, depth: int) -> Run:
        """Write what separates entries."""
        if self.whitespace == "pretty":
            return ("," + self._line(depth + 1),)
        return ("," if self.whitespace == "compact" else ", ",)

    def _line(self, depth: int) -> str:
        return "\n" + "  " * depth if self.whitespace == "pretty" else ""

    def order(self, names: Sequence[str]) -> list[str]:
        """Put declared names in the order in which they are written."""
        return list(names) if self.surface == "json" else sorted(names, key=str.lower)
