"""What the tests of the constraint layer share: small vocabularies and an enumerator."""

from __future__ import annotations

import itertools

import torch

from agentflow.constraint import Vocabulary

CONTROLS = (
    "<eos>", "<|turn>", "<turn|>", "<|tool_call>", "<tool_call|>", "<|tool_response>", "<tool_response|>", '<|"|>',
    "<|channel>", "<channel|>",
)  # fmt: skip
WORDS = (
    '","', '":"', '{"', '"}', '":', ',"', '."', '"]', '["', "true", "false", "null", "12", "city", "Paris", "Par", "is",
    " to", " Rome", "Rome", "thought", "call", ":", "\\n", "ab", "abc", 'b"', "1,",
)  # fmt: skip


def make_vocabulary(words: tuple[str, ...] = WORDS) -> Vocabulary:
    """Every byte, some words, and the control tokens."""
    texts = [bytes([b]) for b in range(256)] + [w.encode() for w in words if len(w.encode()) > 1]
    controls = {text: len(texts) + i for i, text in enumerate(CONTROLS)}
    return Vocabulary([*texts, *[None] * len(CONTROLS)], {controls["<eos>"]}, controls)


def spell(ids: list[int], vocabulary: Vocabulary) -> str:
    """Write ids as text, control tokens by name, up to the first end."""
    names = {i: text for text, i in vocabulary.control_ids.items()}
    spelt = b""
    for token in ids:
        spelt += names[token].encode() if token in names else vocabulary.token_bytes[token] or b"?"
        if names.get(token) in ("<eos>", "<turn|>", "<|tool_response>"):
            break
    return spelt.decode()


def random_log_probs(num_rows: int, length: int, num_tokens: int, *, seed: int, scale: float = 3.0) -> torch.Tensor:
    """Random normalised distributions."""
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(num_rows, length, num_tokens, generator=generator, dtype=torch.float64) * scale).log_softmax(-1)


def enumerate_paths(constraint, state: int, length: int, left: int) -> list[tuple[int, ...]]:
    """Give every string of `length` tokens that the constraint allows from `state` and that can finish in time."""
    paths = [((), state)]
    for _ in range(length):
        paths = [
            ((*ids, token), constraint.advance(at, [token]))
            for ids, at in paths
            for token in constraint.allowed(at).nonzero()[0].tolist()
        ]
    return [ids for ids, at in paths if constraint.tokens_to_end(at) <= left]


def brute_force(
    log_probs: torch.Tensor, paths: list[tuple[int, ...]]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Give log partition, marginals (L, V) and the path with the highest probability by enumeration."""
    index = torch.tensor(paths)
    scores = log_probs[torch.arange(index.shape[1]), index].sum(-1)
    log_partition = scores.logsumexp(0)
    weights = (scores - log_partition).exp()
    marginals = torch.zeros_like(log_probs)
    for i, v in itertools.product(range(index.shape[1]), range(log_probs.shape[1])):
        marginals[i, v] = weights[index[:, i] == v].sum()
    return log_partition, marginals, index[scores.argmax()]
