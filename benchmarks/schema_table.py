"""Write the results of `benchmarks/schemas.py` as a page.

    python benchmarks/schema_table.py benchmarks/results/schemas-*.json > docs/schemas.md

Results over the same number of schemas stand in one table, largest number first.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

HEAD = (
    "engine", "compiled", "valid accepted", "invalid accepted", "invalid draws", "compile p50 / p95 / max, ms",
    "canvas p50 / p90, ms", "canvas under 5 ms",
)  # fmt: skip
INTRO = """# Real schemas: what is taken, what is accepted, how long it takes

MaskBench schemas (JSONSchemaBench, arXiv 2501.10868) with the Gemma 3 vocabulary of 262,145 tokens, given in full to
every engine; one thread; times are CPU seconds of the thread on a machine that was doing other work at the same time,
so compare columns rather than quote them.

- *compiled*: everything that a decoding step needs was there within the time limit, or the engine said that no value
  satisfies the schema.
- *valid / invalid accepted*: the file's own instances, of compiled schemas, written compactly with properties in the
  order of the schema. All engines read the same text.
- *invalid draws*: strings drawn from the compiled automaton under random logits that `jsonschema`, with format checks,
  rejected.
- *agentflow-check* is `on_unsupported="check"`: what the automaton cannot express is checked after decoding. An
  instance is accepted when both take it; a draw that fails the check is drawn again, at most twice, and then given up.
- llguidance reads `oneOf` as `anyOf` where it cannot tell options apart (`coerce_one_of`); *lenient* also ignores the
  keywords and formats that it does not know. Without `coerce_one_of` it refuses more and accepts fewer invalid ones.
- *canvas*: the posterior of 256 positions under random class sums: messages both ways, marginals, one draw; averaged
  over repeats.
- Where an engine did not run on the whole file, all stand on every n-th schema of it: `--limit 240 --shard 3/4`
  takes every twentieth, `--limit 24` every fiftieth. With the `--log` of a full run, `--limit 24 --json OUT` sums up
  those schemas of it without running them again.
"""


def row_of(result: dict[str, Any]) -> list[str]:
    """Give the cells of one engine."""
    row = result["total"]
    valid, invalid = row["valid_accepted"] + row["valid_rejected"], row["invalid_accepted"] + row["invalid_rejected"]
    version = result["versions"].get(result["engine"].removesuffix("-lenient"), "")
    times = " / ".join(f"{row['compile_ms_' + name] or 0:,.3g}" for name in ("p50", "p95", "max"))
    return [
        f"{result['engine']} {version}".strip(),
        f"{row['compiled']} ({row['compiled'] / max(1, row['schemas']):.1%})",
        f"{row['valid_accepted']} of {valid} ({row['valid_accepted'] / max(1, valid):.1%})",
        f"{row['invalid_accepted']} of {invalid} ({row['invalid_accepted'] / max(1, invalid):.1%})",
        f"{row['invalid_draws']} of {row['draws']}" if row["draws"] else "-",
        times,
        f"{row['canvas_ms_p50']:.3g} / {row['canvas_ms_p90']:.3g}" if row["draws"] else "-",
        f"{share:.1%}" if (share := row.get("canvas_share_under_5_ms")) is not None else "-",
    ]


def table(results: list[dict[str, Any]]) -> str:
    """Give a table of several engines."""
    lines = ["| " + " | ".join(HEAD) + " |", "|---|" + "---:|" * (len(HEAD) - 1)]
    lines += ["| " + " | ".join(row_of(result)) + " |" for result in results]
    return "\n".join(lines)


def exceptions(result: dict[str, Any]) -> str:
    """List what this project's engine refused or got wrong."""
    lines = [f"- `{name}`: {' '.join(reason.split())[:220]}" for name, reason in result["refusals"]]
    wrong = [f"- `{name}`: {' '.join(map(str, note))[:220]}" for name, *note in result["exceptions"]]
    return "\n".join(["## Refused by agentflow", "", *lines, "", "## Otherwise wrong", "", *(wrong or ["Nothing."])])


def main() -> None:
    """Print the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("results", type=Path, nargs="+")
    results = [json.loads(path.read_text()) for path in parser.parse_args().results]
    groups: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for result in results:
        groups[result["total"]["schemas"]].append(result)
    print(INTRO)
    for num in sorted(groups, reverse=True):
        print(f"## {num} schemas\n\n{table(groups[num])}\n")
        print(f"Machine: {groups[num][0]['machine']}. Commands:\n\n```")
        print("\n".join(dict.fromkeys(result["command"] for result in groups[num])))
        print("```\n")
    own = [result for result in results if result["engine"] == "agentflow"]
    print(exceptions(max(own, key=lambda result: int(result["total"]["schemas"]))))


if __name__ == "__main__":
    main()
