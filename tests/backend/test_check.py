"""Drafts that the causal encoder checks: what left to right writes, in fewer passes."""

from functools import partial

import pytest
import torch

from agentflow.backend.autoregressive import AutoregressiveBackend
from agentflow.backend.diffusion import checked_step
from agentflow.backend.diffusion.backend import DiffusionBackend
from agentflow.backend.diffusion.loader import load_checkpoint
from agentflow.backend.diffusion.untrained import save_untrained_checkpoint
from agentflow.types import GenerationRequest, GenerationSettings, ToolSpec, UserMessage

SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 12}, "days": {"type": "integer"}},
    "required": ["city", "days"],
}
TOOL = ToolSpec("book", "Book a table.", SCHEMA)
REQUESTS = [
    GenerationRequest(messages=(UserMessage("Five days in Oslo, please."),), output_schema=SCHEMA),
    GenerationRequest(messages=(UserMessage("A table in Rome for 3 days."),), tools=(TOOL,), tool_choice="required"),
]


def greedy(denoiser, row):
    """Decode left to right, one token a pass."""
    context, written = denoiser.open_context(), []
    hidden = denoiser.read_inplace(context, row.prompt_ids)
    while len(written) < row.max_new_tokens and not set(written) & row.end_ids:
        written.append(int(denoiser.logits(hidden[0, -1]).argmax()))
        hidden = denoiser.read_inplace(context, written[-1:])
    return written


@pytest.mark.parametrize("seed", range(4))
def test_free_drafts_become_what_greedy_decoding_writes(denoiser, make_row, run_rows, seed):
    """Without a constraint, over several canvases, checked drafts end as greedy decoding does."""
    row = make_row(seed, max_new_tokens=40, is_checked=True)
    assert run_rows(denoiser, [row]) == [greedy(denoiser, row)]


def test_rows_do_not_disturb_each_other(denoiser, make_row, run_rows):
    """A checked row writes the same beside rows that are not checked."""
    alone = run_rows(denoiser, [make_row(1, is_checked=True)])[0]
    together = run_rows(denoiser, [make_row(2), make_row(1, is_checked=True), make_row(3)])
    assert together[1] == alone
    assert together[0] == run_rows(denoiser, [make_row(2)])[0]


def test_a_whole_canvas_of_good_guesses_costs_two_passes(denoiser, make_row, monkeypatch):
    """A draft that the encoder agrees with is taken whole: one pass to write it, one to check it."""
    row = make_row(5, is_checked=True, max_new_tokens=16, end_ids=(95,))
    expected = greedy(denoiser, row)
    row.open(denoiser)
    predict = checked_step.predict

    def guess_right(network, segments):
        predictions = predict(network, segments)
        if segments[0].canvas is None:
            return predictions
        guesses = torch.nn.functional.one_hot(torch.tensor(expected), 96) * 20.0
        return [predictions[0]._replace(canvas=guesses)]

    monkeypatch.setattr(checked_step, "predict", guess_right)
    while not row.is_finished:
        checked_step.check_step(denoiser, [row])
    assert row.committed == expected
    assert (row.counts.denoising_steps, row.counts.num_checks) == (1, 1)


@pytest.fixture(scope="module")
def backends(tmp_path_factory):
    """An untrained checkpoint, by canvases and from left to right."""
    checkpoint = load_checkpoint(save_untrained_checkpoint(tmp_path_factory.mktemp("untrained")))
    return DiffusionBackend(checkpoint), AutoregressiveBackend(checkpoint, mask="agentflow")


@pytest.mark.slow
@pytest.mark.parametrize("request_", REQUESTS, ids=["answer", "call"])
def test_constrained_drafts_become_what_the_masked_twin_writes(backends, request_):
    """Under a schema, checked drafts end as the left-to-right twin with the same automaton does, in no more passes."""
    import anyio

    diffusion, twin = backends
    settings = GenerationSettings(seed=3, is_checked=True, max_new_tokens=48)
    request = GenerationRequest(**{**vars(request_), "settings": settings})
    drafts = []
    checked = anyio.run(partial(diffusion.generate, request, on_draft=drafts.append))
    expected = anyio.run(twin.generate, request)
    assert drafts[-1].is_committed
    assert checked.message == expected.message
    assert checked.usage.num_forwards <= expected.usage.num_forwards + checked.usage.num_canvases


@pytest.mark.parametrize("num_right", [0, 5, 16])
def test_a_warm_start_writes_the_same(denoiser, make_row, run_rows, num_right):
    """Whatever the draft, what is written is what was written without it; a right draft costs one pass."""
    cold = make_row(5, is_checked=True, max_new_tokens=16)
    expected = run_rows(denoiser, [cold])[0]
    draft = [*expected[:num_right], *(6 + (token + 1) % 90 for token in expected[num_right:])]

    warm = make_row(5, is_checked=True, max_new_tokens=16, draft_ids=draft)

    assert run_rows(denoiser, [warm])[0] == expected
    if num_right == 16:
        assert (warm.counts.denoising_steps, warm.counts.num_checks, warm.counts.num_canvases) == (0, 1, 1)
        assert cold.counts.denoising_steps + cold.counts.num_checks > 1


def test_an_unchecked_row_begins_with_its_draft(denoiser, make_row):
    """A warm start puts the draft into the first canvas, and noise behind it."""
    row, cold = make_row(3, draft_ids=[7, 8, 9]), make_row(3)
    row.open(denoiser)
    cold.open(denoiser)

    assert row.tokens[:3].tolist() == [7, 8, 9]
    assert torch.equal(row.tokens[3:], cold.tokens[3:])
