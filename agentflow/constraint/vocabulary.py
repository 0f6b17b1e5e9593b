"""A vocabulary: what each token spells, as the automata need it.

    "Par" -> 3917 -> b"Par"         text tokens have bytes
    <|"|> ->   52 -> None           control tokens have none: no text can contain one
    end ids: tokens that end the output; their bytes, if any, are out of the alphabet

The vocabulary also knows the tokenizer's own (canonical) way of cutting a literal. It knows no model.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property, lru_cache
from itertools import chain
from types import MappingProxyType
from typing import Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt

from agentflow.constraint.first_use import announce_compiling
from agentflow.constraint.kernels import build_trie
from agentflow.constraint.pairs import AddedTokens, PairTable, Parts, encode_pairs, encode_parts, read_pairs
from agentflow.constraint.store import Store
from agentflow.errors import ConfigurationError

Encoder = Callable[[str], Sequence[int]]
"""Text -> token ids, the canonical ones."""

_PLACEHOLDER = re.compile(r"<unused\d+>|\[multimodal\]")
_CONTROL = re.compile(r"<\|.*>|<.*\|>")
_LARGE = 10_000
_MAX_CACHED_LITERALS = 16_384
_MAX_CACHED_BYTES, _MAX_PASSING_BYTES = 256 << 20, 16 << 20
_log = logging.getLogger(__name__)
_FEW_LITERALS = 16
_MANY_LITERALS = 256
_NUMBER_BORDER = re.compile(rb"[:,\[({](?=([-0-9]))")


class Trie(NamedTuple):
    """All text tokens in depth-first order; see `agentflow.constraint.kernels.build_trie`."""

    byte: npt.NDArray[np.uint8]
    depth: npt.NDArray[np.int32]
    skip: npt.NDArray[np.int32]
    token: npt.NDArray[np.int32]


class Vocabulary:
    """The tokens of a model.

    Attributes:
        token_bytes: Bytes of each token; ``None`` for control tokens and others that are never text.
        end_ids: Tokens that end a JSON value or an answer.
        control_ids: Id of each control token by its text, e.g. ``{'<|"|>': 52}``.
        tail_id: Token that fills a canvas behind the end token, see `__init__`; ``None``: anything may stand there.
    """

    def __init__(
        self,
        token_bytes: Sequence[bytes | None],
        end_ids: Iterable[int],
        control_ids: Mapping[str, int] = MappingProxyType({}),
        *,
        encoder: Encoder | None = None,
        tail_id: int | None = None,
    ) -> None:
        """Make a vocabulary.

        Args:
            token_bytes: Bytes of each token id; ``None`` for a token that is not text.
            end_ids: At least one id that ends the output.
            control_ids: Control tokens by their text.
            encoder: The tokenizer's own way of cutting text; the default takes the longest token each time.
            tail_id: Token with which the model was trained to fill the canvas behind the end token. The tail is then
                scored as this token, so the model's belief about the length counts. ``None``: the tail is free,
                whatever stands in it, which favours short outputs while the model is uncertain.

        Raises:
            ConfigurationError: No end id, or an id out of range.
        """
        announce_compiling()
        self.token_bytes = tuple(token_bytes)
        self.end_ids = frozenset(end_ids)
        self.control_ids = MappingProxyType(dict(control_ids))
        self.tail_id = tail_id
        tail = () if tail_id is None else (tail_id,)
        bad = [i for i in (*self.end_ids, *self.control_ids.values(), *tail) if not 0 <= i < len(self.token_bytes)]
        if bad:
            raise ConfigurationError(f"token ids {bad} are outside the vocabulary of {len(self.token_bytes)}")
        if not self.end_ids:
            raise ConfigurationError(
                "a vocabulary needs at least one end id", hint="pass end_ids={tokenizer.eos_token_id}"
            )
        self._encoder = encoder
        self._literals: dict[str, tuple[int, ...] | None] = {}
        self._backend: Any = None  # of a tokenizer whose merges may be read
        self._added = AddedTokens(())
        self._pairs: PairTable | None = None
        self._is_pairs_tried = False
        self.fragments = Store(_MAX_CACHED_BYTES)
        """Token tables of slots, shared by all constraints; see `agentflow.constraint.index`."""
        self.passing_fragments = Store(_MAX_PASSING_BYTES)
        """The same of texts, which do not come again when they went on."""

    def __len__(self) -> int:
        """Give the number of token ids."""
        return len(self.token_bytes)

    @classmethod
    def from_bytes(cls, token_bytes: Sequence[bytes | None], *, eos_token_ids: Iterable[int]) -> Vocabulary:
        """Make a vocabulary without control tokens."""
        return cls(token_bytes, eos_token_ids)

    @classmethod
    def from_tokenizer(
        cls,
        tokenizer: Any,
        *,
        end_ids: Iterable[int] | None = None,
        size: int | None = None,
        tail_id: int | None = None,
    ) -> Vocabulary:
        """Read the vocabulary of a Hugging Face fast tokenizer (byte-level BPE, or BPE with byte fallback).

        Args:
            tokenizer: A ``PreTrainedTokenizerFast``.
            end_ids: Tokens that end the output; default: the tokenizer's end-of-sequence token.
            size: Number of ids of the model's logits, where it is larger than the tokenizer's.
            tail_id: Token that fills a canvas behind the end token; see the constructor.

        Raises:
            ConfigurationError: A kind of tokenizer whose tokens do not spell bytes.
        """
        backend = tokenizer.backend_tokenizer
        pieces = _read_pieces(backend)
        kind = repr(backend.decoder)
        if "WordPiece" in kind or not ("ByteLevel" in kind or "ByteFallback" in kind or "Metaspace" in kind):
            raise ConfigurationError(
                f"cannot tell which bytes the tokens of a {kind.partition('(')[0] or 'plain'} tokenizer spell",
                hint="use a byte-level BPE or SentencePiece-style tokenizer",
            )
        added = tokenizer.added_tokens_decoder
        controls = {t.content: i for i, t in added.items() if t.special or _CONTROL.fullmatch(t.content)}
        if end_ids is None:
            end_ids = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
        num = max(len(pieces), size or 0)
        byte_ids = _byte_ids(backend)
        token_bytes = _decode_byte_level(pieces) if "ByteLevel" in kind else _decode_fallback(pieces, byte_ids)
        token_bytes += [None] * (num - len(pieces))
        for i, token in added.items():
            content = token.content if "ByteLevel" in kind else token.content.replace("▁", " ")
            token_bytes[i] = None if _PLACEHOLDER.fullmatch(content) else content.encode()
        for i in controls.values():
            token_bytes[i] = None
        _drop_doubles(token_bytes, byte_ids, backend)
        encoder = _make_encoder(backend, list(added.values()))
        vocabulary = cls(token_bytes, end_ids, controls, encoder=encoder, tail_id=tail_id)
        vocabulary._backend = backend
        vocabulary._added = AddedTokens([token.content for token in added.values()])
        return vocabulary

    def encode(self, text: str) -> tuple[int, ...]:
        """Cut a literal into its canonical tokens.

        Raises:
            ConfigurationError: The vocabulary cannot spell it.
        """
        if text not in self._literals:
            if len(self._literals) > _MAX_CACHED_LITERALS:
                self._literals.clear()
            self._literals[text] = self._encode(text)
        ids = self._literals[text]
        if ids is None:
            raise ConfigurationError(f"the vocabulary cannot spell {text!r}")
        return ids

    def encode_ahead(self, texts: Sequence[str]) -> None:
        """Cut literals that may be asked for, all at once; those that this does not serve are cut one by one."""
        if self._pairs is None:
            return
        if len(self._literals) + len(texts) > _MAX_CACHED_LITERALS:
            self._literals.clear()
        missing = [text for text in texts if text and text not in self._literals]
        if len(missing) < _FEW_LITERALS:
            return
        found = encode_pairs(missing, self._pairs, self._added)
        if self._are_right(missing, found):
            self._literals.update((text, ids) for text, ids in zip(missing, found, strict=True) if ids is not None)

    def encode_parts(self, text: str, low: npt.NDArray[np.int64], high: npt.NDArray[np.int64]) -> Parts:
        """Cut parts of a text into their canonical tokens; see `agentflow.constraint.pairs.encode_parts`.

        Raises:
            ConfigurationError: The vocabulary cannot spell one of them.
        """
        if not self._is_pairs_tried:
            first = zip(low[:_MANY_LITERALS].tolist(), high[:_MANY_LITERALS].tolist(), strict=True)
            self.encode_ahead([text[a:b] for a, b in first])
        if self._pairs is None or not self._is_pairs_tried:
            return self._ask(text, low, high)
        parts = encode_parts(text, low, high, self._pairs, self._added)
        strange = np.flatnonzero(parts.size < 0)
        if len(strange):
            asked = self._ask(text, low[strange], high[strange])
            parts.begin[strange], parts.size[strange] = asked.begin + len(parts.tokens), asked.size
            parts = parts._replace(tokens=np.append(parts.tokens, asked.tokens))
        return parts

    def _ask(self, text: str, low: npt.NDArray[np.int64], high: npt.NDArray[np.int64]) -> Parts:
        """Cut parts of a text one by one."""
        texts = [text[a:b] for a, b in zip(low.tolist(), high.tolist(), strict=True)]
        ids_of = {part: self.encode(part) for part in dict.fromkeys(texts)}
        found = [ids_of[part] for part in texts]
        size = np.fromiter(map(len, found), np.int64, len(found))
        return Parts(np.cumsum(size) - size, size, np.fromiter(chain.from_iterable(found), np.int64, int(size.sum())))

    def _are_right(self, texts: Sequence[str], found: Sequence[tuple[int, ...] | None]) -> bool:
        """Hold merges, which may come from a file, against the tokenizer, once; wrong ones are dropped."""
        if not self._is_pairs_tried:
            self._is_pairs_tried = True
            tried = zip(texts[:_MANY_LITERALS], found, strict=False)
            if any(ids is not None and ids != self._encode(text) for text, ids in tried):
                _log.warning("the merges that were read give other tokens than the tokenizer; it is asked each time")
                self._pairs = None
        return self._pairs is not None

    def _encode(self, text: str) -> tuple[int, ...] | None:
        if self._encoder is not None:
            ids = tuple(self._encoder(text))
            spelt = b"".join([self.token_bytes[i] or b"\xff" for i in ids])
            if spelt == text.encode() and self.end_ids.isdisjoint(ids):
                return ids
        return self._encode_longest(text.encode())

    def _encode_longest(self, data: bytes) -> tuple[int, ...] | None:
        """Take the longest token each time, going back where that ends nowhere."""
        ids_by_bytes, longest = self.ids_by_bytes
        dead: set[int] = set()
        path: list[tuple[int, int]] = []  # token, where it ends
        at, limit = 0, longest
        while at < len(data):
            for end in range(min(len(data), at + limit), at, -1):
                token = ids_by_bytes.get(data[at:end])
                if token is not None and end not in dead:
                    path.append((token, end))
                    at, limit = end, longest
                    break
            else:
                dead.add(at)
                if not path:
                    return None
                _, end = path.pop()
                at = path[-1][1] if path else 0
                limit = end - at - 1
        return tuple(token for token, _ in path)

    @cached_property
    def ids_by_bytes(self) -> tuple[dict[bytes, int], int]:
        """Text tokens by their bytes, and the length of the longest."""
        table: dict[bytes, int] = {}
        for token, data in enumerate(self.token_bytes):
            if data and token not in self.end_ids:
                table.setdefault(data, token)
        return table, max(map(len, table), default=0)

    @cached_property
    def trie(self) -> Trie:
        """The text tokens as a trie."""
        table = self.ids_by_bytes[0]
        ordered = sorted(table)
        flat = np.frombuffer(b"".join(ordered), np.uint8).copy()
        offsets = np.zeros(len(ordered) + 1, np.int64)
        np.cumsum([len(data) for data in ordered], out=offsets[1:])
        tokens = np.array([table[data] for data in ordered], np.int32)
        return Trie(*build_trie(flat, offsets, tokens))

    @cached_property
    def number_borders(self) -> frozenset[str]:
        """Characters of numbers that some token writes together with the mark before a number."""
        found = {pair for data in self.token_bytes if data for pair in _NUMBER_BORDER.findall(data)}
        return frozenset(pair.decode() for pair in found)

    @property
    def is_large(self) -> bool:
        """Whether what is computed for it takes seconds, so that it is kept on disk."""
        return len(self) >= _LARGE

    def prepare(self) -> None:
        """Compute now what is otherwise computed when it is first needed; large vocabularies are cached on disk."""
        from agentflow.constraint.prepared import prepare

        prepare(self)

    def read_pairs(self) -> PairTable | None:
        """Read the tokenizer's merges, which takes seconds; ``None``: there are none, or they do not say it all."""
        return None if self._backend is None else read_pairs(self._backend, self.token_bytes, self.end_ids)

    def take_pairs(self, pairs: PairTable | None) -> None:
        """Use merges that were read before."""
        self._pairs = pairs

    def take_trie(self, trie: Trie) -> None:
        """Use a trie that was computed before."""
        self.__dict__["trie"] = trie

    @cached_property
    def fingerprint(self) -> str:
        """Hash of everything that a token table depends on."""
        usable = [b"" if data is None or i in self.end_ids else data for i, data in enumerate(self.token_bytes)]
        lengths = np.fromiter(map(len, usable), np.int32, len(usable))
        digest = hashlib.blake2b(lengths.tobytes(), digest_size=16)
        digest.update(b"".join(usable))
        return digest.hexdigest()


