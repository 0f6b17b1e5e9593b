"""The error tree."""

import copy
import pickle

import pytest

from agentflow import errors
from agentflow.errors import AgentflowError, BackendError, LimitExceededError, SchemaBudgetError, TruncatedOutputError
from agentflow.types import Usage, UserMessage

CLASSES = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, AgentflowError)]
ARGUMENTS = {
    "SchemaBudgetError": {"num_tokens_needed": 5, "num_tokens_given": 3},
    "UnsupportedSchemaError": {"keyword": "not", "pointer": "/a"},
    "LimitExceededError": {"message": "too many turns", "limit": "turns", "hint": "wait"},
}


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_errors_cross_processes(kind):
    """A pickled error is the same error: message, hint, notes and attributes."""
    error = kind(**ARGUMENTS.get(kind.__name__, {"message": "no", "hint": "yes"}))
    found = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
    assert type(found) is kind
    assert (str(found), found.hint, vars(found)) == (str(error), error.hint, vars(error))


def test_what_an_error_was_given_later_goes_along():
    """The conversation, the usage, notes."""
    error = TruncatedOutputError("cut off", text="{")
    error.messages, error.usage = (UserMessage("hello"),), Usage(requests=2)
    error.add_note("in turn 3")
    found = copy.copy(error)
    assert (found.text, found.messages, found.usage) == ("{", error.messages, error.usage)
    assert found.__notes__ == ["hint: raise max_new_tokens", "in turn 3"]
    assert pickle.loads(pickle.dumps(LimitExceededError("x", limit="turns"))).limit == "turns"  # noqa: S301 - our own
    assert "budget is 3" in str(copy.copy(SchemaBudgetError(num_tokens_needed=5, num_tokens_given=3)))


def test_any_error_becomes_one_of_ours():
    """One of ours stays what it is; another is told, and kept as the cause."""
    ours, other = SchemaBudgetError(num_tokens_needed=5, num_tokens_given=3), ValueError("no")
    assert BackendError.of(ours, what="the model") is ours
    found = BackendError.of(other, what="the model")
    assert type(found) is BackendError
    assert str(found) == "the model failed: ValueError: no"
    assert found.__cause__ is other
