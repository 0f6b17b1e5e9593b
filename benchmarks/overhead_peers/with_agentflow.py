"""agentflow: a `Runner` with all agents at once; ``--journal`` writes every event to a SQLite file first."""

from __future__ import annotations

import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import anyio.lowlevel
from fleet import ANSWER, TASK, add, add_now, serve

from agentflow import Agent, AssistantMessage, Limits, ToolCall, Usage, tool
from agentflow.backend.base import DraftObserver
from agentflow.journal import Journal
from agentflow.runner import Assignment, Runner
from agentflow.types import Generation, GenerationRequest


class Model:
    """Asks for one addition a turn, then answers."""

    name = "fake"

    def __init__(self, num_steps: int) -> None:
        self.num_steps, self.turn = num_steps, -1

    async def generate(self, request: GenerationRequest, *, on_draft: DraftObserver | None = None) -> Generation:  # noqa: ARG002
        await anyio.lowlevel.checkpoint()
        self.turn += 1
        usage = Usage(requests=1, input_tokens=1, output_tokens=1)
        if self.turn == self.num_steps:
            return Generation(AssistantMessage(ANSWER), "stop", usage)
        call = ToolCall(f"call_{self.turn}", "add", {"a": self.turn, "b": 1})
        return Generation(AssistantMessage(tool_calls=(call,)), "tool_calls", usage)

    async def aclose(self) -> None:
        pass


def make_fleet(*, has_journal: bool, is_sync: bool):
    tools = [tool(name="add")(add_now if is_sync else add)]

    def fleet(num_agents: int, num_steps: int) -> list[str]:
        limits = Limits(max_turns=num_steps + 1)
        agents = [Agent(Model(num_steps), tools=tools, limits=limits, name=f"agent {i}") for i in range(num_agents)]
        with ExitStack() as stack:
            journal = None
            if has_journal:
                folder = stack.enter_context(tempfile.TemporaryDirectory())
                journal = stack.enter_context(Journal(Path(folder) / "runs.sqlite"))
            runner = Runner(max_running=num_agents, journal=journal)
            outcomes = runner.run_all_sync(Assignment(agent=agent, task=TASK) for agent in agents)
            return [outcome.output for outcome in outcomes]

    return fleet


def main() -> None:
    has_journal, is_sync = "--journal" in sys.argv, "--sync" in sys.argv
    sys.argv = [argument for argument in sys.argv if argument not in {"--journal", "--sync"}]
    description = "Runner, all at once" + ", journal on" * has_journal + ", tool is a plain function" * is_sync
    serve(make_fleet(has_journal=has_journal, is_sync=is_sync), "agentflow-diffusion", description=description)


if __name__ == "__main__":
    main()
