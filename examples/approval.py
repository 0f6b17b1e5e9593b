"""Ask before a tool runs: some calls are approved, some changed, some refused with a reason for the model.

python examples/approval.py --model embedded
"""

import tempfile
from argparse import ArgumentParser
from pathlib import Path

from agentflow import Agent, Backend, Tool, ToolCall
from agentflow.executor import Approval, Denial
from agentflow_tools import files


def approve(call: ToolCall, _tool: Tool[..., object]) -> bool | Approval | Denial:
    """Decide on a call; asking a person here is what an application would do."""
    print(f"may it run {call.name}({dict(call.arguments)})?")
    if len(str(call.arguments["text"])) > 1000:
        return Denial("the text is too long; write a shorter one")
    if not str(call.arguments["path"]).startswith("outbox/"):
        return Approval({**call.arguments, "path": f"outbox/{call.arguments['path']}"})
    return True


def main(model: str | Backend = "embedded") -> dict[str, str]:
    with tempfile.TemporaryDirectory() as folder:
        tools = [t.with_options(requires_approval=True) if t.name == "write_file" else t for t in files(folder)]
        agent = Agent(model, instructions="Use the tools. Then answer.", tools=tools, approve=approve)
        result = agent.run_sync("Write 'call Ann at noon' to the file todo.txt.")
        written = {str(p.relative_to(folder)): p.read_text() for p in Path(folder).rglob("*") if p.is_file()}
    print(result.output, written)
    return written


if __name__ == "__main__":
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="embedded", help="'embedded', a folder or the name of a checkpoint")
    main(parser.parse_args().model)
