"""The Triton kernels against the sums on the CPU, in Triton's interpreter.

The interpreter must be chosen before Triton is first imported, so the cases run in a process of their own.
"""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec

import pytest
import torch
from constraint_helpers import make_vocabulary

from agentflow.constraint import compile_constraint, condition, json_grammar

IN_INTERPRETER = os.environ.get("TRITON_INTERPRET") == "1"
in_interpreter = pytest.mark.skipif(not IN_INTERPRETER, reason="runs in the process that the last test starts")
SCHEMAS = (
    {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}, "required": ["city"]},
    {"enum": ["red", "green", {"a": [1, None]}]},
    {"type": "array", "items": {"type": "boolean"}, "maxItems": 3},
)
LENGTH = 12


@pytest.fixture(scope="module")
def batch():
    """Three canvases with two schemas, from logits, on both ways."""
    from agentflow.constraint.device_trellis import condition_logits

    vocabulary = make_vocabulary()
    constraints = [compile_constraint(json_grammar(SCHEMAS[i], is_strict=True), vocabulary) for i in (0, 1, 0)]
    generator = torch.Generator().manual_seed(0)
    logits = 3.0 * torch.randn(3, LENGTH, len(vocabulary), generator=generator)
    temperature = torch.tensor([1.0, 0.7, 0.5])
    states, left = [0, 0, constraints[0].advance(0, constraints[0].find_tokens(b'{"city":"Rome"}')[:2])], [0, 2, 5]
    device = condition_logits(
        logits, constraints, states, num_tokens_left=left, temperature=temperature, seeds=torch.tensor([1, 2, 3])
    )
    log_probs = (logits / temperature[:, None, None]).double().log_softmax(-1)
    return device, condition(log_probs, constraints, states, num_tokens_left=left), constraints, states, log_probs


@in_interpreter
def test_partition_marginals_and_entropies_equal_those_on_the_cpu(batch):
    """Single precision over the tokens, double along the chain: equal to 1e-5."""
    device, host, *_ = batch
    assert device.is_exact.all()
    assert torch.allclose(device.log_partition, host.log_partition, atol=1e-5, rtol=0)
    assert torch.allclose(device.entropies, host.entropies, atol=1e-5, rtol=0)
    assert torch.allclose(device.tail, host.tail, atol=1e-6, rtol=0)
    assert torch.equal(device.is_forced, host.is_forced)
    assert torch.allclose(device.marginals().double(), host.marginals(), atol=1e-5, rtol=0)


@in_interpreter
def test_the_best_string_is_the_same(batch):
    """Viterbi over pieces is Viterbi over atoms."""
    device, host, *_ = batch
    assert torch.equal(device.best(), host.best())


@in_interpreter
def test_draws_are_strings_of_the_language(batch):
    """Every joint draw is valid from where its canvas begins, and can end in time."""
    device, _, constraints, states, _ = batch
    generator = torch.Generator().manual_seed(5)
    for _ in range(3):
        for constraint, state, ids, left in zip(
            constraints, states, device.sample(generator).tolist(), (0, 2, 5), strict=True
        ):
            assert constraint.tokens_to_end(constraint.advance(state, ids)) <= left


@in_interpreter
def test_equal_randomness_takes_the_path_of_the_cpu(batch):
    """The same uniform numbers lead along the same labels, so draws have the same frequencies."""
    device, host, *_ = batch
    generator = torch.Generator().manual_seed(2)
    for _ in range(3):
        uniform = torch.rand(3, LENGTH, 3, generator=generator, dtype=torch.float64)
        labels = device.draw_labels(uniform[..., 0].contiguous())
        for b, row in enumerate(host._rows):
            chain = row.chain
            for label, atom in zip(labels[b].tolist(), row.messages.draw_atoms(uniform[b].numpy()), strict=True):
                assert atom in chain.label_atoms[chain.label_begin[label] : chain.label_begin[label + 1]]


@in_interpreter
def test_one_pass_gives_what_the_sampler_wants(batch):
    """Total, entropy and argmax of each position equal PyTorch's; draws have the right frequencies."""
    from agentflow.constraint.device_trellis import read_logits

    *_, log_probs = batch
    device = batch[0]
    plain = -(log_probs.exp() * log_probs).sum(-1)
    assert torch.allclose(device.reading.entropies.double(), plain, atol=1e-4, rtol=0)
    assert torch.equal(device.reading.argmax, log_probs.argmax(-1))
    logits = torch.tensor([0.5, 0.25, 0.15, 0.1]).log().expand(1, 300, 4).contiguous()
    reading = read_logits(logits, torch.ones(1), torch.tensor([7]))
    counts = torch.bincount(reading.sample[0], minlength=4) / 300
    assert (counts - torch.tensor([0.5, 0.25, 0.15, 0.1])).abs().max() < 0.15
    assert torch.allclose(reading.log_total, torch.zeros(1, 300, dtype=torch.float64), atol=1e-6)


@in_interpreter
def test_a_model_that_contradicts_the_schema_is_reported():
    """Below 1e-250 the posterior says that it is not exact."""
    from agentflow.constraint.device_trellis import condition_logits

    vocabulary = make_vocabulary()
    constraint = compile_constraint(json_grammar(SCHEMAS[0], is_strict=True), vocabulary)
    logits = torch.zeros(1, LENGTH, len(vocabulary))
    logits[:, :, vocabulary.control_ids["<|turn>"]] = 900.0
    posterior = condition_logits(
        logits, [constraint], [0], num_tokens_left=[0], temperature=torch.ones(1), seeds=torch.tensor([1])
    )
    assert not posterior.is_exact.any()


@pytest.mark.slow
@pytest.mark.skipif(IN_INTERPRETER, reason="this is that process")
@pytest.mark.skipif(
    find_spec("triton") is None, reason="triton is not installed: pip install 'agentflow-diffusion[gpu]'"
)
def test_the_kernels_pass_in_the_interpreter():
    """Run the cases above where Triton interprets its kernels on the CPU."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "ignore", __file__]
    environment = {**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    outcome = subprocess.run(  # noqa: S603 - this file, by this interpreter
        command, capture_output=True, text=True, env=environment, check=False, timeout=300
    )
    assert outcome.returncode == 0, outcome.stdout[-4000:]
    assert outcome.stdout.startswith("......s")
