"""Values of drafts that are copied from the conversation."""

from functools import partial
from itertools import product

import anyio
import numpy as np
import pytest
import torch

from agentflow.backend.diffusion import check, copying
from agentflow.backend.diffusion.backend import DiffusionBackend
from agentflow.backend.diffusion.copying import find_copies
from agentflow.backend.diffusion.loader import load_checkpoint
from agentflow.bench.harness import INSTRUCTIONS
from agentflow.bench.suite import make_suite
from agentflow.bench.world import World
from agentflow.types import GenerationRequest, GenerationSettings, SystemMessage, UserMessage


def worth(way, scores, source, known):
    """The worth of a way to write the positions: per position the source that is copied, or -1."""
    total, before = 0.0, None
    for p, at in enumerate(way):
        if at >= 0:
            loss = max(float(scores[p, source[at]] - scores[p].max()), copying._WORST)
            total += copying._GAIN + loss
            if before != at - 1 or before < 0:
                total -= copying._PRICE
        before = at
    if way[0] > 0:  # it may go on with a copy from before the positions
        num_same = 0
        while num_same < min(len(known), way[0]) and source[way[0] - 1 - num_same] == known[-1 - num_same]:
            num_same += 1
        if num_same:
            total += max(num_same * copying._GAIN, 0.0)
    return total


@pytest.mark.parametrize("seed", range(60))
def test_the_copies_are_the_best_of_all(seed):
    """No way to copy is worth more than the one that is found, by trying all."""
    random = np.random.default_rng(seed)
    num_positions, num_sources = random.integers(1, 6), random.integers(1, 6)
    scores = torch.from_numpy(random.normal(0, 4, (num_positions, 4)).astype(np.float32))
    source = random.integers(0, 4, num_sources).tolist()
    known = random.integers(0, 4, random.integers(0, 4)).tolist()

    ways = list(product(range(-1, num_sources), repeat=int(num_positions)))
    best = max(worth(way, scores, source, known) for way in ways)

    found = find_copies(scores, source, known).tolist()
    same = [way for way in ways if [source[at] if at >= 0 else -1 for at in way] == found]
    assert max(worth(way, scores, source, known) for way in same) == pytest.approx(best, abs=1e-4)


def test_a_value_that_is_a_token_longer_is_found():
    """A span that fits as a whole beats the best token of each position."""
    conversation = [5, 6, 20, 9, 21, 9, 22, 7]  # ... 371.5 _ * _ 22 ,
    scores = torch.zeros(8, 30)
    for p, (best, second) in enumerate([(20, 1), (9, 1), (9, 21), (9, 22), (22, 9), (2, 22), (3, 2), (3, 2)]):
        scores[p, best], scores[p, second] = 9.0, 8.0
    scores[4, 22] = 9.0
    assert scores.argmax(dim=-1).tolist()[:5] == [20, 9, 9, 9, 22]

    found = find_copies(scores, conversation, [1]).tolist()

    assert found[:5] == [20, 9, 21, 9, 22]
    assert found[5:] == [-1, -1, -1]


def test_what_is_sure_is_not_copied():
    """Where every position is sure of another token, there is nothing to copy."""
    scores = torch.zeros(6, 30)
    scores[torch.arange(6), torch.arange(20, 26)] = 30.0
    assert find_copies(scores, [1, 2, 3, 4, 5, 6, 7], [1, 2, 3]).tolist() == [-1] * 6


@pytest.mark.parametrize("num_sources", [0, 1, copying.NUM_SOURCES + 500])
def test_any_conversation_will_do(num_sources):
    """One without tokens gives no copies, and of a long one the end counts."""
    source = [7] * min(num_sources, 400) + [0] * max(num_sources - 400, 0)
    scores = torch.zeros(5, 30)
    scores[:, 7] = 9.0
    assert len(find_copies(scores, source, [])) == 5
    assert not (find_copies(scores, source, []) == 7).any() or num_sources == 1


@pytest.fixture(scope="module")
def backend():
    """The embedded model."""
    return DiffusionBackend(load_checkpoint("embedded"))


def first_turn(task):
    """Ask for the first turn of a task."""
    with World.opened(task.before) as world:
        tools = tuple(tool.spec for tool in world.tools(sorted(task.tools)))
    messages = (SystemMessage(INSTRUCTIONS), UserMessage(task.prompt))
    return GenerationRequest(messages=messages, tools=tools, settings=GenerationSettings(seed=1))


@pytest.mark.slow
def test_copies_save_passes_and_change_nothing(backend, monkeypatch):
    """Everyday tasks are begun with the same calls, in fewer passes."""
    requests = [first_turn(task) for task in make_suite(32, seed=7)]
    with_copies = [anyio.run(partial(backend.generate, request)) for request in requests]
    monkeypatch.setattr(check, "find_copies", lambda scores, _source, _known: np.full(len(scores), -1))
    without = [anyio.run(partial(backend.generate, request)) for request in requests]

    assert [g.message for g in with_copies] == [g.message for g in without]
    assert sum(g.usage.num_forwards for g in with_copies) < sum(g.usage.num_forwards for g in without)
