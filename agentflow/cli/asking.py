"""Asking a person at the terminal: for a line of text, and whether a tool call may run."""

from __future__ import annotations

import json
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import anyio
from rich.console import Console
from rich.text import Text

from agentflow.cli.wording import call_text, compact

if TYPE_CHECKING:
    from agentflow.cli.views import View
    from agentflow.executor.approval import Approver, Decision
    from agentflow.tool import Tool
    from agentflow.types import ToolCall

ApprovalMode: TypeAlias = Literal["ask", "every", "always", "never"]

CHOICES: Final = "y yes · n no · a all of this tool · e edit · or write why not"


def read_line(prompt: str, *, is_on_stderr: bool = False) -> str:
    """Wait for a line from the person at the terminal, whatever handles signals at the moment.

    Raises:
        EOFError: Ctrl-D, or the input has ended.
        KeyboardInterrupt: Ctrl-C.
    """
    if is_on_stderr:
        sys.stderr.write(prompt)
        sys.stderr.flush()
        prompt = ""
    if sys.stdin.isatty():
        import readline  # noqa: F401 # lets `input` edit lines
    if threading.current_thread() is not threading.main_thread():
        return input(prompt)
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return input(prompt)
    finally:
        signal.signal(signal.SIGINT, handler)


def make_approver(mode: ApprovalMode, console: Console, views: Sequence[View]) -> Approver:
    """Make what decides on calls that need approval.

    Args:
        mode: Ask the person at the terminal about calls that need approval, or about every call, or always say yes,
            or always no.
        console: Where it asks.
        views: Made to stand still while it asks.
    """
    if mode == "always":
        return lambda _call, _tool: True
    if mode == "never":
        return lambda _call, _tool: False
    return Asker(console, views, read_line, wants_all_calls=mode == "every")


class Asker:
    """Asks about one call at a time. While it waits nothing else happens: a person shall not be hurried.

    Attributes:
        wants_all_calls: Whether it is asked about calls that need no approval, too.
    """

    def __init__(
        self, console: Console, views: Sequence[View], read: Callable[..., str], *, wants_all_calls: bool = False
    ) -> None:
        """Ask on `console`, with `views` standing still; `read` gives the answers."""
        self.wants_all_calls = wants_all_calls
        self._console = console
        self._views = views
        self._read = read
        self._approved_tools: set[str] = set()

    async def __call__(self, call: ToolCall, tool: Tool[..., Any]) -> Decision:
        """Have the person decide on a call. Ctrl-C stops the run."""
        if call.name in self._approved_tools:
            return True
        with ExitStack() as stack:
            for view in self._views:
                stack.enter_context(view.paused())
            try:
                return self._ask(call, is_destructive=tool.is_destructive)
            except EOFError:
                return self._denial("nobody answered")
            except KeyboardInterrupt:
                signal.raise_signal(signal.SIGINT)  # to whoever watches the run
        await anyio.sleep_forever()
        raise AssertionError  # for type checkers

    def _ask(self, call: ToolCall, *, is_destructive: bool) -> Decision:
        from agentflow.executor import Approval

        note = (" it cannot be taken back ", "bold white on red") if is_destructive else ("", "")
        question = Text.assemble(("May this run? ", "bold yellow"), call_text(call), "  ", note)
        self._console.print(question, soft_wrap=True)
        self._console.print(CHOICES, style="dim", soft_wrap=True, highlight=False)
        while True:
            answer = self._read("> ", is_on_stderr=self._console.stderr).strip()
            match answer.lower():
                case "y" | "yes":
                    return True
                case "n" | "no":
                    return self._denial("")
                case "a":
                    self._approved_tools.add(call.name)
                    return True
                case "e":
                    return Approval(self._edit(call))
                case "":
                    continue
                case _:
                    return self._denial(answer)

    def _edit(self, call: ToolCall) -> dict[str, Any]:
        """Have the arguments written anew, as JSON; an empty line keeps them."""
        self._console.print(f"now: {compact(dict(call.arguments))}", markup=False, highlight=False, soft_wrap=True)
        while True:
            text = self._read("new, as JSON> ", is_on_stderr=self._console.stderr).strip()
            if not text:
                return dict(call.arguments)
            try:
                arguments = json.loads(text)
            except ValueError as error:
                self._console.print(f"that is not JSON: {error}", style="red", markup=False)
                continue
            if isinstance(arguments, dict):
                return arguments
            self._console.print('write an object, such as {"path": "a.txt"}', style="red", markup=False)

    @staticmethod
    def _denial(reason: str) -> Decision:
        from agentflow.executor import Denial

        return Denial(reason)
