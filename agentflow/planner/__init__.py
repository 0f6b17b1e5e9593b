"""Planning: a task becomes a graph of steps, and steps that do not need each other are done at once.

    task -> plan (one decode) -> arguments of all steps that are ready (one batch) -> run them -> ... -> answer

The turn-by-turn loop is the agent's matter; here a model is asked three things only: for a plan, for the arguments
of a step, and for the answer.
"""

from agentflow.planner.graph import check_plan, dump_plan, load_plan, resolve_arguments
from agentflow.planner.planner import Planner
from agentflow.planner.result import PlanResult
from agentflow.planner.views import plan_as_mermaid, plan_as_svg, plan_as_text

__all__ = [
    "PlanResult",
    "Planner",
    "check_plan",
    "dump_plan",
    "load_plan",
    "plan_as_mermaid",
    "plan_as_svg",
    "plan_as_text",
    "resolve_arguments",
]
