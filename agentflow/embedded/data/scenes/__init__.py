"""Scenes: what is wished for in a simulated world, said in the values and phrasings of a split."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from agentflow.embedded.data.clauses import Draft
from agentflow.embedded.data.scenes.calendar import CalendarScene
from agentflow.embedded.data.scenes.files import FileScene
from agentflow.embedded.data.scenes.scene import Scene
from agentflow.embedded.data.scenes.shop import ShopScene
from agentflow.embedded.data.scenes.tickets import TicketScene

__all__ = ["SCENES", "Scene"]

SCENES: Mapping[Callable[[Draft], Scene], float] = {
    FileScene.start: 3,
    ShopScene.start: 2,
    CalendarScene.start: 2,
    TicketScene.start: 2,
}
"""How each scene is begun and how often; files are hardest to tell apart."""
