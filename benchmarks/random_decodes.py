"""Decode random logits under schemas and count what an independent validator rejects.

    python benchmarks/random_decodes.py [--num 10000] [--json benchmarks/results/random_decodes.json]

An untrained network knows nothing of JSON, so whatever is valid is the constraint's doing. Every decode takes the whole
way: a request goes through the engine, a canvas is denoised under the automaton and committed, the text is read back.
The judge is `jsonschema` with format checks. Ten leaf schemas stand in five places each: 50 schemas.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import anyio
import jsonschema
import torch

from agentflow import GenerationSettings, UserMessage
from agentflow.backend.diffusion.backend import DiffusionBackend
from agentflow.backend.diffusion.loader import load_checkpoint
from agentflow.backend.diffusion.untrained import save_untrained_checkpoint
from agentflow.types import GenerationRequest

LEAVES: dict[str, dict[str, Any]] = {
    "string": {"type": "string", "maxLength": 12},
    "pattern": {"type": "string", "pattern": "^[a-z]{2,4}-[0-9]+$", "maxLength": 10},
    "date": {"type": "string", "format": "date"},
    "integer": {"type": "integer", "minimum": -20, "maximum": 400},
    "number": {"type": "number", "exclusiveMinimum": 0, "maximum": 99.5},
    "multiple": {"type": "integer", "multipleOf": 7, "minimum": 0, "maximum": 700},
    "boolean": {"type": "boolean"},
    "enum": {"enum": ["red", 3, None, 'a "quoted" word']},
    "union": {"anyOf": [{"type": "integer"}, {"type": "string", "maxLength": 5}]},
    "const": {"const": {"kind": "fixed", "n": [1, 2]}},
}
PLACES: dict[str, Any] = {
    "alone": lambda leaf: leaf,
    "array": lambda leaf: {"type": "array", "items": leaf, "minItems": 1, "maxItems": 3},
    "object": lambda leaf: {
        "type": "object",
        "properties": {"first": leaf, "second": leaf},
        "required": ["first"],
        "additionalProperties": False,
    },
    "nullable": lambda leaf: {"anyOf": [leaf, {"type": "null"}]},
    "nested": lambda leaf: {
        "type": "object",
        "properties": {"inner": {"type": "object", "properties": {"x": {"$ref": "#/$defs/leaf"}}, "required": ["x"]}},
        "required": ["inner"],
        "additionalProperties": False,
        "$defs": {"leaf": leaf},
    },
}
NUM_AT_ONCE = 16


def make_schemas() -> dict[str, dict[str, Any]]:
    """Give the 50 schemas by name."""
    return {f"{leaf}/{place}": PLACES[place](LEAVES[leaf]) for leaf in LEAVES for place in PLACES}


def is_valid(text: str, schema: dict[str, Any]) -> bool:
    """Ask the independent judge."""
    try:
        value = json.loads(text)
    except ValueError:
        return False
    checker = jsonschema.Draft202012Validator.FORMAT_CHECKER
    return bool(jsonschema.Draft202012Validator(schema, format_checker=checker).is_valid(value))


async def decode_all(backend: DiffusionBackend, num: int) -> Counter[str]:
    """Decode `num` times, the schemas in turn; count the invalid outputs by schema."""
    invalid: Counter[str] = Counter()
    schemas = list(make_schemas().items())
    limit = anyio.CapacityLimiter(NUM_AT_ONCE)

    async def decode(index: int) -> None:
        name, schema = schemas[index % len(schemas)]
        settings = GenerationSettings(seed=index, max_new_tokens=160, max_denoising_steps=4)
        request = GenerationRequest(messages=(UserMessage("Go."),), output_schema=schema, settings=settings)
        async with limit:
            generation = await backend.generate(request)
        if not is_valid(generation.message.text, schema):
            invalid[name] += 1

    async with anyio.create_task_group() as group:
        for index in range(num):
            group.start_soon(decode, index)
    return invalid


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num", type=int, default=10_000, help="decodes")
    parser.add_argument("--json", type=Path, help="where to write the result")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        backend = DiffusionBackend(load_checkpoint(save_untrained_checkpoint(Path(folder))))
        started = time.perf_counter()
        invalid = anyio.run(decode_all, backend, arguments.num)
        duration_s = time.perf_counter() - started
        anyio.run(backend.aclose)
    result = {
        "decodes": arguments.num,
        "schemas": len(make_schemas()),
        "invalid": sum(invalid.values()),
        "invalid_by_schema": dict(invalid),
        "duration_s": round(duration_s, 1),
        "machine": f"{platform.processor() or platform.machine()}, torch {torch.__version__}",
        "command": f"python benchmarks/random_decodes.py --num {arguments.num}",
    }
    counts = f"{arguments.num} decodes over {len(make_schemas())} schemas"
    print(f"{counts} in {duration_s:.0f} s: {sum(invalid.values())} invalid")
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