def _read_pieces(backend: Any) -> list[str | None]:
    """Give the piece of each id; holes are ``None``."""
    num = backend.get_vocab_size(with_added_tokens=True)
    pieces = [backend.id_to_token(i) for i in range(num)]
    if None in pieces:  # ids behind the holes
        vocabulary = backend.get_vocab(with_added_tokens=True)
        pieces = [None] * (max(vocabulary.values()) + 1)
        for piece, token in vocabulary.items():
            pieces[token] = piece
    return pieces


def _decode_fallback(pieces: list[str | None], byte_ids: Mapping[int, int]) -> list[bytes | None]:
    """Spell pieces that write spaces as ``▁`` and lone bytes as ``<0x..>``, all at once: there are many."""
    known = [piece or "" for piece in pieces] if None in pieces else cast("list[str]", pieces)
    joined = "\0".join(known)
    found: list[bytes | None]
    if joined.count("\0") == len(known) - 1:
        found = list(joined.replace("▁", " ").encode().split(b"\0"))
    else:
        found = [piece.replace("▁", " ").encode() for piece in known]
    for token, byte in byte_ids.items():
        found[token] = bytes([byte])
    if None in pieces:
        found = [None if piece is None else data for piece, data in zip(pieces, found, strict=True)]
    return found


def _byte_ids(backend: Any) -> dict[int, int]:
    """Give the tokens that stand for one byte by its number, and the bytes."""
    ids = {backend.token_to_id(f"<0x{byte:02X}>"): byte for byte in range(256)}
    return {token: byte for token, byte in ids.items() if token is not None}


