"""Test an agent without a model: a script says what the model says, and the tools really run.

pytest examples/scripted_test.py
"""

import pytest

from agentflow import Agent, ToolMessage, tool
from agentflow.testing import ScriptedBackend, assert_calls, call

BALANCES = {"Ann": 120}


@tool
def get_balance(name: str) -> int:
    """Look up a balance.

    Args:
        name: Name of the person.
    """
    return BALANCES[name]


def make_agent(model: ScriptedBackend) -> Agent:
    return Agent(model, instructions="You are a bank.", tools=[get_balance])


def test_the_agent_answers_from_the_tool() -> None:
    model = ScriptedBackend([call("get_balance", name="Ann"), "Ann has 120."])
    result = make_agent(model).run_sync("How much does Ann have?")
    assert_calls(result, call("get_balance", name="Ann"))
    assert result.results[0].content == 120
    assert result.output == "Ann has 120."


@pytest.mark.parametrize("arguments", [{"name": "Bob"}, {"nam": "Ann"}, {"name": 7}])
def test_a_failing_call_goes_back_to_the_model(arguments: dict[str, str | int]) -> None:
    model = ScriptedBackend([call("get_balance", **arguments), "I do not know."])
    result = make_agent(model).run_sync("How much does Bob have?")
    assert result.results[0].is_error
    assert model.requests[1].messages[-1] == ToolMessage(result.results)  # what the model was told
    assert result.output == "I do not know."
