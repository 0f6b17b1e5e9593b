"""What a framework adds to every step of an agent: agentflow beside five others and a loop written by hand.

    python benchmarks/overhead.py --install DIR    # once: each peer into an environment of its own, DIR/NAME
    python benchmarks/overhead.py --peers DIR [--agents 100] [--steps 50] [--rounds 5] [--json OUT] [--markdown OUT]
    python benchmarks/overhead.py --peer agno=/path/to/its/python     # an environment that is there already

All do the same work, see `overhead_peers/fleet.py`: a fleet of agents, each with a model inside the process that asks
for one tool call a turn and answers at once. Every framework runs in a process of its own; they take turns round by
round, so that a noisy moment of the machine meets them all. Numbers are medians over the rounds, with the least and
the most.

    cpu_ms     processor time of the process per step, all threads
    wall_ms    wall time of the fleet / (agents x steps)
    import     processor time of a process that imports it, less that of one that imports nothing; median of five, from
               bytecode that an earlier process left
    memory     resident after the import, and the most during the fleet
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import resource
import statistics
import subprocess
import sys
import venv
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any, Final

from rich.console import Console
from rich.table import Table

from agentflow.bench.machine import Machine, this_machine

PROGRAMS: Final = Path(__file__).with_name("overhead_peers")
PEERS: Final = {
    "pydantic-ai": ["pydantic-ai-slim==2.68.0"],
    "openai-agents": ["openai-agents==0.24.0"],
    "langgraph": ["langgraph==1.2.22", "langgraph-checkpoint-sqlite"],
    "smolagents": ["smolagents==1.26.0"],
    "agno": ["agno==3.1.10"],
}
"""What pip is asked for. pydantic-ai-slim is pydantic-ai without the clients of model providers."""

NUM_IMPORTS: Final = 5
TARGETS: Final = {"agentflow": 0.3, "agentflow, journal": 1.0}
"""Milliseconds of processor time per step that agentflow sets itself as a limit."""
IMPORT_TARGET_MS: Final = 300.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Subject:
    """Something to measure.

    Attributes:
        name: What the table calls it.
        program: File in `overhead_peers` that runs it.
        environment: Key of `PEERS`; empty for the interpreter that runs this.
        statement: What a user's program imports.
        arguments: For the program.
        max_agents: Fewer agents where a fleet of the usual size would take minutes a round.
    """

    name: str
    program: str
    environment: str = ""
    statement: str = ""
    arguments: tuple[str, ...] = ()
    max_agents: int | None = None


SUBJECTS: Final = (
    Subject(name="by hand", program="by_hand.py"),
    Subject(name="agentflow", program="with_agentflow.py", statement="from agentflow import Agent, tool"),
    Subject(name="agentflow, journal", program="with_agentflow.py", arguments=("--journal",)),
    Subject(name="agentflow, plain function", program="with_agentflow.py", arguments=("--sync",)),
    Subject(
        name="pydantic-ai",
        program="with_pydantic_ai.py",
        environment="pydantic-ai",
        statement="from pydantic_ai import Agent",
    ),
    Subject(
        name="openai-agents",
        program="with_openai_agents.py",
        environment="openai-agents",
        statement="from agents import Agent, Runner, function_tool",
    ),
    Subject(
        name="LangGraph",
        program="with_langgraph.py",
        environment="langgraph",
        statement="from langgraph.prebuilt import create_react_agent",
    ),
    Subject(
        name="LangGraph, checkpointer",
        program="with_langgraph.py",
        environment="langgraph",
        arguments=("--journal",),
        max_agents=20,
    ),
    Subject(
        name="smolagents",
        program="with_smolagents.py",
        environment="smolagents",
        statement="from smolagents import ToolCallingAgent, tool",
    ),
    Subject(name="agno", program="with_agno.py", environment="agno", statement="from agno.agent import Agent"),
)


class MeasuringError(RuntimeError):
    """A program of a subject ended or said something else than asked."""


class Program:
    """The process of a subject, which measures when told to."""

    def __init__(self, subject: Subject, python: str, *, num_agents: int, num_steps: int) -> None:
        """Start it and wait until it has imported its framework and warmed up."""
        self.subject = subject
        self.num_agents = min(num_agents, subject.max_agents or num_agents)
        command = [python, str(PROGRAMS / subject.program), *subject.arguments]
        command += ["--agents", str(self.num_agents), "--steps", str(num_steps)]
        self._process = subprocess.Popen(  # noqa: S603 # a program of ours
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment(), cwd=PROGRAMS
        )
        self.rounds: list[dict[str, float]] = []
        self.facts = self._read()

    def measure(self) -> None:
        """Run the fleet once."""
        print("run", file=self._pipe(self._process.stdin), flush=True)
        self.rounds.append(self._read())

    def close(self) -> None:
        """Let it end."""
        self._pipe(self._process.stdin).close()
        self._process.wait(timeout=60)

    def _read(self) -> dict[str, Any]:
        line = self._pipe(self._process.stdout).readline()
        if not line.startswith("{"):
            raise MeasuringError(f"{self.subject.name} ended with {self._process.wait(timeout=60)}: {line!r}")
        record: dict[str, Any] = json.loads(line)
        return record

    @staticmethod
    def _pipe(pipe: IO[str] | None) -> IO[str]:
        assert pipe is not None  # noqa: S101 # both were asked for
        return pipe


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """What was measured of one subject.

    Attributes:
        name: What it is.
        is_missing: Whether its environment is not there; then nothing was measured.
        description: How it was used.
        version: Of the framework.
        num_agents: Agents of the fleet.
        cpu_ms: Processor time per step, one for every round.
        wall_ms: Wall time per step, one for every round.
        import_ms: Processor time of the import, or ``None`` where a row before tells it.
        imported_mib: Resident memory after the import.
        peak_mib: The most during the fleet.
        num_distributions: What pip installs for it, itself included.
        size_mib: Size of these on the disk.
    """

    name: str
    is_missing: bool = False
    description: str = ""
    version: str = ""
    num_agents: int = 0
    cpu_ms: tuple[float, ...] = ()
    wall_ms: tuple[float, ...] = ()
    import_ms: float | None = None
    imported_mib: float = 0.0
    peak_mib: float = 0.0
    num_distributions: int = 0
    size_mib: float = 0.0


def main(arguments: Sequence[str] | None = None) -> None:
    """Install the peers, or measure everything that is there."""
    options = parse(arguments)
    if options.install:
        install(options.install)
        return
    pythons = find_pythons(options.peers, options.peer)
    rows = measure(pythons, num_agents=options.agents, num_steps=options.steps, num_rounds=options.rounds)
    machine = this_machine()
    record = make_record(rows, machine, num_agents=options.agents, num_steps=options.steps)
    print_table(rows, record)
    if options.json:
        options.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    if options.markdown:
        options.markdown.write_text(markdown(record), encoding="utf-8")
    print(json.dumps(record))


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--install", type=Path, metavar="DIR", help="make the environments of the peers and end")
    parser.add_argument("--peers", type=Path, metavar="DIR", help="where --install made them")
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=PYTHON", help=f"of {', '.join(PEERS)}")
    parser.add_argument("--agents", type=int, default=100)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, metavar="OUT")
    parser.add_argument("--markdown", type=Path, metavar="OUT")
    options = parser.parse_args(arguments)
    if min(options.agents, options.steps, options.rounds) < 1:
        parser.error("--agents, --steps and --rounds must be at least 1")
    for peer in options.peer:
        if peer.partition("=")[0] not in PEERS or not peer.partition("=")[2]:
            parser.error(f"--peer {peer!r}: write NAME=PYTHON with a name of {', '.join(PEERS)}")
    return options


def install(folder: Path) -> None:
    """Make an environment for every peer that has none."""
    for name, requirements in PEERS.items():
        python = folder / name / "bin" / "python"
        if not python.exists():
            venv.create(folder / name, with_pip=True)
        command = [str(python), "-m", "pip", "install", "-q", *requirements]
        subprocess.run(command, check=True)  # noqa: S603 # constants
        print(f"{name}: {python}")


def find_pythons(folder: Path | None, peers: Sequence[str]) -> dict[str, str]:
    """Find the interpreter of every environment; one that is missing is not in the answer."""
    found = {"": sys.executable}
    if folder is not None:
        found.update({name: str(path) for name in PEERS if (path := folder / name / "bin" / "python").exists()})
    found.update(dict(peer.split("=", 1) for peer in peers))
    return found


def measure(pythons: dict[str, str], *, num_agents: int, num_steps: int, num_rounds: int) -> list[Row]:
    """Measure what is there; what is not becomes a row that says so."""
    present = [subject for subject in SUBJECTS if subject.environment in pythons]
    import_ms = {s.name: measure_import(pythons[s.environment], s.statement) for s in present if s.statement}
    with ExitStack() as stack:
        programs = {}
        for subject in present:
            program = Program(subject, pythons[subject.environment], num_agents=num_agents, num_steps=num_steps)
            programs[subject.name] = program
            stack.callback(program.close)
        for i in range(num_rounds):
            print(f"round {i + 1} of {num_rounds}", file=sys.stderr)
            for program in programs.values():
                program.measure()
    return [
        make_row(programs[subject.name], import_ms.get(subject.name))
        if subject.name in programs
        else Row(name=subject.name, is_missing=True)
        for subject in SUBJECTS
    ]


def make_row(program: Program, import_ms: float | None) -> Row:
    """Collect what a program told."""
    return Row(
        name=program.subject.name,
        num_agents=program.num_agents,
        cpu_ms=tuple(record["cpu_ms"] for record in program.rounds),
        wall_ms=tuple(record["wall_ms"] for record in program.rounds),
        peak_mib=max(record["peak_mib"] for record in program.rounds),
        import_ms=import_ms,
        **program.facts,
    )


def measure_import(python: str, statement: str) -> float:
    """Time an import in fresh processes, less the start of the interpreter; the first one fills the caches."""
    runs = [(time_process(python, statement), time_process(python, "pass")) for _ in range(NUM_IMPORTS + 1)][1:]
    return 1000 * statistics.median(imported - bare for imported, bare in runs)


def time_process(python: str, statement: str) -> float:
    """Give the processor seconds of a process that runs one statement; on a machine at rest they are its wall time."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [python, "-c", statement]
    subprocess.run(command, check=True, env=environment(), cwd=PROGRAMS)  # noqa: S603 # constants
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def environment() -> dict[str, str]:
    """Give the environment of the processes: bytecode is kept, nothing is sent anywhere, and no path is ours."""
    removed = {"PYTHONDONTWRITEBYTECODE", "PYTHONPATH"}
    kept = {name: value for name, value in os.environ.items() if name not in removed}
    return {**kept, "OTEL_SDK_DISABLED": "true", "OMP_NUM_THREADS": "1"}


