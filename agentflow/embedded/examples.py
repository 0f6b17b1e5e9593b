"""Conversations as token ids: what the model reads, and the turns it learns to write.

A turn is written canvas by canvas. Its last canvas is filled up with ``<pad>`` behind the end token; at
inference everything behind the end token is dropped.

    ids     <bos> ... request ... | call ... <|tool_response> | response ... | answer <turn|>
    turns                          ^ start, target tokens                      ^ start, target tokens
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from agentflow.embedded.data.conversations import MIXTURE, make_conversation
from agentflow.embedded.data.splits import Split
from agentflow.embedded.data.tasks import Conversation
from agentflow.embedded.tokenizer import plain_text
from agentflow.protocol import Segment, render_prompt, render_turn
from agentflow.types import AssistantMessage


@dataclass(frozen=True)
class Turn:
    """What the model writes in one turn.

    Attributes:
        start: Tokens before it.
        ids: Its tokens, the end token included.
        is_slot: Whether each token is chosen by the model even when the structure is forced.
        is_name: Whether each token belongs to a tool's name.
    """

    start: int
    ids: tuple[int, ...]
    is_slot: tuple[bool, ...]
    is_name: tuple[bool, ...]


@dataclass(frozen=True)
class Example:
    """A conversation as tokens.

    Attributes:
        ids: All tokens.
        turns: The model's turns.
    """

    ids: tuple[int, ...]
    turns: tuple[Turn, ...]


class Encoder:
    """Turns conversations into examples.

    Args:
        tokenizer: The tokenizer of the embedded model.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._pieces = [tokenizer.decode([i]) for i in range(len(tokenizer))]

    def encode(self, conversation: Conversation) -> Example:
        """Encode a conversation; its texts must not spell control tokens."""
        prefixes: list[list[Segment]] = []
        turns: list[list[Segment]] = []
        for index, message in enumerate(conversation.messages):
            if isinstance(message, AssistantMessage):
                before = conversation.messages[:index]
                prefixes.append(render_prompt(before, conversation.tools, conversation.output_schema))
                turns.append(render_turn(message))
        texts = [plain_text(segments) for segments in (*prefixes, *turns)]
        encoded = self._tokenizer._tokenizer.encode_batch(texts, add_special_tokens=False)  # noqa: SLF001 - 30 times faster
        ids = [tuple(e.ids) for e in encoded]
        half = len(prefixes)
        made = tuple(self._turn(len(ids[i]), ids[half + i]) for i in range(half))
        return Example((*ids[half - 1], *ids[-1]), made)

    def _turn(self, start: int, ids: tuple[int, ...]) -> Turn:
        pieces = [self._pieces[i] for i in ids]
        if pieces[0] == "<|tool_call>":
            is_slot, is_name = mark_call_slots(pieces)
        else:
            is_slot, is_name = mark_answer_slots(pieces), [False] * len(pieces)
        return Turn(start, ids, tuple(is_slot), tuple(is_name))


def mark_call_slots(pieces: list[str]) -> tuple[list[bool], list[bool]]:
    """Mark the tokens of argument values, and those of tools' names, in a turn of calls."""
    is_slot, is_name = [False] * len(pieces), [False] * len(pieces)
    is_quoted = is_value = is_naming = is_list = False
    for i, piece in enumerate(pieces):
        if piece == "<|tool_call>":
            is_naming, is_value, is_list = False, False, False
        elif piece == '<|"|>':
            is_quoted = not is_quoted
            is_value = is_value and is_quoted
        elif is_quoted:
            is_slot[i] = True
        elif is_list or (is_value and piece.startswith("[")):
            is_slot[i] = is_list  # how many items a list has is the model's choice
            is_list = not piece.endswith("]")
        elif piece == ":":
            is_naming, is_value = not is_value and pieces[i - 2 : i] == ["<|tool_call>", "call"], True
        elif piece in ("{", "}", ","):
            is_naming = is_value = False
        elif is_naming:
            is_name[i] = True
        elif is_value:
            is_slot[i] = True
    return is_slot, is_name


def mark_answer_slots(pieces: list[str]) -> list[bool]:
    """Mark the tokens of values in a JSON answer; in a text, all but the end token."""
    if pieces[0] != "{":
        return [True] * (len(pieces) - 1) + [False]
    is_slot = [False] * len(pieces)
    is_quoted = is_key = False
    depth = 0
    for i, piece in enumerate(pieces):
        if piece == '"':
            is_key = not is_quoted and depth == 0 and pieces[i - 1] in ("{", ",")
            is_quoted = not is_quoted
        elif is_quoted:
            is_slot[i] = not is_key
        elif piece in "[]":
            depth += 1 if piece == "[" else -1
        elif piece not in ("{", "}", ",", ":", "<turn|>"):
            is_slot[i] = True
    return is_slot


def stream_examples(
    encoder: Encoder,
    *,
    seed: int,
    first: int = 0,
    split: Split = "train",
    mixture: Mapping[str, float] = MIXTURE,
) -> Iterator[Example]:
    """Give the examples of the stream from conversation `first` on, without end."""
    index = first
    while True:
        yield encoder.encode(make_conversation(seed, index, split=split, mixture=mixture))
        index += 1


def choose_canvases(example: Example, num_canvases: int, length: int, rng: random.Random) -> list[tuple[Turn, int]]:
    """Choose canvases of an example: as many as asked, all of them once before any is repeated.

    Returns:
        Pairs of a turn and the offset of the canvas in it.
    """
    every = [(turn, offset) for turn in example.turns for offset in range(0, len(turn.ids), length)]
    if len(every) > num_canvases:
        return rng.sample(every, num_canvases)
    return [every[i % len(every)] for i in range(num_canvases)]
