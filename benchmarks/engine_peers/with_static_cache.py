"""Left to right with what transformers has: its own causal encoder, a static cache, and llguidance's mask.

What one would write for this checkpoint without agentflow's engine or forward pass: one request at a time, one token a
pass. The cache of the last prompt with the same tools goes on from what both have in common.
"""

from __future__ import annotations

import time

import torch
from engine_peers.one_at_a_time import OneAtATimeBackend
from torch import Tensor
from transformers import StaticCache

from agentflow.backend.codec import kind_of
from agentflow.backend.diffusion.denoiser import cache_argument
from agentflow.backend.diffusion.loader import Checkpoint
from agentflow.backend.diffusion.prefix import num_shared
from agentflow.backend.masks import LlguidanceMasks
from agentflow.types import Generation, GenerationRequest, Usage

CACHE_LENGTH = 768
"""Positions of a cache: the prompts and turns of the suite have up to 500 tokens."""


class StaticCacheBackend(OneAtATimeBackend):
    """Greedy decoding with transformers' modules behind the backend protocol."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        super().__init__(checkpoint)
        self._model = checkpoint.denoiser.model
        self._encoder = self._model.model.encoder.language_model
        self._masks = LlguidanceMasks(self._codec)
        self._kept: dict[str, tuple[list[int], StaticCache]] = {}  # tokens and cache of the last prompt of each kind

    @torch.inference_mode()
    def _generate(self, request: GenerationRequest) -> Generation:
        started_s = time.perf_counter()
        prompt_ids = self._codec.encode_prompt(request)
        budget = self._codec.budget(request, num_prompt_tokens=len(prompt_ids))
        mask = self._masks.make(request, is_grounded=self._codec.is_grounded(request))
        constraint_s = 0.0
        with self._turns:
            cache, num_read = self._continue(request, prompt_ids)
            unread, tokens = prompt_ids[num_read:], list[int]()
            while len(tokens) < budget and not (tokens and tokens[-1] in self._codec.end_ids):
                logits = self._read(cache, unread)  # (V,)
                asked_s = time.perf_counter()
                is_allowed = mask.allowed()  # (V,)
                constraint_s += time.perf_counter() - asked_s
                token = int(logits.masked_fill(~is_allowed, -torch.inf).argmax())
                mask.advance(token)
                tokens, unread = [*tokens, token], [token]
        usage = Usage(
            requests=1,
            input_tokens=len(prompt_ids),
            cached_input_tokens=num_read,
            output_tokens=len(tokens),
            num_forwards=len(tokens),
            model_time_s=time.perf_counter() - started_s,
            constraint_time_s=constraint_s,
        )
        return self._codec.read(tokens, request, usage)

    def _continue(self, request: GenerationRequest, prompt_ids: list[int]) -> tuple[StaticCache, int]:
        """Give a cache, and how many tokens of the prompt it has read."""
        kind = kind_of(request)
        before, cache = self._kept.get(kind, ([], None))
        if cache is None:
            cache = StaticCache(config=self._model.config.text_config, max_cache_len=CACHE_LENGTH)
        num_read = min(num_shared(before, prompt_ids), len(prompt_ids) - 1)
        for layer in cache.layers:
            num_behind = int(layer.get_seq_length()) - num_read
            if num_behind > 0:
                layer.crop(-num_behind)
        self._kept[kind] = prompt_ids, cache
        return cache, num_read

    def _read(self, cache: StaticCache, token_ids: list[int]) -> Tensor:
        """Read more tokens; give the logits behind them, ``(V,)`` float32."""
        output = self._encoder(input_ids=torch.tensor([token_ids]), **{cache_argument(): cache})
        return self._checkpoint.denoiser.logits(output.last_hidden_state[0, -1])  # (V,)
