"""The benchmark for GPUs runs from start to end at a small size on the CPU."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script_method:DeprecationWarning")  # torch's own imports

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gpu.py"


@pytest.mark.slow
def test_a_small_run_writes_every_figure(tmp_path):
    """Kernels, roofline, steps and compiled steps for one and two canvases are measured, and nothing is left out."""
    command = [sys.executable, str(SCRIPT), "--small", "--canvases", "1,2", "--context", "40", "--repeats", "1"]
    environment = {**os.environ, "OUT": str(tmp_path), "OMP_NUM_THREADS": "1"}
    subprocess.run(command, check=True, capture_output=True, env=environment, timeout=300)  # noqa: S603 - our own script
    record = json.loads((tmp_path / "gpu.json").read_text())
    assert record["left_out"] == []
    assert [row["canvases"] for row in record["steps"]] == [1, 2]
    for row in record["steps"]:
        assert 0 < row["floor_ms"] < row["denoise_ms"]
        assert row["tokens_per_s"] > 0
        assert row["compiled_tokens_per_s"] > 0
    assert record["kernels"]["condition_ms"] > 0


@pytest.mark.slow
def test_the_shape_is_the_released_one():
    """25.2 billion parameters, of which a token uses 3.8: the published figures; no memory is taken for them."""
    sys.path.insert(0, str(SCRIPT.parent))
    try:
        import gpu
    finally:
        sys.path.remove(str(SCRIPT.parent))
    from transformers import DiffusionGemmaForBlockDiffusion

    from agentflow.backend.diffusion.untrained import build_config

    with gpu.parameters_on_meta():
        model = DiffusionGemmaForBlockDiffusion(build_config(**gpu.RELEASED))
    sizes = {name: parameter.numel() for name, parameter in model.model.decoder.named_parameters()}
    active = sum(size * (8 / 128 if "experts" in name else 1) for name, size in sizes.items())
    assert sum(sizes.values()) == pytest.approx(25.25e9, rel=1e-3)
    assert active == pytest.approx(3.84e9, rel=1e-3)
    assert {parameter.device for parameter in model.parameters()} == {torch.device("meta")}
