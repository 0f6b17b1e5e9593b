"""``agentflow bench``: its options, and a whole run with a script in place of the model."""

import io
import json
import sys

import pytest
from rich.console import Console

from agentflow.backend.scripted import ScriptedBackend, call
from agentflow.bench.harness import Mode
from agentflow.bench.suite import make_suite
from agentflow.cli import bench
from agentflow.cli.app import main
from agentflow.errors import MissingDependencyError
from agentflow.types import GenerationRequest, ToolMessage


def play_by_reference(request: GenerationRequest):
    """Reply as a perfect model would: the next reference call of the task, then the right answer."""
    prompt = request.messages[1].text
    tasks = (*make_suite(8), *make_suite(bench.NUM_WARM_UP_TASKS, seed=bench.WARM_UP_SEED))
    task = next(task for task in tasks if task.prompt == prompt)
    num_done = sum(isinstance(message, ToolMessage) for message in request.messages)
    if num_done < len(task.reference):
        reference = task.reference[num_done]
        return call(reference.name, **reference.arguments)
    return dict(task.answer)


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["--modes", "diffusion,magic"], "there is no mode 'magic'"),
        (["--seeds", "0,x"], "--seeds must be whole numbers"),
        (["--seeds", "1,1"], "names a seed twice"),
        (["--tasks", "0"], "--tasks"),
    ],
)
def test_wrong_options_end_with_2(arguments, part, capsys):
    """A wrong option is told before anything is loaded."""
    assert main(["bench", *arguments]) == 2
    assert part in capsys.readouterr().err


def test_modes_keep_the_order_of_the_table():
    """However modes are listed, the table stays the same."""
    assert bench._parse_modes("left-to-right, diffusion") == ("diffusion", "left-to-right")


@pytest.mark.slow
def test_a_whole_run(monkeypatch):
    """Header, progress and report of two ways of decoding, each with its own backend, every task and seed once."""
    loaded = []

    def load_scripted(name: str, model: str) -> Mode:
        loaded.append((name, model))
        return Mode(name=bench.MODES[name], backend=ScriptedBackend(play_by_reference))

    monkeypatch.setattr(bench, "load_mode", load_scripted)
    stream = io.StringIO()
    report = bench.measure(
        make_suite(8), ("diffusion", "left-to-right"), (0, 1), model="scripted", console=Console(file=stream, width=100)
    )
    assert loaded == [("diffusion", "scripted"), ("left-to-right", "scripted")]
    told = json.loads(json.dumps(report.to_json()))
    assert {mode: (m["num_solved"], m["num_tasks"]) for mode, m in told["modes"].items()} == {
        "diffusion": (16, 16),
        "left-to-right": (16, 16),
    }
    assert "suite assistant, 8 tasks, seeds 0, 1" in stream.getvalue()
    assert stream.getvalue().count("  solved  ") == 32


@pytest.mark.slow
def test_a_missing_llguidance_is_told_with_its_cure(checkpoint, monkeypatch):
    """Whoever has not installed the extra learns its name, and how to do without."""
    monkeypatch.setitem(sys.modules, "llguidance", None)
    with pytest.raises(MissingDependencyError) as caught:
        bench.load_mode("left-to-right", checkpoint)
    assert "agentflow-diffusion[dev]" in caught.value.hint
    assert "--modes" in caught.value.hint
