"""Running the tool calls of one turn.

Calls become results: validated, approved, run concurrently within bounds, timed, and whatever goes
wrong said in a sentence that the model can use. Transcripts, turns and models are others' matters.
"""

from agentflow.executor.approval import Approval, Approver, Denial
from agentflow.executor.executor import Executor
from agentflow.executor.invoke import post
from agentflow.executor.results import MAX_RESULT_CHARS, to_json_value

__all__ = ["MAX_RESULT_CHARS", "Approval", "Approver", "Denial", "Executor", "post", "to_json_value"]
