"""Which tokens may come next: the grammar masks of left-to-right decoding.

Two makes behind one small protocol, so that they can be compared on equal terms: our own automaton, and llguidance
over the same grammar.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from agentflow.backend.codec import TurnCodec, grounding_texts
from agentflow.backend.lark import turn_lark
from agentflow.constraint import Constraint
from agentflow.errors import MissingDependencyError, UnsupportedSchemaError
from agentflow.types import GenerationRequest


class TokenMask(Protocol):
    """Follows one turn and says what may come next."""

    def allowed(self) -> Tensor:
        """Tokens that may come next, ``(V,)`` bool on the CPU."""
        ...

    def advance(self, token_id: int) -> None:
        """Take note of the token that came; it was allowed."""
        ...


class AutomatonMask:
    """The mask of our own automaton; it leaves only tokens after which the turn can still end within its budget.

    Args:
        constraint: Automaton of the turn.
        num_tokens: Budget of the turn, the end token included.
    """

    def __init__(self, constraint: Constraint, *, num_tokens: int) -> None:
        self._constraint = constraint
        self._state = constraint.start_state
        self._num_tokens_left = num_tokens

    def allowed(self) -> Tensor:
        """See `TokenMask`."""
        allowed = self._constraint.allowed(self._state, num_tokens_left=self._num_tokens_left)
        return torch.from_numpy(allowed)  # (V,)

    def advance(self, token_id: int) -> None:
        """See `TokenMask`."""
        self._state = self._constraint.advance(self._state, [token_id])
        self._num_tokens_left -= 1


class LlguidanceMasks:
    """Makes masks that llguidance computes.

    Args:
        codec: Gives tokenizer and vocabulary.

    Raises:
        MissingDependencyError: llguidance is not installed.
    """

    def __init__(self, codec: TurnCodec) -> None:
        try:
            import llguidance
            import llguidance.hf
        except ImportError as error:
            raise MissingDependencyError("llguidance is not installed", hint="pip install llguidance") from error
        self._codec = codec
        self._matcher_class = llguidance.LLMatcher
        self._make_tokenizer = llguidance.hf.from_tokenizer

    @cached_property
    def _tokenizer(self) -> Any:
        return self._make_tokenizer(self._codec.tokenizer, eos_token=sorted(self._codec.end_ids)[:1])

    def make(self, request: GenerationRequest, *, is_grounded: bool) -> LlguidanceMask:
        """The mask of the turn that `request` asks for.

        Raises:
            UnsupportedSchemaError: llguidance or our grammar for it does not know a keyword.
        """
        texts = list(grounding_texts(request.messages)) if is_grounded else None
        lark = turn_lark(request, control_ids=self._codec.vocabulary.control_ids, texts=texts)
        matcher = self._matcher_class(self._tokenizer, lark)
        if matcher.is_error():
            raise UnsupportedSchemaError("schema", reason=f"llguidance says: {matcher.get_error()}")
        return LlguidanceMask(matcher, vocab_size=len(self._codec.vocabulary.token_bytes))


class LlguidanceMask:
    """The mask of one llguidance matcher."""

    def __init__(self, matcher: Any, *, vocab_size: int) -> None:
        self._matcher = matcher
        self._vocab_size = vocab_size

    def allowed(self) -> Tensor:
        """See `TokenMask`."""
        bits = np.frombuffer(self._matcher.compute_bitmask(), np.uint8)  # (ceil(V / 8),)
        is_allowed = np.unpackbits(bits, count=self._vocab_size, bitorder="little")  # (V,)
        return torch.from_numpy(is_allowed.view(np.bool_))  # (V,)

    def advance(self, token_id: int) -> None:
        """See `TokenMask`."""
        self._matcher.consume_token(token_id)
