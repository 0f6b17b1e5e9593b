"""Structured generation: an exact posterior over a schema's language, for models that draft whole canvases.

    from agentflow.constraint import Vocabulary, compile_constraint, condition, json_grammar

    vocabulary = Vocabulary.from_tokenizer(tokenizer)
    constraint = compile_constraint(json_grammar(schema), vocabulary)
    log_probs = logits.log_softmax(-1)                             # (B, L, V), independent per position
    posterior = condition(log_probs, [constraint], [constraint.start_state], num_tokens_left=[0])
    posterior.entropies                                            # (B, L) of the conditioned marginals
    tokens = posterior.sample(generator)                           # (B, L), one joint draw: always valid
    tokens = posterior.best()                                      # (B, L), the most probable valid string

The layer knows torch and a vocabulary, no model: logits in, tokens out. The way is schema -> typed tree (`schema`)
-> grammar graph (`grammar`, with one printer per surface) -> token automaton (`assemble`, slots from
`index`) -> posterior (`trellis`).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from agentflow.constraint.limits import CompileLimits

if TYPE_CHECKING:
    from agentflow.constraint.compiled import Constraint, check_budget, compile_constraint
    from agentflow.constraint.grammar import Grammar, call_grammar, json_grammar, turn_grammar
    from agentflow.constraint.grounded import Grounded, Span
    from agentflow.constraint.grounding import Grounding
    from agentflow.constraint.processor import SchemaLogitsProcessor
    from agentflow.constraint.schema_automaton import SchemaAutomaton, compile_schema
    from agentflow.constraint.trellis import Posterior, condition
    from agentflow.constraint.vocabulary import Vocabulary

__all__ = [
    "CompileLimits",
    "Constraint",
    "Grammar",
    "Grounded",
    "Grounding",
    "Posterior",
    "SchemaAutomaton",
    "SchemaLogitsProcessor",
    "Span",
    "Vocabulary",
    "call_grammar",
    "check_budget",
    "compile_constraint",
    "compile_schema",
    "condition",
    "json_grammar",
    "turn_grammar",
]

_HOMES = {
    "Constraint": "compiled",
    "check_budget": "compiled",
    "compile_constraint": "compiled",
    "Grammar": "grammar",
    "call_grammar": "grammar",
    "json_grammar": "grammar",
    "turn_grammar": "grammar",
    "Grounded": "grounded",
    "Span": "grounded",
    "Grounding": "grounding",
    "SchemaLogitsProcessor": "processor",
    "SchemaAutomaton": "schema_automaton",
    "compile_schema": "schema_automaton",
    "Posterior": "trellis",
    "condition": "trellis",
    "Vocabulary": "vocabulary",
}


def __getattr__(name: str) -> Any:
    """Import torch and numba only when something of theirs is asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
