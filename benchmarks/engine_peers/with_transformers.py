"""transformers' own `generate` as a backend: the same checkpoint, prompts and settings, one request at a time.

As it stands it knows no schema. With ``has_mask`` a logits processor walks every canvas from left to right: at each
position only the tokens stay that the automaton allows after the best tokens before it. That is what a grammar mask
written for left-to-right models does when it is put into this loop.
"""

from __future__ import annotations

import time

import torch
from engine_peers.one_at_a_time import OneAtATimeBackend
from torch import Tensor
from transformers import LogitsProcessorList

from agentflow.backend.diffusion.loader import Checkpoint
from agentflow.constraint import Constraint
from agentflow.constraint.greedy import decode_greedily
from agentflow.types import Generation, GenerationRequest, Usage


class LeftToRightMask:
    """A logits processor that holds each canvas to an automaton, position by position."""

    def __init__(self, constraint: Constraint, *, max_new_tokens: int) -> None:
        self._constraint = constraint
        self._max_new_tokens = max_new_tokens
        self._num_prompt_tokens: int | None = None
        self.time_s = 0.0

    def __call__(self, input_ids: Tensor, scores: Tensor, cur_step: Tensor | int | None = None) -> Tensor:
        """Leave of ``(1, L, V)`` logits what may come after the best tokens before."""
        del cur_step
        started_s = time.perf_counter()
        if self._num_prompt_tokens is None:
            self._num_prompt_tokens = input_ids.shape[1]
        constraint, left = self._constraint, self._max_new_tokens
        state = constraint.start_state
        for token in input_ids[0, self._num_prompt_tokens :].tolist():
            if constraint.is_accepting(state):
                break
            state, left = constraint.advance(state, [token]), left - 1
        logits = scores[0].float()  # (L, V)
        tokens, _end = decode_greedily(logits, constraint, state, num_tokens_left=left)
        is_allowed = torch.ones_like(logits, dtype=torch.bool)  # (L, V)
        for i, token in enumerate(tokens):
            is_allowed[i] = torch.from_numpy(constraint.allowed(state, num_tokens_left=left - i))
            state = constraint.advance(state, [token])
        self.time_s += time.perf_counter() - started_s
        return scores.masked_fill(~is_allowed[None], -1e4)


class TransformersBackend(OneAtATimeBackend):
    """`DiffusionGemmaForBlockDiffusion.generate` behind the backend protocol."""

    def __init__(self, checkpoint: Checkpoint, *, has_mask: bool) -> None:
        super().__init__(checkpoint)
        self._has_mask = has_mask

    @torch.inference_mode()
    def _generate(self, request: GenerationRequest) -> Generation:
        started_s = time.perf_counter()
        prompt_ids = self._codec.encode_prompt(request)
        budget = self._codec.budget(request, num_prompt_tokens=len(prompt_ids))
        processors = []
        if self._has_mask:
            constraint = self._codec.compile(request, num_tokens=budget)
            assert constraint is not None  # noqa: S101 - the request is constrained
            processors = [LeftToRightMask(constraint, max_new_tokens=budget)]
        with self._turns:
            torch.manual_seed(request.settings.seed or 0)
            output = self._checkpoint.denoiser.model.generate(
                torch.tensor([prompt_ids]),
                max_new_tokens=budget,
                logits_processor=LogitsProcessorList(processors),
                eos_token_id=sorted(self._codec.end_ids),
            )
        tokens = output.sequences[0, len(prompt_ids) :].tolist()
        num_steps = round(len(tokens) / float(output.tokens_per_forward))
        num_canvases = -(-len(tokens) // self._checkpoint.denoiser.canvas_length)
        end = next((i + 1 for i, token in enumerate(tokens) if token in self._codec.end_ids), len(tokens))
        usage = Usage(
            requests=1,
            input_tokens=len(prompt_ids),
            output_tokens=end,
            num_canvases=num_canvases,
            denoising_steps=num_steps,
            num_forwards=num_steps,
            model_time_s=time.perf_counter() - started_s,
            constraint_time_s=sum(processor.time_s for processor in processors),
        )
        return self._codec.read(tokens[:end], request, usage)
