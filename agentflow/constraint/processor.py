"""Schema-valid output from transformers' own loop, by a logits processor.

    automaton = compile_schema(schema, Vocabulary.from_tokenizer(tokenizer, size=model.config.text_config.vocab_size))
    processor = SchemaLogitsProcessor.from_generation_config(automaton, model.generation_config, max_new_tokens=256)
    model.generate(input_ids, max_new_tokens=256, logits_processor=LogitsProcessorList([processor]))
    processor.texts                                                # valid JSON, one for each row

`DiffusionGemmaForBlockDiffusion.generate` gives a processor the raw canvas logits of every step (before temperature),
draws every position by itself, accepts by entropy and commits the argmax of the last step. Marginals cannot make that
valid: a draw from each marginal is no string of the language. So the mass is put on ONE string:

    p = softmax(logits / T) -> posterior q -> entropies H, one joint draw x (the best string once it is confident)

    positions that H accepts           all mass on x_i       entropy 0, so generate accepts x_i
    positions that H nearly accepts    nearly all on x_i     more entropy than the bound, so they end the accepting
    all others                         q_i                   what the model believes under the schema

x_i is the most probable token of every position, so the argmax canvas is x, a valid string, in every step, and the
best string in the last one. Acceptance is generate's own rule (entropy bound, arXiv 2505.24857), applied to H, and
apart from the text in the tail behind its end token; what is accepted feeds back as canvas, q as self-conditioning.
generate always accepts one position more than fits the bound; it draws x_i there with a probability of about 0.98.
One joint draw instead of a draw per marginal: Dang & Ermon, arXiv 2607.07026.

Nothing here imports transformers: a processor is called, and knows its loop by what it is given.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from agentflow.constraint.schema_automaton import SchemaAutomaton
from agentflow.constraint.trellis import Posterior, condition
from agentflow.errors import ConfigurationError

_NEVER = -1e4
"""Log-probability of what must not be drawn: finite in every precision, and nothing after a softmax."""
_TIE = 1e-3
_REFERENCE = {"max_denoising_steps": 48, "t_min": 0.4, "t_max": 0.8, "stability_threshold": 1,
              "confidence_threshold": 0.005}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class _Schedule:
    """How generate will treat what it is given; see transformers' `DiffusionGemmaGenerationConfig`."""

    max_new_tokens: int
    max_denoising_steps: int
    t_min: float
    t_max: float
    entropy_bound: float
    stability_threshold: int
    confidence_threshold: float

    def temperature(self, num_steps_left: int) -> float:
        return self.t_min + (self.t_max - self.t_min) * (num_steps_left / self.max_denoising_steps)


@dataclass
class _RowState:
    """One output on its way."""

    automaton: SchemaAutomaton
    state: int
    known: list[int] = field(default_factory=list)
    canvas: list[int] = field(default_factory=list)
    num_same: int = 0
    is_settled: bool = False

    @property
    def is_finished(self) -> bool:
        return self.automaton.constraint.is_accepting(self.state)

    def commit(self) -> None:
        """Go on behind the canvas."""
        self.known += [] if self.is_finished else self.canvas
        self.state = self.automaton.constraint.advance(self.state, [] if self.is_finished else self.canvas)
        self.canvas, self.num_same, self.is_settled = [], 0, False


