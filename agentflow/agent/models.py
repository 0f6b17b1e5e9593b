"""Whatever a caller names as a model, as the backend behind it."""

from __future__ import annotations

import threading
from typing import Any, Protocol, TypeAlias, runtime_checkable

import anyio.to_thread

from agentflow.backend.base import Backend
from agentflow.errors import ConfigurationError


@runtime_checkable
class HasBackend(Protocol):
    """A model that wraps a backend."""

    @property
    def backend(self) -> Backend:
        """What writes its turns."""
        ...


ModelSource: TypeAlias = str | Backend | HasBackend
"""A model, a backend, or the name of a model."""

_loaded: dict[str, Backend] = {}
_loading = threading.Lock()


async def find_backend(model: ModelSource) -> Backend:
    """Get the backend of `model`; a name is loaded once per process, in a thread, and shared by all agents.

    Raises:
        ModelNotFoundError: No such model, or its weights are not here.
        ConfigurationError: It is no model.
    """
    if isinstance(model, str):
        return _loaded[model] if model in _loaded else await anyio.to_thread.run_sync(_load, model)
    found: Any = model.backend if isinstance(model, HasBackend) else model
    if not isinstance(found, Backend):
        raise ConfigurationError(f"{model!r} is no model", hint='pass a name such as "embedded", a Model or a Backend')
    return found


def _load(name: str) -> Backend:
    from agentflow.model import load_model

    with _loading:
        if name not in _loaded:
            _loaded[name] = load_model(name).backend
        return _loaded[name]
