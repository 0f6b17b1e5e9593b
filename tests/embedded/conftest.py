"""A tokenizer trained on a few conversations, and a tiny model, for the tests of this room."""

from __future__ import annotations

import pytest

from agentflow.embedded.configuration import EmbeddedShape, build_model
from agentflow.embedded.data.conversations import make_conversation
from agentflow.embedded.tokenizer import control_ids, train_tokenizer
from agentflow.protocol import render_prompt, render_turn


@pytest.fixture(scope="session")
def tokenizer():
    """Give a tokenizer of 512 tokens."""
    texts = []
    for index in range(60):
        conversation = make_conversation(5, index)
        *before, last = conversation.messages
        segments = [*render_prompt(before, conversation.tools, conversation.output_schema), *render_turn(last)]
        texts += [segment for segment in segments if isinstance(segment, str)]
    return train_tokenizer(texts, vocab_size=512)


@pytest.fixture(scope="session")
def shape():
    """Give the sizes of a tiny model."""
    return EmbeddedShape(
        vocab_size=512,
        hidden_size=32,
        intermediate_size=48,
        num_layers=3,
        num_heads=4,
        num_kv_heads=2,
        head_dim=8,
        canvas_length=24,
    )


@pytest.fixture
def model(tokenizer, shape):
    """Give an untrained tiny model."""
    import torch

    torch.manual_seed(0)
    return build_model(shape, control_ids=control_ids(tokenizer)).eval()
