"""Agents: a model, instructions and tools that work on a task until there is an output.

The loop asks a backend for a turn, has the executor run its calls, and goes on until the answer passes.
How turns are written, how tools run and how many agents share a machine are others' matters.
"""

from agentflow.agent.agent import Agent
from agentflow.agent.compaction import Compaction
from agentflow.agent.job import derive_seed
from agentflow.agent.limits import Limits, Prices
from agentflow.agent.loop import Loop
from agentflow.agent.options import RunOptions
from agentflow.agent.result import RunResult
from agentflow.agent.stream import RunStream

__all__ = ["Agent", "Compaction", "Limits", "Loop", "Prices", "RunOptions", "RunResult", "RunStream", "derive_seed"]
