r"""The tokenizer of the embedded model: byte-level BPE made for copying.

A word has the same tokens wherever it stands, so that a span copied from the prompt has the token ids
that it had there: letters, digits, spaces and signs never share a token, words are cut where the case
changes, and digits stand alone. Only fixed pieces of prompts, which never stand in an answer, are one
token across signs:

    [get] [_] [weather] [:{description:] <|"|> [Date] [ ] [as] ...   [2] [0] [3] [1] [-] [0] [5]
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from agentflow.protocol.control import CONTROL_TOKENS, Control, Segment

VOCAB_SIZE = 2048
"""Tokens, control tokens included."""

_NAMED_TOKENS = {"pad_token": "<pad>", "eos_token": "<eos>", "bos_token": "<bos>", "unk_token": "<unk>"}
_PROMPT_PIECES = (
    r'Answer in JSON: \{"type":"object","properties":\{"',
    r'Answer in JSON: \{"properties":\{"',
    r'":\{"type":"',
    r'"\}\},"required":\["',
    r'"\],"type":"object"\}',
    r",parameters:\{properties:\{",
    r",parameters:\{type:",
    r"\},required:\[",
    r"\],type:",
    r":\{description:",
)
_WORD_PIECES = (r"\p{Lu}?\p{Ll}+", r"\p{Lu}+", r"\p{L}", r"\p{N}", r"[\s\S]")


def train_tokenizer(texts: Iterable[str], *, vocab_size: int = VOCAB_SIZE) -> Any:
    """Train the tokenizer on texts and give it as a Hugging Face fast tokenizer.

    Args:
        texts: Plain texts; control tokens in them are cut out.
        vocab_size: Tokens, control tokens included.
    """
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex("|".join((*_PROMPT_PIECES, *_WORD_PIECES))), behavior="isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])  # fmt: skip
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[AddedToken(text, special=True, normalized=False) for text in CONTROL_TOKENS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        **_NAMED_TOKENS,
        model_max_length=2048,
        clean_up_tokenization_spaces=False,
    )


def control_ids(tokenizer: Any) -> dict[str, int]:
    """Give the id of every control token."""
    ids: dict[str, int] = {text: tokenizer.convert_tokens_to_ids(text) for text in CONTROL_TOKENS}
    return ids


def plain_text(segments: Sequence[Segment]) -> str:
    """Write segments as one text, control tokens spelt out."""
    return "".join(segment.text if isinstance(segment, Control) else segment for segment in segments)