def make_record(rows: Sequence[Row], machine: Machine, *, num_agents: int, num_steps: int) -> dict[str, Any]:
    """Write everything as plain JSON."""
    light_ms = measure_import(sys.executable, "import agentflow")
    return {
        "benchmark": "overhead",
        "num_agents": num_agents,
        "num_steps": num_steps,
        "machine": str(machine),
        "import_agentflow_ms": light_ms,
        "is_torch_imported": is_torch_imported(),
        "rows": [dataclasses.asdict(row) for row in rows],
    }


def is_torch_imported() -> bool:
    """Whether the loop brought torch in."""
    code = "import sys; from agentflow import Agent, tool; import agentflow.runner; sys.exit('torch' in sys.modules)"
    command = [sys.executable, "-c", code]
    return bool(subprocess.run(command, check=False, env=environment()).returncode)  # noqa: S603 # constants


def cells(row: dict[str, Any]) -> list[str]:
    """Write a row as the cells of the table."""
    if row["is_missing"]:
        return [row["name"], "", "not installed", "", "", "", ""]
    import_text = "" if row["import_ms"] is None else f"{row['import_ms'] / 1000:.2f} s"
    size_text = f"{row['num_distributions']}, {row['size_mib']:.0f} MiB" if row["import_ms"] is not None else ""
    name = row["name"] if row["max_agents_note"] == "" else f"{row['name']} ({row['max_agents_note']})"
    memory_text = f"{row['imported_mib']:.0f} / {row['peak_mib']:.0f} MiB"
    return [name, row["version"], spread(row["cpu_ms"]), spread(row["wall_ms"]), import_text, memory_text, size_text]


