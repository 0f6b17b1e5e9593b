"""A schema as one object: the door to this room for those who bring their own model.

    >>> from agentflow.constraint import Vocabulary, compile_schema
    >>> pieces = [b"[", b"]", b",", b"7", b"8", b"-", None]
    >>> vocabulary = Vocabulary.from_bytes(pieces, eos_token_ids=[6])
    >>> automaton = compile_schema({"type": "array", "items": {"enum": [7, 8]}, "maxItems": 2}, vocabulary)
    >>> automaton.accepts([0, 3, 2, 4, 1])                        # [7,8]
    True
    >>> automaton.allowed([0, 3]).nonzero()[:, 0].tolist()        # after [7 comes ] or a comma
    [1, 2]

    >>> import torch
    >>> log_probs = torch.full((9, 7), -1.0).log_softmax(-1)      # (L, V), independent per position
    >>> posterior = automaton.posterior(log_probs)
    >>> posterior.marginals().shape, posterior.entropy.shape
    (torch.Size([9, 7]), torch.Size([9]))
    >>> ids = posterior.sample(generator=torch.Generator().manual_seed(0))
    >>> automaton.accepts(automaton.trim(ids.tolist()))
    True

It speaks token ids and log-probabilities, and knows no model. `agentflow.constraint.processor` puts it into
transformers' own loop.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch

from agentflow.constraint.compiled import Constraint, Statistics, compile_constraint
from agentflow.constraint.grammar import json_grammar
from agentflow.constraint.grounding import Grounding
from agentflow.constraint.limits import CompileLimits
from agentflow.constraint.printers import Surface, Whitespace
from agentflow.constraint.trellis import Posterior, condition
from agentflow.constraint.vocabulary import Vocabulary
from agentflow.errors import ConfigurationError
from agentflow.types import JsonSchema, OnUnsupported


class SchemaAutomaton:
    """The valid outputs of a schema, for one vocabulary of ``V`` tokens. Made by `compile_schema`.

    Attributes:
        constraint: The token automaton.
        unchecked: Keyword and JSON pointer of everything that is left to a check after decoding; empty unless
            ``on_unsupported="check"`` was asked for.
    """

    def __init__(self, constraint: Constraint, unchecked: Sequence[tuple[str, str]] = ()) -> None:
        self.constraint = constraint
        self.unchecked = tuple(unchecked)

    @property
    def vocabulary(self) -> Vocabulary:
        """The vocabulary."""
        return self.constraint.vocabulary

    @property
    def min_tokens(self) -> int:
        """Fewest tokens of a valid output, its end token included."""
        return self.constraint.min_tokens

    @property
    def max_tokens(self) -> int | None:
        """Most tokens of a valid output, its end token included; ``None``: no bound."""
        return self.constraint.max_tokens

    def statistics(self) -> Statistics:
        """Give the sizes of the automaton."""
        return self.constraint.statistics()

    def accepts(self, token_ids: Iterable[int]) -> bool:
        """Say whether `token_ids` are a valid output, with or without the end token behind them."""
        ids = [int(token) for token in token_ids]
        return self.constraint.accepts(ids) or any(self.constraint.accepts([*ids, end]) for end in self._end_ids)

    def allowed(self, prefix_ids: Iterable[int] = (), *, num_tokens_left: int | None = None) -> torch.Tensor:
        """Give the tokens that may follow a prefix.

        Args:
            prefix_ids: What stands there.
            num_tokens_left: Tokens that may still be written, the next one included; ``None``: no bound.

        Returns:
            ``(V,)`` bool, on the CPU.

        Raises:
            ConfigurationError: The prefix itself is not allowed; names the token and its place.
        """
        return torch.from_numpy(self.constraint.allowed(self.state_after(prefix_ids), num_tokens_left=num_tokens_left))

    def posterior(
        self, log_probs: torch.Tensor, *, prefix_ids: Iterable[int] = (), num_tokens_left: int = 0
    ) -> Posterior:
        """Condition independent distributions on the schema.

        Args:
            log_probs: ``(L, V)`` or ``(B, L, V)`` log-probabilities in nats, float32 or float64, normalised over
                ``V``: ``logits.log_softmax(-1)``.
            prefix_ids: Tokens of earlier canvases, which every row continues.
            num_tokens_left: Tokens that may follow the canvas; 0: the output ends within it.

        Returns:
            The posterior; its tensors have a dimension for ``B`` where `log_probs` has one.

        Raises:
            SchemaBudgetError: No valid output is short enough.
            ConfigurationError: Shapes do not match, the prefix is not allowed, or every valid output has
                probability 0.
        """
        rows = log_probs[None] if log_probs.ndim == 2 else log_probs  # noqa: PLR2004 - (B, L, V)
        num_rows = len(rows)
        state = self.state_after(prefix_ids)
        posterior = condition(
            rows, [self.constraint] * num_rows, [state] * num_rows, num_tokens_left=[num_tokens_left] * num_rows
        )
        return posterior if rows is log_probs else posterior.single()

    def state_after(self, prefix_ids: Iterable[int]) -> int:
        """Give the automaton's state behind a prefix.

        Raises:
            ConfigurationError: The prefix is not allowed; names the token and its place.
        """
        try:
            return self.constraint.advance(self.constraint.start_state, prefix_ids)
        except ValueError as error:
            raise ConfigurationError(f"the prefix leaves the schema: {error}") from error

    def trim(self, token_ids: Sequence[int]) -> list[int]:
        """Cut an output behind its first end token; what follows it on a canvas means nothing."""
        for i, token in enumerate(token_ids):
            if token in self._end_ids:
                return list(token_ids[: i + 1])
        return list(token_ids)

    def text_of(self, token_ids: Sequence[int]) -> str:
        """Spell an output, without its end token.

        Control tokens, which the call syntax has, are written by name.
        """
        names = {i: text.encode() for text, i in self.vocabulary.control_ids.items()}
        spelt = b""
        for token in token_ids:
            if token in self._end_ids:
                break
            spelt += self.vocabulary.token_bytes[token] or names.get(token, b"")
        return spelt.decode(errors="replace")

    @property
    def _end_ids(self) -> frozenset[int]:
        return self.vocabulary.end_ids


def compile_schema(
    schema: JsonSchema | bool,
    vocabulary: Vocabulary,
    *,
    surface: Surface = "json",
    whitespace: Whitespace = "compact",
    is_fenced: bool = False,
    grounding: Grounding | None = None,
    is_strict: bool = False,
    on_unsupported: OnUnsupported = "raise",
    limits: CompileLimits | None = None,
) -> SchemaAutomaton:
    """Compile a JSON Schema for a vocabulary; equal schemas are compiled once.

    Args:
        schema: A JSON Schema, draft 2020-12 or older; ``$schema`` says which.
        vocabulary: The model's tokens.
        surface: How values are written: ``"json"``, or ``"gemma"`` for the call syntax of Gemma 4.
        whitespace: How JSON is laid out.
        is_fenced: Put the value into a Markdown fence, as chat models like to.
        grounding: Texts that free strings and numbers must come from.
        is_strict: Objects that declare properties and do not mention others have no others.
        on_unsupported: ``"check"`` leaves keywords that cannot be expressed to a check after decoding; they are
            listed in `SchemaAutomaton.unchecked`.
        limits: How much work the schema may cause.

    Raises:
        InvalidSchemaError: It is no schema.
        UnsupportedSchemaError: A keyword cannot be expressed; names keyword and JSON pointer.
        UnsatisfiableSchemaError: No value is valid.
    """
    grammar = json_grammar(
        schema,
        surface=surface,
        whitespace=whitespace,
        is_fenced=is_fenced,
        grounding=grounding,
        is_strict=is_strict,
        on_unsupported=on_unsupported,
        limits=limits,
    )
    return SchemaAutomaton(compile_constraint(grammar, vocabulary), grammar.unchecked)