class SchemaLogitsProcessor:
    """Holds transformers' block diffusion to a schema. One processor serves one call of ``generate``.

    Attributes:
        log_partitions: Log-probability in nats that the model gave to the language, by step and row: how much the
            schema fights the model.
    """

    def __init__(
        self,
        automata: SchemaAutomaton | Sequence[SchemaAutomaton],
        *,
        max_new_tokens: int = 256,
        max_denoising_steps: int = 48,
        t_min: float = 0.4,
        t_max: float = 0.8,
        entropy_bound: float = 0.1,
        stability_threshold: int = 1,
        confidence_threshold: float = 0.005,
        seed: int = 0,
    ) -> None:
        """Prepare for a call of generate with these options; the defaults are its own.

        Args:
            automata: The schema of all rows, or one for each row.
            max_new_tokens: As given to generate, which rounds up to whole canvases; the output ends within them.
            max_denoising_steps: Steps of a canvas.
            t_min: Temperature that the schedule falls to.
            t_max: Temperature that it starts from.
            entropy_bound: Entropy in nats up to which positions are accepted in one step.
            stability_threshold: Steps for which the canvas must stay the same before it may stop.
            confidence_threshold: Mean entropy in nats below which a stable canvas stops.
            seed: Of the joint draws.
        """
        self._automata = automata
        self._schedule = _Schedule(
            max_new_tokens=max_new_tokens,
            max_denoising_steps=max_denoising_steps,
            t_min=t_min,
            t_max=t_max,
            entropy_bound=entropy_bound,
            stability_threshold=stability_threshold,
            confidence_threshold=confidence_threshold,
        )
        self._generator = torch.Generator().manual_seed(seed)
        self._rows: list[_RowState] = []
        self._num_known = -1
        self._num_canvases = 0
        self.log_partitions: list[list[float]] = []

    @classmethod
    def from_generation_config(
        cls,
        automata: SchemaAutomaton | Sequence[SchemaAutomaton],
        config: Any,
        *,
        max_new_tokens: int,
        seed: int = 0,
        **overrides: Any,
    ) -> SchemaLogitsProcessor:
        """Read the schedule from a model's generation config; `overrides` are what generate gets besides."""
        values = {name: _first(getattr(config, name, None), default) for name, default in _REFERENCE.items()}
        sampler = overrides.pop("sampler_config", None) or getattr(config, "sampler_config", None)
        values["entropy_bound"] = _first(getattr(sampler, "entropy_bound", None), 0.1)
        return cls(automata, max_new_tokens=max_new_tokens, seed=seed, **{**values, **overrides})

    @property
    def token_ids(self) -> list[list[int]]:
        """The best string of each row so far, up to its end token; after generate: what it committed."""
        return [row.automaton.trim(row.known + ([] if row.is_finished else row.canvas)) for row in self._rows]

    @property
    def texts(self) -> list[str]:
        """The same as text, without the end token."""
        return [row.automaton.text_of(ids) for row, ids in zip(self._rows, self.token_ids, strict=True)]

    def __call__(self, input_ids: Tensor, scores: Tensor, cur_step: Tensor | int) -> Tensor:
        """Condition the logits of one step.

        Args:
            input_ids: ``(B, T)`` prompt and committed canvases.
            scores: ``(B, L, V)`` raw logits.
            cur_step: Steps left, this one included.

        Returns:
            ``(B, L, V)`` float32 logits, which generate divides by its temperature.

        Raises:
            SchemaBudgetError: No valid output fits `max_new_tokens`.
            ConfigurationError: The call is not the continuation of the last one, or does not fit the rows.
        """
        num_steps_left = int(cur_step)
        self._follow(input_ids, length=scores.shape[1])
        temperature = self._schedule.temperature(num_steps_left)
        log_probs = (scores.float() / temperature).log_softmax(dim=-1)  # (B, L, V)
        self.log_partitions.append([0.0] * len(self._rows))
        for i, row in enumerate(self._rows):
            if not row.is_finished:
                log_probs[i] = self._shape(log_probs[i], i, row, is_last=num_steps_left == 1)
        return log_probs * temperature

    def _follow(self, input_ids: Tensor, *, length: int) -> None:
        """Open the rows, or go on behind a committed canvas."""
        num_known = input_ids.shape[1]
        if self._num_known < 0:
            automata = self._automata
            if isinstance(automata, SchemaAutomaton):
                automata = [automata] * len(input_ids)
            if len(automata) != len(input_ids):
                raise ConfigurationError(f"{len(input_ids)} rows need as many automata, got {len(automata)}")
            self._rows = [_RowState(automaton, automaton.constraint.start_state) for automaton in automata]
            self._num_canvases = math.ceil(self._schedule.max_new_tokens / length)
        elif num_known == self._num_known + length:
            for row in self._rows:
                row.commit()
            self._num_canvases -= 1
        elif num_known != self._num_known:
            raise ConfigurationError(
                f"the processor followed {self._num_known} tokens and was called with {num_known}",
                hint="make a new processor for every call of generate",
            )
        self._num_known = num_known

    def _shape(self, log_probs: Tensor, index: int, row: _RowState, *, is_last: bool) -> Tensor:
        """Give what one row's logits are to be, at temperature 1, ``(L, V)``."""
        posterior = condition(
            log_probs[None],
            [row.automaton.constraint],
            [row.state],
            num_tokens_left=[(self._num_canvases - 1) * len(log_probs)],
        ).single()
        self.log_partitions[-1][index] = float(posterior.log_partition)
        path = self._choose(posterior, row, is_last=is_last)  # (L,)
        row.canvas = path.tolist()
        if row.is_settled or is_last:
            return _peaked(path, torch.zeros(len(path)), log_probs)  # (L, V)
        return self._blend(posterior, path, row, log_probs)

    def _choose(self, posterior: Posterior, row: _RowState, *, is_last: bool) -> Tensor:
        """Take the best string where the row is confident, else a joint draw; ``(L,)``."""
        if row.is_settled and row.num_same >= self._schedule.stability_threshold:
            return torch.tensor(row.canvas)
        entropies = posterior.entropies  # (L,)
        path = posterior.sample(self._generator)  # (L,)
        num_text = len(row.automaton.trim(path.tolist()))
        row.is_settled = bool(entropies[:num_text].mean() < self._schedule.confidence_threshold)
        if row.is_settled or is_last:
            path = posterior.best()  # (L,)
        row.num_same = row.num_same + 1 if path.tolist() == row.canvas else 0
        return path

    def _blend(self, posterior: Posterior, path: Tensor, row: _RowState, log_probs: Tensor) -> Tensor:
        """Peak the accepted positions, nearly peak those on the border, believe the marginals elsewhere."""
        entropies = posterior.entropies  # (L,)
        num_text = len(row.automaton.trim(path.tolist()))
        bound = self._schedule.entropy_bound
        is_accepted = torch.cat([_accept(entropies[:num_text], bound), _accept(entropies[num_text:], bound)])  # (L,)
        rest, entropy_left = _border(bound, log_probs.shape[-1])
        is_border = ~is_accepted & (entropies <= entropy_left)  # (L,)
        if not is_border.any() and not is_accepted.all():
            is_border[entropies.masked_fill(is_accepted, torch.inf).argmin()] = True
        believed = posterior.marginals().clamp_min(math.exp(-100.0)).log_()  # (L, V)
        believed[believed < -99] = _NEVER  # noqa: PLR2004 - the clamp above
        top = believed.amax(dim=-1)  # (L,)
        at = torch.arange(len(path)), path
        believed[at] = torch.maximum(believed[at], top) + _TIE  # x is the argmax everywhere
        is_peaked = (is_accepted | is_border).to(log_probs.device)  # (L,)
        peaked = _peaked(path, is_border * rest, log_probs)  # (L, V)
        return torch.where(is_peaked[:, None], peaked, believed)  # (L, V)


