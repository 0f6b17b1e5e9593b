"""The durable record of runs: what a run does is written down before its effect is used.

A program that dies at any moment leaves a journal from which the run goes on: see `Agent.resume`. This room writes
and reads; what a record means for a run is the agent's matter.
"""

from agentflow.journal.journal import Journal
from agentflow.journal.record import RunRecord

__all__ = ["Journal", "RunRecord"]
