"""Draw random values of random schemas under random logits, and count what an independent validator rejects.

    python benchmarks/fuzz.py [--num 100000] [--seed 0] [--json benchmarks/results/fuzz.json]
    python benchmarks/fuzz.py --merge PART.json PART.json --json benchmarks/results/fuzz.json

Schemas come from a generator over all keywords. Each is compiled for a small vocabulary (every byte, some words) on one
of two surfaces: JSON in one of three layouts, or the argument of a tool call. Every draw is read back by `json.loads`
or by the protocol's own reader and judged by `jsonschema` with formats. Divisors are judged in decimals, because binary
floats say that 0.3 is no multiple of 0.1.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import time
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import jsonschema
import torch

from agentflow import protocol
from agentflow.constraint import (
    CompileLimits,
    Constraint,
    Grammar,
    Vocabulary,
    compile_constraint,
    condition,
    json_grammar,
    turn_grammar,
)
from agentflow.errors import SchemaError
from agentflow.types import ToolSpec

NUM_DRAWS_PER_SCHEMA = 20
MAX_TOKENS = 160
LIMITS = CompileLimits(max_states=40_000, timeout_s=3.0)
CONTROLS = ("<eos>", "<turn|>", "<|tool_call>", "<tool_call|>", "<|tool_response>", '<|"|>')
WORDS = (
    '","', '":"', '{"', '"}', '":', ',"', '."', '"]', '["', '":{"', "true", "false", "null", "12", "0.", "ab", "a-1",
    "{}", "[]", " Rome", ",\n  ", '": ', ", ", "\\u", "\\n", 'b"', "1,", "é",
)  # fmt: skip
NAMES = ("a", "b", "ab", "x-1", "city")
PATTERNS = ("^a+$", "b", "^[a-c]{2,3}$", r"^\d{1,2}(-\d)?$", "^(?!a)[ab]*$", r"\bx\b", "^x", "(?:ab|c)*$", r"^\S+$")
FORMATS = (
    "date", "time", "date-time", "duration", "email", "hostname", "ipv4", "ipv6", "uri", "uri-reference", "uuid",
    "json-pointer", "relative-json-pointer", "regex", "idn-email", "no-such-format",
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    1,
    -7,
    1.5,
    100,
    "a",
    "ab",
    "",
    "é\n",
    [],
    [1, "a"],
    {},
    {"a": 1},
    {"b": [None]},
)


# ---------------------------------------------------------------- schemas


class SchemaMaker:
    """Makes random schemas over all keywords.

    Args:
        random: Where chance comes from.
        max_depth: How deep schemas nest.
    """

    def __init__(self, random: Random, max_depth: int = 3) -> None:
        self._random = random
        self._max_depth = max_depth

    def make(self) -> dict[str, Any]:
        """Make a document; half of them have definitions, which may refer to themselves."""
        definitions = {name: self._schema(1) for name in ("s", "t")} if self._chance(0.5) else {}
        schema = self._schema(0, definitions)
        if not isinstance(schema, dict):
            schema = {"anyOf": [schema, {"type": "integer"}]}
        if definitions:
            if self._chance(0.4):
                loop = {"type": "object", "properties": {"next": {"$ref": "#/$defs/s"}, "a": self._schema(2)}}
                definitions["s"] = loop
            schema = {**schema, "$defs": definitions}
        return schema

    def _chance(self, probability: float) -> bool:
        return self._random.random() < probability

    def _schema(self, depth: int, definitions: dict[str, Any] | None = None) -> Any:
        if definitions and self._chance(0.2):
            return {"$ref": f"#/$defs/{self._random.choice(list(definitions))}"}
        if self._chance(0.04):
            return self._chance(0.8)
        makers: list[Callable[[int], dict[str, Any]]] = [self._number, self._string, self._listed]
        if depth < self._max_depth:
            makers += [self._array, self._object, self._object, self._logic]
        schema = self._random.choice(makers)(depth)
        if depth < self._max_depth and self._chance(0.15):
            schema = {**schema, **self._logic(depth)}
        return schema

    def _number(self, depth: int) -> dict[str, Any]:
        del depth
        random = self._random
        schema: dict[str, Any] = {"type": random.choice(["integer", "number", ["number", "null"]])}
        low = random.choice([-10, 0, 0.5, 3])
        if self._chance(0.5):
            schema[random.choice(["minimum", "exclusiveMinimum"])] = low
        if self._chance(0.5):
            schema[random.choice(["maximum", "exclusiveMaximum"])] = low + random.choice([1, 9, 100.25])
        if self._chance(0.3):
            schema["multipleOf"] = random.choice([1, 2, 7, 0.5, 0.1, 0.01, 1.5])
        return schema

    def _string(self, depth: int) -> dict[str, Any]:
        del depth
        random = self._random
        schema: dict[str, Any] = {"type": "string"} if self._chance(0.8) else {}
        if self._chance(0.4):
            schema["minLength"] = random.randrange(3)
        if self._chance(0.5):
            schema["maxLength"] = random.randrange(2, 8)
        if self._chance(0.3):
            schema["pattern"] = random.choice(PATTERNS)
        elif self._chance(0.3):
            schema["format"] = random.choice(FORMATS)
        return schema

    def _listed(self, depth: int) -> dict[str, Any]:
        del depth
        random = self._random
        if self._chance(0.3):
            return {"const": random.choice(VALUES)}
        if self._chance(0.3):
            return {"type": random.choice(["null", "boolean", ["boolean", "string"]])}
        return {"enum": random.sample(VALUES, random.randrange(1, 5))}

    def _array(self, depth: int) -> dict[str, Any]:
        random = self._random
        schema: dict[str, Any] = {"type": "array"} if self._chance(0.9) else {}
        if self._chance(0.8):
            schema["items"] = self._schema(depth + 1)
        if self._chance(0.25):
            schema["prefixItems"] = [self._schema(depth + 1) for _ in range(random.randrange(1, 3))]
        if self._chance(0.3):
            schema["minItems"] = random.randrange(3)
        if self._chance(0.6):
            schema["maxItems"] = random.randrange(1, 4)
        if self._chance(0.2):
            schema["contains"] = self._schema(depth + 2)
            if self._chance(0.4):
                schema["minContains"] = random.randrange(3)
            if self._chance(0.4):
                schema["maxContains"] = random.randrange(1, 3)
        if self._chance(0.15):
            schema["uniqueItems"] = True
            schema["items"] = {"enum": random.sample(VALUES[:11], 3)}
        if self._chance(0.1):
            schema.pop("items", None)
            schema["unevaluatedItems"] = self._schema(depth + 1)
        return schema

    def _object(self, depth: int) -> dict[str, Any]:
        random = self._random
        schema: dict[str, Any] = {"type": "object"} if self._chance(0.9) else {}
        if self._chance(0.8):
            names = random.sample(NAMES, random.randrange(1, 4))
            schema["properties"] = {name: self._schema(depth + 1) for name in names}
            schema["required"] = [name for name in names if self._chance(0.4)]
        if self._chance(0.15):
            schema["patternProperties"] = {random.choice(PATTERNS): self._schema(depth + 1)}
        if self._chance(0.5):
            schema["additionalProperties"] = False if self._chance(0.6) else self._schema(depth + 1)
        elif self._chance(0.2):
            schema["unevaluatedProperties"] = False if self._chance(0.7) else self._schema(depth + 1)
        if self._chance(0.1):
            schema["propertyNames"] = self._string(depth)
        if self._chance(0.15):
            schema["minProperties"] = random.randrange(3)
        if self._chance(0.15):
            schema["maxProperties"] = random.randrange(1, 4)
        if self._chance(0.1):
            schema["dependentRequired"] = {random.choice(NAMES): [random.choice(NAMES)]}
        if self._chance(0.1):
            schema["dependentSchemas"] = {random.choice(NAMES): self._schema(depth + 1)}
        return schema

    def _logic(self, depth: int) -> dict[str, Any]:
        random = self._random
        kind = random.choice(["allOf", "anyOf", "anyOf", "oneOf", "oneOf", "not", "if"])
        if kind == "not":
            return {"not": self._schema(depth + 1)}
        if kind == "if":
            branches = {name: self._schema(depth + 1) for name in ("then", "else") if self._chance(0.8)}
            return {"if": self._schema(depth + 1), **branches}
        return {kind: [self._schema(depth + 1) for _ in range(random.randrange(1, 4))]}


# ---------------------------------------------------------------- draws


def make_vocabulary() -> Vocabulary:
    """Every byte, some words and the control tokens."""
    texts = [bytes([byte]) for byte in range(256)] + [word.encode() for word in WORDS]
    controls = {text: len(texts) + i for i, text in enumerate(CONTROLS)}
    ends = {controls["<eos>"], controls["<turn|>"], controls["<|tool_response>"]}
    return Vocabulary([*texts, *[None] * len(CONTROLS)], ends, controls)


class Surface(NamedTuple):
    """A way to write values, and to read them back."""

    name: str
    write: Callable[[dict[str, Any]], Grammar]
    read: Callable[[list[int], Vocabulary], str]


def read_json(ids: list[int], vocabulary: Vocabulary) -> str:
    """Give the JSON text of a draw, out of its fence."""
    spelt = b"".join(vocabulary.token_bytes[i] or b"" for i in ids)
    text = spelt.decode()
    return text.removeprefix("```json\n").removesuffix("\n```") if text.startswith("```") else text


def read_call(ids: list[int], vocabulary: Vocabulary) -> str:
    """Give the argument of a drawn call, as JSON."""
    names = {i: text for text, i in vocabulary.control_ids.items()}
    segments: list[protocol.Segment] = []
    run = b""
    for token in ids:
        if token in names:
            segments += [run.decode(), protocol.Control(names[token])] if run else [protocol.Control(names[token])]
            run = b""
        else:
            run += vocabulary.token_bytes[token] or b""
    message = protocol.parse_turn([*segments, run.decode()] if run else segments)
    (call,) = message.tool_calls
    return json.dumps(call.arguments["v"])


def write_call(schema: dict[str, Any]) -> Grammar:
    """Make the schema the argument of a tool."""
    inner = {key: value for key, value in schema.items() if key != "$defs"}
    parameters = {"type": "object", "properties": {"v": inner}, "required": ["v"], "$defs": schema.get("$defs", {})}
    tool = ToolSpec("f", "", parameters)
    return turn_grammar(tools=[tool], tool_choice="f", is_parallel=False, is_strict=False, limits=LIMITS)


SURFACES = (
    Surface("compact", lambda schema: json_grammar(schema, limits=LIMITS), read_json),
    Surface("spaced", lambda schema: json_grammar(schema, whitespace="spaced", limits=LIMITS), read_json),
    Surface(
        "fenced", lambda schema: json_grammar(schema, whitespace="pretty", is_fenced=True, limits=LIMITS), read_json
    ),
    Surface("call", write_call, read_call),
    Surface("call", write_call, read_call),
)


def find_problem(text: str, schema: dict[str, Any]) -> str | None:
    """Ask the independent judge; ``None``: the value is valid."""
    kind = jsonschema.Draft202012Validator
    errors = list(kind(schema, format_checker=kind.FORMAT_CHECKER).iter_errors(json.loads(text)))
    if not errors:
        return None
    decimals = json.loads(json.dumps(schema), parse_float=Decimal)
    exact = kind(decimals, format_checker=kind.FORMAT_CHECKER).is_valid(json.loads(text, parse_float=Decimal))
    return None if exact and "multipleOf" in json.dumps(schema) else str(errors[0].message)


def draw(constraint: Constraint, num: int, generator: torch.Generator) -> list[list[int]]:
    """Draw outputs under random logits, flat ones and peaked ones; each ends before its end token."""
    length = min(MAX_TOKENS, constraint.min_tokens + int(torch.randint(4, 40, (1,), generator=generator)))
    num_tokens = len(constraint.vocabulary)
    logits = torch.randn(num, length, num_tokens, generator=generator)  # (B, L, V)
    taste = 4.0 * torch.randn(num, 1, num_tokens, generator=generator)  # (B, 1, V)
    log_probs = (logits * torch.tensor([1.0, 3.0, 8.0])[torch.arange(num) % 3, None, None] + taste).log_softmax(-1)
    posterior = condition(log_probs, [constraint] * num, [constraint.start_state] * num, num_tokens_left=[0] * num)
    best = posterior.best()[: num // 4]  # (B / 4, L)
    rows = [*posterior.sample(generator)[num // 4 :].tolist(), *best.tolist()]
    ends = constraint.vocabulary.end_ids
    return [row[: next(i for i, token in enumerate(row) if token in ends)] for row in rows]


# ---------------------------------------------------------------- the run


def run(num: int, seed: int, *, max_seconds: float = math.inf) -> dict[str, Any]:
    """Make `num` draws, or as many as fit; give counts, and every invalid draw with its schema."""
    random, generator = Random(seed), torch.Generator().manual_seed(seed)  # noqa: S311 - not for secrets
    vocabulary = make_vocabulary()
    counts: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    invalid: list[dict[str, Any]] = []
    started = time.perf_counter()
    while counts["draws"] < num and time.perf_counter() - started < max_seconds:
        schema, surface = SchemaMaker(random).make(), random.choice(SURFACES)
        counts["schemas"] += 1
        try:
            constraint = compile_constraint(surface.write(schema), vocabulary)
        except SchemaError as error:
            counts["refused"] += 1
            reasons[getattr(error, "keyword", type(error).__name__)] += 1
            continue
        if constraint.min_tokens + 4 > MAX_TOKENS:
            counts["too long"] += 1
            continue
        for ids in draw(constraint, NUM_DRAWS_PER_SCHEMA, generator):
            text = surface.read(ids, vocabulary)
            counts["draws"] += 1
            counts[f"draws, {surface.name}"] += 1
            problem = find_problem(text, schema)
            if problem is not None:
                invalid.append({"schema": schema, "text": text, "problem": problem, "surface": surface.name})
    return {
        **counts, "refused_by_reason": dict(reasons), "invalid": len(invalid), "invalid_draws": invalid[:50],
        "seeds": [seed], "duration_s": round(time.perf_counter() - started, 1),
    }  # fmt: skip


def merge(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """Add up the results of several runs."""
    whole: dict[str, Any] = {}
    for part in parts:
        for key, value in part.items():
            if isinstance(value, dict):
                whole[key] = dict(Counter(whole.get(key, {})) + Counter(value))
            elif not isinstance(value, str):
                whole[key] = whole[key] + value if key in whole else value
    return whole


def main() -> None:
    """Run the benchmark, or merge runs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num", type=int, default=100_000, help="draws")
    parser.add_argument("--seed", type=int, default=0, help="seed of schemas and draws")
    parser.add_argument("--max-seconds", type=float, default=math.inf, help="stop after this time")
    parser.add_argument("--merge", type=Path, nargs="+", help="add up the results of earlier runs instead")
    parser.add_argument("--json", type=Path, help="where to write the result")
    arguments = parser.parse_args()
    if arguments.merge:
        result = merge([json.loads(path.read_text(encoding="utf-8")) for path in arguments.merge])
    else:
        result = run(arguments.num, arguments.seed, max_seconds=arguments.max_seconds)
    result["machine"] = f"{platform.processor() or platform.machine()}, torch {torch.__version__}"
    result["command"] = "python benchmarks/fuzz.py"
    for name, value in result.items():
        if isinstance(value, int | float):
            print(f"{name:20} {value:>10}")
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps({key: value for key, value in result.items() if key != "invalid_draws"}))


if __name__ == "__main__":
    main()