def _first(value: Any, default: Any) -> Any:
    return default if value is None else value


def _accept(entropies: Tensor, bound: float) -> Tensor:
    """Accept the surest positions while the entropy of those before stays within the bound, ``(L,)`` bool."""
    ordered, order = torch.sort(entropies)
    is_within = ordered.cumsum(0) - ordered <= bound  # (L,)
    return torch.zeros_like(is_within).scatter(0, order, is_within)  # (L,)


def _border(bound: float, num_tokens: int) -> tuple[float, float]:
    """Give the mass to spread over other tokens so that the entropy is just above the bound, and that entropy."""
    low, high = 0.0, 1.0 - 1.0 / num_tokens
    for _ in range(60):
        middle = (low + high) / 2
        if _spread_entropy(middle, num_tokens) < 1.05 * bound:
            low = middle
        else:
            high = middle
    return high, _spread_entropy(high, num_tokens)


def _spread_entropy(rest: float, num_tokens: int) -> float:
    """Give the entropy in nats of 1 - `rest` on one token and `rest` spread over all others."""
    if rest <= 0.0:
        return 0.0
    return -(1 - rest) * math.log1p(-rest) - rest * math.log(rest / (num_tokens - 1))


def _peaked(path: Tensor, rest: Tensor, like: Tensor) -> Tensor:
    """Put all mass but `rest` ``(L,)`` on the path, ``(L, V)`` log-probabilities."""
    num_tokens = like.shape[1]
    others = torch.where(rest > 0, (rest.clamp_min(1e-30) / (num_tokens - 1)).log(), torch.tensor(_NEVER))  # (L,)
    peaked = others.to(like)[:, None].repeat(1, num_tokens)  # (L, V)
    peaked[torch.arange(len(path)), path] = torch.log1p(-rest).to(like)
    return peaked
