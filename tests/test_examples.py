"""Every example runs: on a script here, and on the embedded model where its checkpoint is."""

from __future__ import annotations

import importlib.util
import inspect
import os
import subprocess
import sys
from pathlib import Path

import anyio
import pytest

import agentflow.embedded
from agentflow import Model, ScriptedBackend, load_model
from agentflow.backend.scripted import call

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
CHECKPOINT = Path(agentflow.embedded.__file__).parent / "checkpoint" / "model.safetensors"

SCRIPTS = {
    "hello_agent": [
        [call("calculate", expression="128 * 46")],
        call("weekday", date="2026-03-14"),
        {"total": 5888, "weekday": "Saturday"},
    ],
    "decode_schema": [
        {"customer": "Harbour Supplies", "total": 1249.5, "currency": "EUR", "due": "2026-04-30"},
        {"name": "Ada Moore", "email": "ada.moore@example.org"},
    ],
    "custom_tools": [
        call("get_price", product="ketle"),
        [call("get_price", product="kettle"), call("check_stock", product="kettle")],
        {"price": 34.5, "quantity": 7},
    ],
    "streaming": [call("calculate", expression="17 * 23"), "The result is 391."],
    "approval": [call("write_file", path="todo.txt", text="call Ann at noon"), "Done."],
    "parallel_plan": [{"total": 895.5}],
    "agents_as_tools": [
        call("send_to_mathematician", task="Work out 128 + 46"),
        call("calculate", expression="128 + 46"),
        {"value": 174},
        {"value": 174},
    ],
    "resume": [
        call("calculate", expression="12.5 * 8"),
        call("add_note", title="Rent", text="100"),
        call("weekday", date="2026-03-14"),
        {"total": 100, "weekday": "Saturday"},
    ],
}
PRINTED = {
    "hello_agent": ["calculate({'expression': '128 * 46'}) -> {'value': 5888}", "total=5888 weekday='Saturday'"],
    "decode_schema": ["customer='Harbour Supplies' total=1249.5", "{'name': 'Ada Moore'"],
    "custom_tools": ["Offer(price=34.5, quantity=7) after ['get_price', 'get_price', 'check_stock']"],
    "streaming": [
        "turn 1\n  step  1",
        "call calculate({'expression': '17 * 23'})",
        "-> {'value': 391}",
        "answer: The result",
    ],
    "approval": ["may it run write_file(", "Done. {'outbox/todo.txt': 'call Ann at noon'}"],
    "parallel_plan": [
        '○ sum calculate(expression="${kettle.price} + ${lamp.price} + ${desk.price}") after kettle, lamp, desk',
        "all calls took 0.",
        '● sum calculate(expression="34.5 + 49.0 + 812.0")',
        "total=895.5",
    ],
    "agents_as_tools": [
        "mathematician: calculate({'expression': '128 + 46'}) -> {'value': 174}\nchief: send_to_mathematician(",
        "value=174, 4 model turns of both agents",
    ],
    "resume": ["call weekday(", "total=100.0 weekday='Saturday' ['calculate', 'add_note', 'weekday']"],
}
EMBEDDED = {
    **PRINTED,
    "custom_tools": ["Offer(price=34.5, quantity=7) after ['get_price', 'check_stock']"],
    "decode_schema": ["customer='Harbour Supplies' total=1249.5 currency='EUR' due='2026-04-30'"],
    "approval": ["may it run write_file(", "{'outbox/todo.txt': 'call Ann at noon'}"],
    "streaming": ["turn 1\n  step  1", "-> {'value': 391}", "answer: The result is 391"],
}
"""What the embedded model is held to."""


def load(name):
    """Import an example by its path, afresh."""
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_example_is_tested_here():
    """An example that nobody runs goes stale."""
    assert {path.stem for path in EXAMPLES.glob("*.py")} == {*SCRIPTS, "scripted_test"}


def test_every_example_is_short_and_says_how_to_run_it():
    """An example is read at one glance: at most eighty lines, the command among the first five."""
    for path in EXAMPLES.glob("*.py"):
        lines = path.read_text().splitlines()
        assert len(lines) <= 80, path.name
        assert any(f"examples/{path.name}" in line for line in lines[:5]), path.name


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Run examples that keep files in a folder of the test."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", SCRIPTS)
def test_examples_run_on_a_script(name, capsys):
    """With a model that says the right things, every example prints what it promises."""
    backend = ScriptedBackend(SCRIPTS[name], num_draft_steps=2)
    main = load(name).main
    model = Model(backend) if name == "decode_schema" else backend
    anyio.run(main, model) if inspect.iscoroutinefunction(main) else main(model)
    printed = capsys.readouterr().out
    for text in PRINTED[name]:
        assert text in printed
    assert len(backend.requests) == len(SCRIPTS[name])


@pytest.mark.slow
def test_the_example_of_a_test_passes():
    """The example that is itself a test file passes under pytest."""
    run = run_python("-m", "pytest", "-p", "no:cacheprovider", str(EXAMPLES / "scripted_test.py"))
    assert run.returncode == 0, run.stdout + run.stderr
    assert "4 passed" in run.stdout


@pytest.mark.slow
def test_the_example_of_resuming_goes_on_where_its_process_died(tmp_path, capsys):
    """The first process dies after two calls; the second one makes the third call only, and the note is there once."""
    code = (
        "import sys; sys.path[:0] = ['tests']; import test_examples as t; from pathlib import Path;"
        f"t.load('resume').main(t.ScriptedBackend(t.SCRIPTS['resume']), folder=Path({str(tmp_path)!r}), die_after=2)"
    )
    run = run_python("-c", code)
    assert (run.returncode, run.stdout.count("call ")) == (9, 2), run.stdout + run.stderr
    report = load("resume").main(ScriptedBackend(SCRIPTS["resume"][2:]), folder=tmp_path)
    printed = capsys.readouterr().out
    assert report.total == 100
    assert "going on with 'rent'" in printed
    assert printed.count("call ") == 1
    assert (tmp_path / "resume_notes.json").read_text().count("Rent") == 1


@pytest.fixture(scope="module")
def embedded():
    """The embedded model, loaded once."""
    with load_model("embedded") as model:
        yield model


@pytest.mark.slow
@pytest.mark.embedded
@pytest.mark.skipif(not CHECKPOINT.is_file(), reason="the embedded checkpoint is not here; train it first")
@pytest.mark.parametrize("name", SCRIPTS)
def test_examples_run_on_the_embedded_model(name, embedded, capsys):
    """Every example makes the right calls and gives the right answer on the embedded model."""
    main = load(name).main
    anyio.run(main, embedded) if inspect.iscoroutinefunction(main) else main(embedded)
    printed = capsys.readouterr().out
    for text in EMBEDDED[name]:
        assert text in printed


@pytest.mark.slow
@pytest.mark.embedded
@pytest.mark.skipif(not CHECKPOINT.is_file(), reason="the embedded checkpoint is not here; train it first")
def test_an_example_runs_as_its_docstring_says():
    """From the command line, from the repository's root, the first example prints a report."""
    run = run_python(str(EXAMPLES / "hello_agent.py"), "--model", "embedded")
    assert run.returncode == 0, run.stdout + run.stderr
    assert "weekday=" in run.stdout


def run_python(*arguments):
    """Run Python in a process of its own, from the repository's root, on the path of this one."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False)  # noqa: S603
