"""LangGraph: its ready-made ReAct graph; ``--journal`` adds its SQLite checkpointer, which saves every step."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import warnings
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

os.environ["LANGSMITH_TRACING"] = "false"

from fleet import ANSWER, TASK, add, serve
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langgraph.prebuilt import create_react_agent


class FakeModel(BaseChatModel):
    """Asks for one addition a turn, then answers."""

    num_steps: int
    turn: int = -1

    @property
    def _llm_type(self) -> str:
        return "fake"

    def bind_tools(self, *_args: Any, **_options: Any) -> FakeModel:
        return self

    def _generate(self, *_args: Any, **_options: Any) -> ChatResult:
        raise NotImplementedError

    async def _agenerate(self, messages: list[BaseMessage], *_args: Any, **_options: Any) -> ChatResult:  # noqa: ARG002
        await asyncio.sleep(0)
        self.turn += 1
        if self.turn == self.num_steps:
            message = AIMessage(content=ANSWER)
        else:
            call = {"name": "add", "args": {"a": self.turn, "b": 1}, "id": f"call_{self.turn}"}
            message = AIMessage(content="", tool_calls=[call])
        return ChatResult(generations=[ChatGeneration(message=message)])


def fleet(num_agents: int, num_steps: int, *, has_journal: bool) -> list[str]:
    async def run(graph: Any, number: int) -> str:
        config = {"recursion_limit": 2 * num_steps + 3, "configurable": {"thread_id": str(number)}}
        options = {"durability": "sync"} if has_journal else {}
        state = await graph.ainvoke({"messages": [("user", TASK)]}, config, **options)
        return str(state["messages"][-1].content)

    async def run_all() -> list[str]:
        async with AsyncExitStack() as stack:
            saver = await open_saver(stack) if has_journal else None
            models = [FakeModel(num_steps=num_steps) for _ in range(num_agents)]
            graphs = [create_react_agent(model, [add], checkpointer=saver) for model in models]
            return list(await asyncio.gather(*map(run, graphs, range(num_agents))))

    return asyncio.run(run_all())


async def open_saver(stack: AsyncExitStack) -> Any:
    from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

    folder = stack.enter_context(tempfile.TemporaryDirectory())
    return await stack.enter_async_context(AsyncSqliteSaver.from_conn_string(str(Path(folder) / "runs.sqlite")))


def main() -> None:
    has_journal = "--journal" in sys.argv
    sys.argv = [argument for argument in sys.argv if argument != "--journal"]
    saver = "SQLite checkpointer, durability sync" if has_journal else "no checkpointer"
    serve(
        partial(fleet, has_journal=has_journal),
        "langgraph",
        description=f"create_react_agent, ainvoke, all at once, {saver}",
    )


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # create_react_agent moved to the package langchain, which adds more to it
    main()
