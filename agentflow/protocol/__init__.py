"""Writing and reading: messages as tokens, and tokens as messages.

The protocol is Gemma 4's: turns, tool declarations, calls and responses between control tokens. Text
and control tokens are kept apart from beginning to end (`Segment`), so no text, wherever it comes
from, can become a control token. Nothing here knows a model, an automaton or a device.
"""

from agentflow.protocol.control import CONTROL_TOKENS, Control, Segment, decode, encode
from agentflow.protocol.gemma import render_head, render_prompt, render_talk, render_turn, system_of
from agentflow.protocol.reader import parse_turn
from agentflow.protocol.values import compact_schema, format_value, sort_keys

__all__ = [
    "CONTROL_TOKENS",
    "Control",
    "Segment",
    "compact_schema",
    "decode",
    "encode",
    "format_value",
    "parse_turn",
    "render_head",
    "render_prompt",
    "render_talk",
    "render_turn",
    "sort_keys",
    "system_of",
]