def spread(values: Sequence[float]) -> str:
    """Write the median with the least and the most."""
    digits = 3 if statistics.median(values) < 0.1 else 2
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"


COLUMNS: Final = (
    "framework",
    "version",
    "CPU ms per step",
    "wall ms per step",
    "import",
    "memory: imported / most",
    "installs",
)


def table_rows(record: dict[str, Any]) -> list[list[str]]:
    """Write all rows as cells."""
    full = record["num_agents"]
    return [
        cells({**row, "max_agents_note": "" if row["num_agents"] in {0, full} else f"{row['num_agents']} agents"})
        for row in record["rows"]
    ]


def verdicts(record: dict[str, Any]) -> list[str]:
    """Say which of our own limits are kept."""
    medians = {row["name"]: statistics.median(row["cpu_ms"]) for row in record["rows"] if row["cpu_ms"]}
    lines = [
        f"{name}: {medians[name]:.3f} ms per step, limit {limit:g} ms: {'kept' if medians[name] <= limit else 'BROKEN'}"
        for name, limit in TARGETS.items()
    ]
    light_ms = record["import_agentflow_ms"]
    is_kept = light_ms < IMPORT_TARGET_MS and not record["is_torch_imported"]
    torch = "with torch" if record["is_torch_imported"] else "without torch"
    verdict = "kept" if is_kept else "BROKEN"
    return [*lines, f"import agentflow: {light_ms:.0f} ms {torch}, limit {IMPORT_TARGET_MS:g} ms: {verdict}"]


def print_table(rows: Sequence[Row], record: dict[str, Any]) -> None:
    """Print the table for people."""
    console = Console() if sys.stdout.isatty() else Console(width=160)
    table = Table(title=f"{record['num_agents']} agents x {record['num_steps']} steps; {record['machine']}")
    for column in COLUMNS:
        table.add_column(column)
    for line in table_rows(record):
        table.add_row(*line)
    console.print(table)
    missing = [row.name for row in rows if row.is_missing]
    if missing:
        console.print(f"Not measured, no environment given: {', '.join(missing)}. See --install.", style="bold red")
    for verdict in verdicts(record):
        console.print(verdict, highlight=False)


def markdown(record: dict[str, Any]) -> str:
    """Write the table for the documentation."""
    lines = [f"| {' | '.join(COLUMNS)} |", f"|{'---|' * len(COLUMNS)}"]
    lines += [f"| {' | '.join(line)} |" for line in table_rows(record)]
    how = [f"- {row['name']}: {row['description']}" for row in record["rows"] if row["description"]]
    return "\n".join([*lines, "", *how, ""])


if __name__ == "__main__":
    main()
