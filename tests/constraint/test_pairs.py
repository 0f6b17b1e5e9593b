"""Texts cut by a tokenizer's merges, against the tokenizer itself."""

from __future__ import annotations

import random

import numpy as np
import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from agentflow.constraint import Vocabulary
from agentflow.constraint.pairs import AddedTokens, encode_pairs, read_pairs

LETTERS = ["▁", *"abcdxé日😀"]
ADDED = ["▁▁", "<b>", "<|x|>"]


def make_backend(*, normalizer=None, is_ignoring: bool = False) -> Tokenizer:
    """A tokenizer with random merges, written as SentencePiece writes spaces."""
    rng = random.Random(5)  # noqa: S311 - test data
    pieces = ["<eos>", "<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), *LETTERS]
    merges: list[tuple[str, str]] = []
    while len(merges) < 60:
        pair = (rng.choice(pieces[258:]), rng.choice(pieces[258:]))
        if pair not in merges and len("".join(pair)) < 7:
            merges.append(pair)
            pieces += [] if "".join(pair) in pieces else ["".join(pair)]
    vocabulary = {piece: i for i, piece in enumerate(pieces)}
    options = {"byte_fallback": True, "unk_token": "<unk>", "fuse_unk": True, "ignore_merges": is_ignoring}
    model = models.BPE(vocabulary, merges, **options)
    backend = Tokenizer(model)
    backend.normalizer = normalizers.Replace(" ", "▁") if normalizer is None else normalizer
    backend.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    backend.add_special_tokens(["<eos>"])
    backend.add_tokens([AddedToken(text, normalized=False) for text in ADDED])
    return backend


def make_vocabulary(backend: Tokenizer) -> Vocabulary:
    """The vocabulary of a tokenizer."""
    end_ids = {backend.token_to_id("<eos>")}
    return Vocabulary.from_tokenizer(PreTrainedTokenizerFast(tokenizer_object=backend), end_ids=end_ids)


def random_texts(num: int) -> list[str]:
    """Texts of known and unknown characters, spaces, and added tokens."""
    rng = random.Random(7)  # noqa: S311 - test data
    pieces = [*"aabbccddxé日😀", " ", " ", "  ", "ß", "▁", "<", "<b>", "<eos>"]
    return list(dict.fromkeys("".join(rng.choices(pieces, k=rng.randint(1, 12))) for _ in range(num)))


def test_texts_are_cut_as_the_tokenizer_cuts_them():
    """The same tokens, or the word that the tokenizer has to be asked."""
    backend = make_backend()
    vocabulary = make_vocabulary(backend)
    table = vocabulary.read_pairs()
    texts = random_texts(1000)
    found = encode_pairs(texts, table, AddedTokens([*ADDED, "<eos>"]))
    cut = {text: ids for text, ids in zip(texts, found, strict=True) if ids is not None}
    assert cut == {text: tuple(backend.encode(text, add_special_tokens=False).ids) for text in cut}
    assert all(any(strange in text for strange in ("ß", "▁", "<")) for text in set(texts) - set(cut))
    assert len(cut) > 150


def test_a_vocabulary_spells_many_texts_as_it_spells_each():
    """With the merges and without them, each text has the same tokens."""
    backend = make_backend()
    quick, slow = make_vocabulary(backend), make_vocabulary(backend)
    quick.take_pairs(quick.read_pairs())
    texts = random_texts(300)
    quick.encode_ahead(texts)
    assert [quick.encode(text) for text in texts] == [slow.encode(text) for text in texts]


def all_parts(text: str) -> tuple[np.ndarray, np.ndarray]:
    """Where the parts of a text begin and end: those that begin together together, the longest last."""
    places = [(low, high) for low in range(len(text)) for high in range(low + 1, len(text) + 1)]
    return tuple(np.array(places, np.int64).T)


@pytest.mark.parametrize("is_quick", [True, False], ids=["merges", "asked"])
def test_parts_of_a_text_are_cut_as_each_alone(is_quick):
    """Parts are cut within each other's tokens; characters without a token and added tokens among them."""
    vocabulary, slow = make_vocabulary(make_backend()), make_vocabulary(make_backend())
    if is_quick:
        vocabulary.take_pairs(vocabulary.read_pairs())
    for text in ["abcdab" + "".join(random_texts(12)[i : i + 2]) for i in range(0, 12, 2)]:
        low, high = all_parts(text)
        begin, size, tokens = vocabulary.encode_parts(text, low, high)
        for part, (a, b) in enumerate(zip(low.tolist(), high.tolist(), strict=True)):
            found = tokens[begin[part] : begin[part] + size[part]]
            assert tuple(found.tolist()) == slow.encode(text[a:b]), text[a:b]


def test_merges_of_another_tokenizer_are_dropped():
    """What a file holds is held against the tokenizer before it is used."""
    vocabulary = make_vocabulary(make_backend())
    table = vocabulary.read_pairs()
    vocabulary.take_pairs(table._replace(value=table.value[::-1].copy()))
    texts = random_texts(300)
    vocabulary.encode_ahead(texts)
    other = make_vocabulary(make_backend())
    assert [vocabulary.encode(text) for text in texts] == [other.encode(text) for text in texts]


@pytest.mark.parametrize("way", ["normalizer", "ignoring", "cutting"])
def test_other_tokenizers_are_asked_themselves(way):
    """A tokenizer that does more than merging characters is not read."""
    backend = make_backend(
        normalizer=normalizers.NFKC() if way == "normalizer" else None, is_ignoring=way == "ignoring"
    )
    if way == "cutting":
        backend.pre_tokenizer = pre_tokenizers.Split("a", "isolated")
    vocabulary = make_vocabulary(backend)
    assert read_pairs(backend, vocabulary.token_bytes, vocabulary.end_ids) is None


def test_an_added_run_of_spaces_is_spaces():
    """Gemma adds runs of spaces as ``▁▁``; read as those marks, indentation had to be written space by space."""
    vocabulary = make_vocabulary(make_backend())
    token = make_backend().token_to_id("▁▁")
    assert vocabulary.token_bytes[token] == b"  "
