"""Many runs at once: bounded, fair, watched, counted, and gone on with after a stop.

What one run does is the agent's matter; here it is only started, limited and collected.
"""

from agentflow.runner.assignment import Assignment, Outcome
from agentflow.runner.runner import Runner
from agentflow.runner.statistics import RunnerStatistics

__all__ = ["Assignment", "Outcome", "Runner", "RunnerStatistics"]
