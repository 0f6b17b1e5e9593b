"""One training run: its state, its steps, and how it is kept on disk.

A run is a folder:

    RUN/tokenizer/     the tokenizer, trained when the run begins
    RUN/state.pt       weights, optimizers, random state and place in the data; replaced as a whole
    RUN/log.jsonl      one line per logged step

A run that is stopped and resumed takes the same steps as one that was not.
"""

from __future__ import annotations

import json
import os
import time
import warnings
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch

from agentflow.embedded.batches import Batch, BatchPlan, BatchStream, make_pool
from agentflow.embedded.clock import TrainingClock
from agentflow.embedded.configuration import EmbeddedShape, build_model
from agentflow.embedded.crew import Crew
from agentflow.embedded.data.conversations import COPYING, MIXTURE, make_conversation
from agentflow.embedded.examples import Encoder
from agentflow.embedded.network import Network, Sizes, gather_weights
from agentflow.embedded.objective import Losses, Objective, compute_losses
from agentflow.embedded.tokenizer import control_ids, train_tokenizer
from agentflow.protocol import render_prompt, render_turn
from agentflow.types import AssistantMessage

_TOKENIZER_SEED, _NUM_TOKENIZER_CONVERSATIONS = 99, 6000


@dataclass(frozen=True, kw_only=True)
class TrainingPlan:
    """Everything that a run's numbers follow from.

    Attributes:
        seed: Seed of weights, data and noise.
        steps: Optimizer steps.
        warm_up_steps: Steps in which the learning rate rises.
        decay_steps: Last steps, in which it falls to zero.
        matrix_rate: Learning rate of Muon, for matrices.
        other_rate: Learning rate of AdamW, for embeddings and norms.
        num_tokens: Most tokens of a batch.
        num_canvases: Canvases of a conversation in a batch.
        num_copying_pools: Pools of the data in which everything is copying.
        num_parts: Batches whose gradients make one step.
        mixture: Share of each kind of conversation.
        max_norm: Gradients are scaled down to this norm.
    """

    seed: int = 0
    steps: int = 10_000
    warm_up_steps: int = 100
    decay_steps: int = 1500
    matrix_rate: float = 0.004
    other_rate: float = 0.003
    num_tokens: int = 9000
    num_canvases: int = 4
    num_copying_pools: int = 12
    num_parts: int = 1
    mixture: Mapping[str, float] = field(default_factory=lambda: MIXTURE)
    max_norm: float = 1.0

    def rate(self, step: int) -> float:
        """Give the share of the learning rate at a step: up, level, down to zero."""
        rising = (step + 1) / self.warm_up_steps if self.warm_up_steps else 1.0
        falling = (self.steps - step) / self.decay_steps if self.decay_steps else 1.0
        return max(0.0, min(1.0, rising, falling))


