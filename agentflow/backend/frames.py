"""Values over a pipe between two processes of ours: pickles, each behind its length.

    parent -> replica   Start, then Ask, Drop and Count in any number; the end of the pipe means: end
    replica -> parent   Ready, then Drafted, Wrote, Failed and Counted

Both ends are the same installation of the same code, and nobody else can write to the pipe.
"""

from __future__ import annotations

import io
import pickle
import struct
from collections.abc import Callable
from copyreg import dispatch_table
from types import MappingProxyType
from typing import IO, Any, NamedTuple

from agentflow.backend.base import Backend
from agentflow.errors import AgentflowError, ConfigurationError
from agentflow.types import Draft, Generation

START = -1
_LENGTH = struct.Struct("<Q")
_HINT = "use plain values in messages, tools and schemas, or load the model without num_replicas"


class Start(NamedTuple):
    """What a replica begins with.

    Attributes:
        make: Makes the backend, in the replica; a function that can be pickled.
    """

    make: Callable[[], Backend]


class Ready(NamedTuple):
    """The backend is made; `name` is its name."""

    name: str


class Ask(NamedTuple):
    """A turn is asked for; answers carry the same number.

    Attributes:
        number: The number.
        request: The request, as `dump` writes it, so that one which cannot be read spoils nothing else.
        wants_drafts: Whether drafts are to be sent.
    """

    number: int
    request: bytes
    wants_drafts: bool


class Drop(NamedTuple):
    """Nobody waits for a turn any more."""

    number: int


class Count(NamedTuple):
    """The engine's statistics are asked for."""

    number: int


class Drafted(NamedTuple):
    """A draft of a turn."""

    number: int
    draft: Draft


class Wrote(NamedTuple):
    """A turn."""

    number: int
    generation: Generation


class Counted(NamedTuple):
    """The engine's statistics, ``None`` for a backend that has none."""

    number: int
    statistics: Any


class Failed(NamedTuple):
    """What was asked for failed; number `START`: making the backend."""

    number: int
    error: AgentflowError


def dump(value: Any) -> bytes:
    """Write a value as a pickle.

    Raises:
        ConfigurationError: It cannot be pickled.
    """
    buffer = io.BytesIO()
    pickler = pickle.Pickler(buffer, protocol=pickle.HIGHEST_PROTOCOL)
    pickler.dispatch_table = dispatch_table | {MappingProxyType: lambda proxy: (dict, (dict(proxy),))}
    try:
        pickler.dump(value)
    except (TypeError, AttributeError, pickle.PicklingError) as error:
        raise ConfigurationError(f"this cannot be sent to another process: {error}", hint=_HINT) from error
    return buffer.getvalue()


def load(data: bytes) -> Any:
    """Read what `dump` wrote.

    Raises:
        ConfigurationError: It holds something that this process does not know.
    """
    try:
        return pickle.loads(data)  # noqa: S301 - from a process of ours, over a pipe of ours
    except (ImportError, AttributeError, TypeError, pickle.UnpicklingError) as error:
        raise ConfigurationError(f"this cannot be read in another process: {error}", hint=_HINT) from error


def pack(value: Any) -> bytes:
    """Make the frame of a value.

    Raises:
        ConfigurationError: It cannot be pickled.
    """
    data = dump(value)
    return _LENGTH.pack(len(data)) + data


def read(stream: IO[bytes]) -> Any:
    """Wait for the next value.

    Raises:
        EOFError: The other side has closed the pipe, or is gone.
        ConfigurationError: See `load`.
    """
    (length,) = _LENGTH.unpack(_read_exactly(stream, _LENGTH.size))
    return load(_read_exactly(stream, length))


def _read_exactly(stream: IO[bytes], length: int) -> bytes:
    try:
        data = stream.read(length)
    except (OSError, ValueError) as error:  # the pipe was closed on our side
        raise EOFError from error
    if len(data) < length:
        raise EOFError
    return data
