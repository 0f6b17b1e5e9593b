"""The rest of results that were too long to show, and the tool that reads it."""

from __future__ import annotations

from agentflow.errors import ConfigurationError, ToolExecutionError
from agentflow.executor.results import show
from agentflow.tool import Tool, tool
from agentflow.types import JsonValue, ToolCall

READER_NAME = "read_result"


class ResultStore:
    """Keeps long results of one run in memory, by the id of their call.

    Attributes:
        reader: The tool with which a model reads on where a shortened result ends.
    """

    def __init__(self, *, page_chars: int, max_chars: int = 50_000_000) -> None:
        """Make an empty store.

        Args:
            page_chars: Characters that the model is shown at once.
            max_chars: Most characters kept; the oldest results are forgotten first.

        Raises:
            ConfigurationError: A number is below 1.
        """
        if page_chars < 1 or max_chars < 1:
            raise ConfigurationError(f"page_chars={page_chars!r} and max_chars={max_chars!r} must be at least 1")
        self._page_chars = page_chars
        self._max_chars = max_chars
        self._texts: dict[str, str] = {}
        self.reader: Tool[..., object] = tool(name=READER_NAME, is_idempotent=True)(self._read)

    def keep(self, call: ToolCall, content: JsonValue) -> str:
        """Keep a result; returns its first page with a note that says how to read on."""
        text = show(content)
        self._texts[call.id] = text
        while len(self._texts) > 1 and sum(len(kept) for kept in self._texts.values()) > self._max_chars:
            del self._texts[next(iter(self._texts))]
        return self._show_page(call.id, text, 0)

    async def _read(self, call_id: str, start: int) -> str:
        """Read on in a result that was too long to show.

        Args:
            call_id: Which result; its note says so.
            start: Character to start from.
        """
        if call_id not in self._texts:
            raise ToolExecutionError(f"No long result of {call_id!r} is kept. Call its tool again.")
        text = self._texts[call_id]
        if not 0 <= start < len(text):
            raise ToolExecutionError(f"start must be from 0 to {len(text) - 1}, got {start}.")
        return self._show_page(call_id, text, start)

    def _show_page(self, call_id: str, text: str, start: int) -> str:
        end = min(len(text), start + self._page_chars)
        if end == len(text):
            return text[start:]
        note = f'[characters {start} to {end} of {len(text)}; {READER_NAME}(call_id="{call_id}", start={end}) reads on]'
        return f"{text[start:end]}\n{note}"
