"""Training resumes with nothing lost, and its state becomes a folder that loads anywhere."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from functools import partial
from itertools import islice

import pytest
import torch

from agentflow.embedded.batches import BatchPlan, BatchStream, make_pool
from agentflow.embedded.checkpoint import FOLDER, export_run
from agentflow.embedded.examples import Encoder
from agentflow.embedded.trainer import Trainer, TrainingPlan
from agentflow.errors import ConfigurationError

PLAN = TrainingPlan(
    seed=3, steps=6, warm_up_steps=2, decay_steps=2, num_tokens=1500, num_canvases=2, num_copying_pools=1
)


def _trainer(folder, tokenizer, shape):
    tokenizer.save_pretrained(folder / "tokenizer")
    return Trainer(folder, PLAN, shape=shape, dtype=torch.float32)


@pytest.mark.slow
def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path, tokenizer, shape):
    """Six steps in one go and in two calls give the same weights, bit for bit, and the same losses."""
    _trainer(tmp_path / "whole", tokenizer, shape).run(log_every=1)
    _trainer(tmp_path / "parts", tokenizer, shape).run(num_steps=4, log_every=1)
    resumed = _trainer(tmp_path / "parts", tokenizer, shape)
    assert resumed.step == 4
    resumed.run(log_every=1)
    states = [torch.load(tmp_path / name / "state.pt", weights_only=True) for name in ("whole", "parts")]
    assert states[0]["positions"] == states[1]["positions"]
    for name, value in states[0]["model"].items():
        assert torch.equal(value, states[1]["model"][name]), name
    logs = [[json.loads(x) for x in (tmp_path / n / "log.jsonl").read_text().splitlines()] for n in ("whole", "parts")]
    assert [line["total"] for line in logs[0]] == [line["total"] for line in logs[1]]


def test_the_rate_rises_stays_and_falls():
    """The learning rate goes up over the warm-up, stays, and reaches zero after the last step."""
    plan = replace(PLAN, steps=100, warm_up_steps=10, decay_steps=20)
    assert plan.rate(0) == pytest.approx(0.1)
    assert plan.rate(50) == 1
    assert plan.rate(90) == pytest.approx(0.5)
    assert plan.rate(100) == 0


@pytest.mark.slow
def test_an_exported_run_loads_with_nothing_missing(tmp_path, tokenizer, shape):
    """`from_pretrained` finds every key, needs no option, and gives the run's logits."""
    from transformers import AutoTokenizer, DiffusionGemmaForBlockDiffusion

    trainer = _trainer(tmp_path / "run", tokenizer, shape)
    trainer.run(num_steps=1)
    export_run(tmp_path / "run", tmp_path / "folder")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Initializing zero-element tensors")
        loaded, report = DiffusionGemmaForBlockDiffusion.from_pretrained(tmp_path / "folder", output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    ids = torch.randint(512, (1, 30))
    given, right = (m.eval()(input_ids=ids, decoder_input_ids=ids[:, :24]).logits for m in (loaded, trainer.model))
    assert torch.allclose(given, right, atol=1e-5)
    assert AutoTokenizer.from_pretrained(tmp_path / "folder").get_vocab() == tokenizer.get_vocab()


@pytest.mark.slow
def test_a_run_can_begin_with_a_checkpoint(tmp_path, tokenizer, shape):
    """A new run on a checkpoint folder starts with its weights and its tokenizer."""
    _trainer(tmp_path / "run", tokenizer, shape).run(num_steps=1)
    export_run(tmp_path / "run", tmp_path / "folder")
    begun = Trainer(tmp_path / "next", PLAN, shape=shape, dtype=torch.float32, initial=tmp_path / "folder")
    state = torch.load(tmp_path / "run" / "state.pt", weights_only=True)
    assert all(torch.equal(value, state["model"][name]) for name, value in begun.model.state_dict().items())
    assert begun.tokenizer.get_vocab() == tokenizer.get_vocab()
    assert begun.step == 0


@pytest.mark.slow
def test_an_exported_run_can_be_blended_with_what_it_began_with(tmp_path, tokenizer, shape):
    """The weights lie between the two by the share that was asked for; a share needs something to blend with."""
    trainer = _trainer(tmp_path / "run", tokenizer, shape)
    states = []
    for name in ("first", "second"):
        trainer.run(num_steps=1)
        export_run(tmp_path / "run", tmp_path / name)
        states.append({key: value.clone() for key, value in trainer.model.state_dict().items()})
    export_run(tmp_path / "run", tmp_path / "both", blend=tmp_path / "first", share=0.25)
    blended = Trainer(tmp_path / "next", PLAN, shape=shape, dtype=torch.float32, initial=tmp_path / "both").model
    first, second = states
    for name, value in blended.state_dict().items():
        assert torch.allclose(value, 0.75 * first[name] + 0.25 * second[name], atol=1e-6), name
    assert any(not torch.equal(first[name], second[name]) for name in first)
    with pytest.raises(ConfigurationError, match=r"share .* 0\.5"):
        export_run(tmp_path / "run", tmp_path / "bad", share=0.5)


@pytest.mark.embedded
def test_the_shipped_folder_is_whole_and_small():
    """The folder beside the package holds what a loader needs, in at most 25 MB."""
    names = {path.name for path in FOLDER.iterdir()}
    needed = {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    assert needed | {"chat_template.jinja", "agentflow.json", "README.md"} <= names
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) <= 25_000_000


@pytest.mark.slow
def test_two_processes_take_the_steps_of_one(tmp_path, tokenizer, shape):
    """The gradient of a step is the mean over its batches, whoever computed them."""
    plan = replace(PLAN, num_parts=4, steps=2, warm_up_steps=0, decay_steps=0)
    losses = {}
    for num_workers in (1, 2):
        folder = tmp_path / str(num_workers)
        tokenizer.save_pretrained(folder / "tokenizer")
        trainer = Trainer(folder, plan, shape=shape, dtype=torch.float32, num_workers=num_workers)
        before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
        trainer.run(log_every=1)
        state = torch.load(folder / "state.pt", weights_only=True)
        assert len(state["positions"]) == num_workers
        assert any(not torch.equal(value, before[name]) for name, value in state["model"].items())
        losses[num_workers] = [json.loads(x)["total"] for x in (folder / "log.jsonl").read_text().splitlines()]
    assert losses[1] == pytest.approx(losses[2], rel=0.25)


@pytest.mark.slow
def test_fixed_shares_give_the_same_weights_again(tmp_path, tokenizer, shape):
    """With fixed shares, two processes give the same weights bit for bit, also when the run is stopped and resumed."""
    plan = replace(PLAN, num_parts=4, steps=3)
    states = []
    for name, stops in (("whole", [None]), ("parts", [1, None])):
        tokenizer.save_pretrained(tmp_path / name / "tokenizer")
        for num_steps in stops:
            trainer = Trainer(
                tmp_path / name, plan, shape=shape, dtype=torch.float32, num_workers=2, has_fixed_shares=True
            )
            trainer.run(num_steps=num_steps)
        states.append(torch.load(tmp_path / name / "state.pt", weights_only=True))
    assert states[0]["step"] == states[1]["step"] == 3
    assert states[0]["positions"] == states[1]["positions"]
    assert all(torch.equal(value, states[1]["model"][name]) for name, value in states[0]["model"].items())


def test_other_workers_begin_behind_all_pools_that_were_begun():
    """No pool is taken twice when the number of workers changes."""
    from agentflow.embedded.trainer import _share_out

    assert _share_out([(3, 1), (2, 0)], 2) == [(3, 1), (2, 0)]
    assert _share_out([(3, 1)], 2) == [(2, 0), (2, 0)]
    assert _share_out([(3, 1), (2, 0)], 1) == [(8, 0)]


@pytest.mark.slow
def test_processes_make_the_same_data_as_the_thread(tokenizer):
    """Whoever makes the pools, the batches and their order are the same."""
    plan = BatchPlan(seed=1, canvas_length=24, num_tokens=2000, pool_size=8)
    make = partial(make_pool, Encoder(tokenizer), plan)
    streams = [BatchStream(make, pool=1, num_makers=number) for number in (0, 2)]
    for one, other in zip(*(islice(stream, 6) for stream in streams), strict=True):
        assert torch.equal(one.ids, other.ids)
        assert torch.equal(one.canvases, other.canvases)
        assert torch.equal(one.weights, other.weights)
    assert streams[0].position == streams[1].position
    for stream in streams:
        stream.close()
