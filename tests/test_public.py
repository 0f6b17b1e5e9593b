"""The public door: what it offers, and what it costs to open."""

import subprocess
import sys

import agentflow


def test_all_is_sorted_and_complete():
    """`__all__` is sorted, and every name in it can be imported."""
    assert agentflow.__all__ == sorted(agentflow.__all__, key=lambda name: (name.islower(), name))
    for name in agentflow.__all__:
        assert getattr(agentflow, name) is not None


def run_python(code: str) -> None:
    """Run `code` in an interpreter of its own; an error there is an error here."""
    subprocess.run([sys.executable, "-c", code], check=True)  # noqa: S603 - our own code


def test_import_is_light():
    """Importing agentflow, and an agent on a scripted model, loads neither torch nor transformers."""
    run_python(
        "import sys, agentflow\n"
        "agentflow.Agent(agentflow.ScriptedBackend(['hi']))\n"
        "heavy = {'torch', 'transformers', 'numba', 'numpy', 'rich'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )


def test_tool_stays_the_decorator():
    """`agentflow.tool` is the decorator in whatever order things are imported."""
    run_python(
        "from agentflow import Agent, tool\n"
        "import agentflow.agent\n"
        "from agentflow import tool as again\n"
        "assert callable(tool) and tool is again\n"
    )
