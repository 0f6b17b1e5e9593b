r"""Control tokens, and the way from segments to token ids and back.

A conversation is a list of segments: a `Control` is one control token, a string is text. Text is
encoded so that a control token spelt out in it stays plain text:

    [Control("<|turn>"), "user\nsay <turn|>"]  ->  [<|turn>] [user] [\n] [say] [ ] [<] [turn|>]
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

from agentflow.errors import ConfigurationError

CONTROL_TOKENS: tuple[str, ...] = (
    "<pad>",
    "<eos>",
    "<bos>",
    "<unk>",
    "<|turn>",
    "<turn|>",
    "<|tool>",
    "<tool|>",
    "<|tool_call>",
    "<tool_call|>",
    "<|tool_response>",
    "<tool_response|>",
    '<|"|>',
    "<|think|>",
    "<|channel>",
    "<channel|>",
    "<|image>",
    "<|image|>",
    "<image|>",
    "<|audio>",
    "<|audio|>",
    "<audio|>",
    "<|video|>",
)
"""Gemma 4's control tokens; each is one token of a tokenizer that follows the protocol."""


_MAX_KEPT_CHARS = 512
"""Length of the longest text whose tokens are kept: declarations of tools repeat in every prompt, long texts do not."""


@dataclass(frozen=True)
class Control:
    """One control token."""

    text: str


Segment: TypeAlias = Control | str
"""A control token, or text."""


def join_text(segments: Iterable[Segment]) -> list[Segment]:
    """Join neighbouring strings and drop empty ones, so that text meets the tokenizer in one piece."""
    joined: list[Segment] = []
    for segment in segments:
        if isinstance(segment, str) and joined and isinstance(joined[-1], str):
            joined[-1] += segment
        elif segment != "":
            joined.append(segment)
    return joined


def encode(segments: Iterable[Segment], tokenizer: Any) -> list[int]:
    """Turn segments into token ids.

    Args:
        segments: Control tokens and text.
        tokenizer: A Hugging Face fast tokenizer that has the control tokens used.

    Raises:
        ConfigurationError: The tokenizer lacks a control token that is used.
    """
    key = _key(tokenizer)
    ids: list[int] = []
    for segment in join_text(segments):
        if isinstance(segment, Control):
            ids.append(_control_id(segment, key))
        else:
            ids.extend(_encode_again(segment, key) if len(segment) <= _MAX_KEPT_CHARS else _encode_text(segment, key))
    return ids


def _encode_text(text: str, key: _Key) -> tuple[int, ...]:
    ids: list[int] = []
    for piece in _split_added_tokens(text, key):
        # not verbose: who checks the length says more than the warning that would be printed
        ids.extend(key.tokenizer.encode(piece, add_special_tokens=False, verbose=False))
    return tuple(ids)


_encode_again = lru_cache(maxsize=4096)(_encode_text)


def decode(ids: Sequence[int], tokenizer: Any) -> list[Segment]:
    """Turn token ids into segments, the reverse of `encode`.

    Args:
        ids: Token ids.
        tokenizer: A Hugging Face fast tokenizer.
    """
    controls = control_ids(tokenizer)
    segments: list[Segment] = []
    run: list[int] = []

    def flush() -> None:
        if run:
            segments.append(tokenizer.decode(run, skip_special_tokens=False, clean_up_tokenization_spaces=False))
            run.clear()

    for token_id in ids:
        if token_id in controls:
            flush()
            segments.append(Control(controls[token_id]))
        else:
            run.append(token_id)
    flush()
    return join_text(segments)


def control_ids(tokenizer: Any) -> dict[int, str]:
    """Map the id of every control token of `tokenizer` to its text; anything its authors marked special is one."""
    return _added_tokens(_key(tokenizer))[0]


def _control_id(control: Control, key: _Key) -> int:
    token_id = _added_tokens(key)[2].get(control.text)
    if token_id is not None:
        return token_id
    raise ConfigurationError(
        f"the tokenizer has no control token {control.text!r}",
        hint="use the tokenizer of a DiffusionGemma or Gemma 4 checkpoint",
    )


def _split_added_tokens(text: str, key: _Key) -> list[str]:
    """Cut `text` inside every spelt-out added token, after its first character."""
    pattern = _added_tokens(key)[1]
    cuts = [match.start() + 1 for match in pattern.finditer(text)] if pattern else []
    return [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True) if start < end]


@dataclass(frozen=True)
class _Key:
    """A tokenizer as a cache key: by identity, and by size since tokens can be added later."""

    tokenizer: Any
    size: int

    def __hash__(self) -> int:
        return hash((id(self.tokenizer), self.size))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and self.tokenizer is other.tokenizer and self.size == other.size


def _key(tokenizer: Any) -> _Key:
    return _Key(tokenizer, len(tokenizer))


@lru_cache(maxsize=16)
def _added_tokens(key: _Key) -> tuple[dict[int, str], re.Pattern[str] | None, dict[str, int]]:
    """Give a tokenizer's control tokens by id, a pattern that finds their places in text, and the ids by text."""
    controls = {
        token_id: token.content
        for token_id, token in key.tokenizer.added_tokens_decoder.items()
        if token.special or token.content in CONTROL_TOKENS
    }
    longest_first = sorted(controls.values(), key=len, reverse=True)
    pattern = re.compile("(?=" + "|".join(map(re.escape, longest_first)) + ")") if longest_first else None
    return controls, pattern, {text: token_id for token_id, text in reversed(controls.items())}
