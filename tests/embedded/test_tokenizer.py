"""The tokenizer: one token per control token, the same tokens for a word wherever it stands."""

from __future__ import annotations

import pytest

from agentflow.embedded.data.conversations import make_conversation
from agentflow.embedded.examples import Encoder
from agentflow.embedded.tokenizer import control_ids, plain_text
from agentflow.protocol import CONTROL_TOKENS, decode, encode, parse_turn, render_prompt, render_turn
from agentflow.types import AssistantMessage


def test_control_tokens_are_single_and_come_first(tokenizer):
    """Every control token of the protocol is one token, in the protocol's order."""
    assert list(control_ids(tokenizer).values()) == list(range(len(CONTROL_TOKENS)))
    assert len(tokenizer) == 512


@pytest.mark.parametrize(
    "text", ["save 12.5 to Rent", "naïve café 東京 \t\n x", "{'a': [1, 2.50]}", "https://a.io/x_y-z", "  two  spaces"]
)
def test_text_comes_back(tokenizer, text):
    """Encoding and decoding gives the text, whatever it holds."""
    assert decode(encode([text], tokenizer), tokenizer) == [text]


@pytest.mark.parametrize("word", ["Rent", "2026-03-14", "plants", "report.txt", "water the plants"])
def test_a_span_has_the_same_tokens_everywhere(tokenizer, word):
    """A value is spelt by the same ids in a sentence, in quotes and alone: copying is copying ids."""
    alone = encode([word], tokenizer)
    for before, after in ((" ", "."), ('"', '"'), ("called ", ", and"), (":", "}")):
        whole = encode([before + word + after], tokenizer)
        start = len(encode([before], tokenizer))
        assert whole[start : start + len(alone)] == alone


def test_digits_stand_alone(tokenizer):
    """No token holds two digits."""
    assert len(encode(["1234567890"], tokenizer)) == 10


@pytest.mark.slow
def test_examples_are_what_the_protocol_writes(tokenizer):
    """The fast encoding of a conversation equals the protocol's, and each turn reads back as its message."""
    encoder = Encoder(tokenizer)
    for index in range(40):
        conversation = make_conversation(6, index)
        example = encoder.encode(conversation)
        turns = [m for m in conversation.messages if isinstance(m, AssistantMessage)]
        last = [*render_prompt(conversation.messages[:-1], conversation.tools, conversation.output_schema)]
        last += render_turn(turns[-1])
        assert list(example.ids) == encode(last, tokenizer)
        assert "".join(tokenizer.decode([i]) for i in example.ids) == plain_text(last)
        for turn, message in zip(example.turns, turns, strict=True):
            assert example.ids[turn.start : turn.start + len(turn.ids)] == turn.ids
            read = parse_turn(decode(turn.ids, tokenizer))
            assert read.text == message.text
            assert [(c.name, c.arguments) for c in read.tool_calls] == [
                (c.name, c.arguments) for c in message.tool_calls
            ]


def test_slots_are_the_values_of_calls_and_answers():
    """What the model chooses is told from what the structure forces."""
    from agentflow.embedded.examples import mark_answer_slots, mark_call_slots

    call = [
        "<|tool_call>",
        "call",
        ":",
        "add",
        "_",
        "days",
        "{",
        "date",
        ":",
        '<|"|>',
        "2",
        ":",
        "5",
        '<|"|>',
        ",",
        "days",
    ]
    call += [":", "1", "4", "}", "<tool_call|>", "<|tool_response>"]
    is_slot, is_name = mark_call_slots(call)
    assert [p for p, s in zip(call, is_slot, strict=True) if s] == ["2", ":", "5", "1", "4"]
    assert [p for p, n in zip(call, is_name, strict=True) if n] == ["add", "_", "days"]
    answer = ["{", '"', "a", '"', ":", '"', "x", ",", "y", '"', ",", '"', "b", '"', ":", "1", ".", "5", "}", "<turn|>"]
    is_slot = mark_answer_slots(answer)
    assert [p for p, s in zip(answer, is_slot, strict=True) if s] == ["x", ",", "y", "1", ".", "5"]
