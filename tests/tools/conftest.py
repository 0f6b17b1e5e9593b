"""What the tests of the ready-made tools share."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest

from agentflow import Tool


@pytest.fixture(scope="session")
def by_name() -> Callable[[Iterable[Tool[..., Any]]], dict[str, Tool[..., Any]]]:
    """Give tools by their names."""
    return lambda tools: {tool.name: tool for tool in tools}


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Run what is marked `anyio` on both event loops."""
    return request.param