class Trainer:
    """A run in progress.

    Args:
        folder: Folder of the run; made if it is not there, resumed if it holds a state.
        plan: See `TrainingPlan`; may differ from the one that the state was made with.
        shape: Sizes of the model; a vocabulary of another size than the tokenizer's is an error.
        objective: See `Objective`.
        device: Where to train.
        dtype: Type of the matrix products.
        is_compiled: Use `torch.compile`.
        initial: Checkpoint folder whose weights and tokenizer a new run begins with; its shape must be `shape`.
        clock: Time budget; when it is spent the run ends, whatever the plan's steps.
        num_workers: Processes that share the batches of a step; on a GPU one.
        num_makers: Processes that make the data of each worker; 0: a thread of its own.
        has_fixed_shares: Share the batches of a step out alike in every step, so that a run with a given number of
            steps gives the same weights again; a worker that is slow for a while then delays the others.
    """

    def __init__(
        self,
        folder: Path,
        plan: TrainingPlan,
        *,
        shape: EmbeddedShape,
        objective: Objective | None = None,
        device: str = "cpu",
        dtype: torch.dtype = torch.bfloat16,
        is_compiled: bool = False,
        initial: Path | None = None,
        clock: TrainingClock | None = None,
        num_workers: int = 1,
        num_makers: int = 0,
        has_fixed_shares: bool = False,
    ) -> None:
        self.has_fixed_shares = has_fixed_shares
        self.folder, self.plan, self.shape = folder, plan, shape
        self.objective = objective or Objective()
        self.clock, self.num_workers, self.num_makers = clock or TrainingClock(), num_workers, num_makers
        self.device, self.dtype, self.is_compiled = torch.device(device), dtype, is_compiled
        folder.mkdir(parents=True, exist_ok=True)
        if initial is not None and not (folder / "tokenizer").exists():
            open_tokenizer(initial, vocab_size=shape.vocab_size).save_pretrained(folder / "tokenizer")
        self.tokenizer = open_tokenizer(folder / "tokenizer", vocab_size=shape.vocab_size)
        torch.manual_seed(plan.seed)
        self.model = build_model(shape, control_ids=control_ids(self.tokenizer))
        if initial is not None:
            copy_weights(initial, self.model)
        self.model.to(self.device)
        self.sizes = Sizes.of(self.model)
        self.optimizers = _make_optimizers(self.model, plan)
        self.step, self._positions = 0, [(0, 0)] * num_workers
        self._is_stopping = False
        if (folder / "state.pt").exists():
            self._load()

    def run(self, *, num_steps: int | None = None, save_every_s: float = 240.0, log_every: int = 20) -> None:
        """Train to the end of the plan, or `num_steps` steps, and save."""
        last = self.plan.steps if num_steps is None else min(self.plan.steps, self.step + num_steps)
        window: list[Losses] = []
        saved_at = logged_at = time.monotonic()
        crew = self._gather_crew()
        try:
            while self.step < last and not self._is_stopping and self.clock.rate() > 0:
                self.clock.start_step()
                window.append(self._take_step(crew))
                self._positions = crew.positions()
                self.clock.end_step()
                now = time.monotonic()
                if self.step % log_every == 0:
                    self._log(window, (now - logged_at) / len(window))
                    window, logged_at = [], now
                if now - saved_at > save_every_s:
                    self.save()
                    saved_at = now
        finally:
            crew.close()
        self.save()

    def stop(self) -> None:
        """Have `run` end after the step under way; it saves, so nothing is lost."""
        self._is_stopping = True

    def save(self) -> None:
        """Write the state, all or nothing."""
        state = {
            "model": self.model.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "step": self.step,
            "spent_s": self.clock.spent_s,
            "positions": self._positions,
            "plan": asdict(self.plan),
            "shape": asdict(self.shape),
            "objective": asdict(self.objective),
        }
        part = self.folder / "state.part"
        torch.save(state, part)
        os.replace(part, self.folder / "state.pt")  # noqa: PTH105 - the atomic one

    def _load(self) -> None:
        state = torch.load(self.folder / "state.pt", map_location=self.device, weights_only=True)
        self.model.load_state_dict(state["model"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.step = state["step"]
        self._positions = _share_out([tuple(position) for position in state["positions"]], self.num_workers)
        self.clock.spent_s = state.get("spent_s", 0.0)

    def _gather_crew(self) -> Crew:
        """Begin the streams and the helpers; noise follows from seed, step and place, pools from the worker."""
        trained = [p for optimizer in self.optimizers for group in optimizer.param_groups for p in group["params"]]
        generator = torch.Generator(self.device)

        def compute(step: int, place: int, batch: Batch) -> Losses:
            generator.manual_seed(zlib.crc32(f"{self.plan.seed}/{step}/{place}".encode()))
            network = Network(gather_weights(self.model, self.dtype), self.sizes, is_compiled=self.is_compiled)
            return compute_losses(network, batch.to(self.device), self.objective, generator)

        streams = [partial(self._open_stream, worker) for worker in range(self.num_workers)]
        return Crew(trained, compute, streams, num_parts=self.plan.num_parts, has_fixed_shares=self.has_fixed_shares)

    def _open_stream(self, worker: int) -> BatchStream:
        encoder = Encoder(self.tokenizer)

        def make(index: int) -> list[Batch]:
            pool = index * self.num_workers + worker
            plan = BatchPlan(
                seed=self.plan.seed,
                canvas_length=self.shape.canvas_length,
                num_canvases=self.plan.num_canvases,
                num_tokens=self.plan.num_tokens,
                mixture=COPYING if pool < self.plan.num_copying_pools else self.plan.mixture,
                pool_size=256 * max(1, self.plan.num_tokens // 8000),
            )
            return make_pool(encoder, plan, pool)

        pool, batch = self._positions[worker]
        return BatchStream(make, pool=pool, batch=batch, num_makers=self.num_makers)

    def _take_step(self, crew: Crew) -> Losses:
        rate = self.plan.rate(self.step) * self.clock.rate()
        losses = crew.accumulate(self.step)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.plan.max_norm)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["full_lr"] * rate
            optimizer.step()
        self.step += 1
        return losses

    def _log(self, window: list[Losses], seconds_per_step: float) -> None:
        line: dict[str, Any] = {
            "step": self.step,
            "pool": self._positions[0][0],
            "s_per_step": round(seconds_per_step, 3),
        }
        for name, values in zip(Losses._fields, zip(*window, strict=True), strict=True):
            line[name] = round(torch.stack(values).nanmean().item(), 4)
        line["time"] = time.strftime("%H:%M:%S")
        with (self.folder / "log.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def _share_out(positions: list[tuple[int, int]], num_workers: int) -> list[tuple[int, int]]:
    """Give each worker its place; other workers than before begin behind every pool that was begun."""
    if len(positions) == num_workers:
        return positions
    num_begun = len(positions) * (1 + max(pool for pool, _ in positions))
    return [(-(-num_begun // num_workers), 0)] * num_workers


def copy_weights(folder: Path, model: Any) -> None:
    """Put the weights of a checkpoint folder into `model`.

    Raises:
        ValueError: The checkpoint has another shape.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Initializing zero-element tensors")  # a router of no experts
        weights = type(model).from_pretrained(folder).state_dict()
    differing = [name for name, value in model.state_dict().items() if weights[name].shape != value.shape]
    if differing:
        raise ValueError(
            f"{folder} has another shape than the model: {differing[0]}; give its sizes on the command line"
        )
    model.load_state_dict(weights)


def open_tokenizer(folder: Path, *, vocab_size: int) -> Any:
    """Open the tokenizer of a folder, or train it on the first conversations of a stream of its own."""
    from transformers import PreTrainedTokenizerFast

    if not (folder / "tokenizer.json").exists():
        train_tokenizer(_texts(), vocab_size=vocab_size).save_pretrained(folder)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    if len(tokenizer) != vocab_size:
        raise ValueError(f"the tokenizer in {folder} has {len(tokenizer)} tokens, the model {vocab_size}")
    return tokenizer


def _texts() -> list[str]:
    texts = []
    for index in range(_NUM_TOKENIZER_CONVERSATIONS):
        conversation = make_conversation(_TOKENIZER_SEED, index)
        *before, last = conversation.messages
        segments = render_prompt(before, conversation.tools, conversation.output_schema)
        if isinstance(last, AssistantMessage):
            segments += render_turn(last)
        texts += [segment for segment in segments if isinstance(segment, str)]
    return texts


def _make_optimizers(model: Any, plan: TrainingPlan) -> list[torch.optim.Optimizer]:
    """Give Muon for the matrices of the layers and AdamW for everything else that is trained."""
    named = dict(model.model.decoder.named_parameters())
    trained = {name: value for name, value in named.items() if ".router." not in name and ".experts." not in name}
    matrices = [value for name, value in trained.items() if value.ndim == 2 and "embed" not in name]  # noqa: PLR2004
    chosen = {id(value) for value in matrices}
    others = [value for value in trained.values() if id(value) not in chosen]
    muon = torch.optim.Muon(
        matrices, lr=plan.matrix_rate, weight_decay=0.0, momentum=0.95, adjust_lr_fn="match_rms_adamw"
    )
    adam = torch.optim.AdamW(others, lr=plan.other_rate, betas=(0.9, 0.98), weight_decay=0.0)
    for optimizer, rate in ((muon, plan.matrix_rate), (adam, plan.other_rate)):
        for group in optimizer.param_groups:
            group["full_lr"] = rate
    return [muon, adam]