@lru_cache(maxsize=1)
def _byte_level_alphabet() -> dict[str, int]:
    """Give the bytes that GPT-2's printable characters stand for."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in set(plain)]
    return {chr(b): b for b in plain} | {chr(256 + i): b for i, b in enumerate(others)}


def _decode_byte_level(pieces: list[str | None]) -> list[bytes | None]:
    alphabet = _byte_level_alphabet()

    def decode(piece: str) -> bytes:
        known = [alphabet.get(char, -1) for char in piece]
        return piece.encode() if -1 in known else bytes(known)

    return [None if piece is None else decode(piece) for piece in pieces]


def _drop_doubles(token_bytes: list[bytes | None], byte_ids: Mapping[int, int], backend: Any) -> None:
    """Take a byte-fallback token out where a proper token spells the same byte."""
    for token, byte in byte_ids.items():
        for piece in (chr(byte), "▁") if byte == ord(" ") else (chr(byte),):
            proper = backend.token_to_id(piece)
            if proper is not None and token_bytes[proper] == bytes([byte]):
                token_bytes[token] = None


def _make_encoder(backend: Any, added: list[Any]) -> Encoder:
    """Cut text as the tokenizer does, but never into a control token that is spelt out in it."""
    specials = sorted((t.content for t in added if t.special or _CONTROL.fullmatch(t.content)), key=len, reverse=True)
    pattern = re.compile("(?=" + "|".join(map(re.escape, specials)) + ")") if specials else None

    def encode(text: str) -> list[int]:
        cuts = [m.start() + 1 for m in pattern.finditer(text)] if pattern and ("<" in text or "[" in text) else []
        ids: list[int] = []
        for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True):
            if start < end:
                ids += backend.encode(text[start:end], add_special_tokens=False).ids
        return ids

    return encode
