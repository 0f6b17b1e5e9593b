"""Running from code that is not async, and what importing costs."""

import subprocess
import sys

import pytest

from agentflow.agent import Agent
from agentflow.backend.scripted import ScriptedBackend
from agentflow.errors import ConfigurationError


def test_run_sync_runs():
    """It takes what run takes and may be called again and again."""
    agent = Agent(ScriptedBackend(["one", "two"]))
    assert agent.run_sync("a").output == "one"
    assert agent.run_sync("b", limits=None).output == "two"


@pytest.mark.anyio
async def test_run_sync_inside_an_event_loop_shows_the_cure():
    """It would block the loop; the message shows the call to write instead."""
    agent = Agent(ScriptedBackend(["never"]), name="helper")
    with pytest.raises(ConfigurationError, match="inside a running event loop") as caught:
        agent.run_sync("do it")
    assert "await helper.run('do it')" in caught.value.message


@pytest.mark.slow
def test_importing_the_loop_does_not_import_torch():
    """Only backends that compute need it."""
    code = "import sys, agentflow.agent, agentflow.backend.scripted; print({'torch', 'transformers'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603 # ours
    assert done.stdout.strip() == "set()"
