"""A tokenizer of bytes and control tokens, enough to exercise the protocol."""

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from agentflow.protocol import CONTROL_TOKENS


@pytest.fixture(scope="session")
def tokenizer():
    """Give a byte-level tokenizer without merges, with every control token of the protocol."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    inner = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    inner.add_special_tokens(list(CONTROL_TOKENS))
    return PreTrainedTokenizerFast(tokenizer_object=inner)
