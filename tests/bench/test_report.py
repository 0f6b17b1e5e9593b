"""The report: a table for people and the same numbers as JSON."""

import io
import json

from rich.console import Console

from agentflow.bench.machine import this_machine
from agentflow.bench.metrics import TaskRecord
from agentflow.bench.report import Report, header_lines, print_report
from agentflow.types import Usage


def record(name, *, is_solved=True, denoising_steps=10) -> TaskRecord:
    """Make a record with round numbers."""
    usage = Usage(
        requests=2, output_tokens=40, num_canvases=2, denoising_steps=denoising_steps, num_forwards=10, model_time_s=1.5
    )
    return TaskRecord(
        task=name,
        kind=name.partition("-")[0],
        seed=0,
        is_solved=is_solved,
        failure="" if is_solved else "the answer is [bold]off[/]",
        duration_s=2.0,
        num_calls=2,
        num_valid_calls=2,
        num_reference_calls=2,
        num_exact_calls=1,
        usage=usage,
    )


REPORT = Report(
    suite="assistant",
    model="scripted",
    machine=this_machine(),
    seeds=(0,),
    deadline_s=10.0,
    modes={
        "one": [record("sum-1"), record("days-1"), record("days-2", is_solved=False)],
        "two": [record("sum-1", denoising_steps=0), record("days-1", denoising_steps=0)],
    },
)


def printed(width=120) -> str:
    """Print the report on a terminal without colours."""
    stream = io.StringIO()
    print_report(REPORT, Console(file=stream, width=width, color_system=None))
    return stream.getvalue()


def test_table_shows_counts_rates_and_intervals():
    """Solved tasks stand as a count with an interval, and speed beside success."""
    text = printed()
    assert "2/3 (21-94 %)" in text
    assert "output tokens/s" in text
    assert "20 (20-20)" in text


def test_left_to_right_models_have_no_denoising_steps():
    """A measure that does not exist is a dash, not a zero."""
    (row,) = [line for line in printed().splitlines() if line.startswith("steps per canvas  ")]
    assert row.split()[-1] == "-"


def test_failures_are_listed_as_they_are():
    """What went wrong is printed literally, without being read as markup."""
    assert "one: days-2 (seed 0): the answer is [bold]off[/]" in printed()


def test_nothing_is_lost_on_a_narrow_terminal():
    """At 80 columns no measure is cut away."""
    assert "…" not in printed(80).split("solved by kind")[0]


def test_json_holds_the_numbers_of_the_table():
    """Programs read the same numbers; records come along when asked for."""
    told = json.loads(json.dumps(REPORT.to_json()))
    assert told["modes"]["one"]["num_solved"] == 2
    assert told["modes"]["one"]["measures"]["output_tokens_per_second"]["value"] == 20.0
    assert len(told["modes"]["one"]["records"]) == 3
    assert "records" not in REPORT.to_json(has_records=False)["modes"]["one"]


def test_header_names_machine_versions_and_seeds():
    """A number without its machine cannot be compared."""
    text = "\n".join(header_lines(REPORT, num_tasks=3))
    assert f"{this_machine().num_cores} cores" in text
    assert "seeds 0" in text
    assert "torch" in text
