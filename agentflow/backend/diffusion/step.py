"""One denoising step for all open canvases that are not checked: predict, condition, accept, renoise, stop.

Each stage is a function from tensors to tensors; `denoise_step` strings them together and writes the outcome into
the rows. Rows with and without a constraint share a step. Without one, a row does exactly what transformers'
`generate` does; with one, the network's beliefs are conditioned on the automaton before anything else looks at them:

    logits -> temperature -> p -> condition -> q -> entropies, ONE joint draw -> accept -> renoise -> next canvas
                                                `-> expected embedding ------------------------------> next signal

What is accepted comes from one joint draw, so it always is a piece of one valid string. Positions behind the drawn
end token are judged apart from the text: they cannot hold it up. Until a canvas is confident it is held to draws, not
to the best string, which favours short values while positions are uncertain.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from agentflow.backend.diffusion.canvas import CanvasView, Row, num_kept
from agentflow.backend.diffusion.denoiser import ContextBatch, Denoiser
from agentflow.backend.diffusion.sampler import accept_by_entropy, draw_noise, draw_tokens, read_logits, temperatures
from agentflow.constraint import Constraint, Posterior, condition
from agentflow.errors import AgentflowError, BackendError, ConfigurationError


class Beliefs(NamedTuple):
    """What a step believes about the canvases.

    Attributes:
        probs: Distribution of every position, conditioned where the row has a constraint, ``(B, L, V)`` float32.
        entropies: Its entropy in nats, ``(B, L)`` float32.
        draw: One draw per row, joint where the row has a constraint, ``(B, L)`` int64.
        argmax: The most probable token of every position under the network alone, where a row may need it, ``(B, L)``
            int64.
        is_tail: Behind the drawn end or the budget of a row with a constraint, ``(B, L)`` bool.
        posteriors: One per row, ``None`` without a constraint.
    """

    probs: Tensor
    entropies: Tensor
    draw: Tensor
    argmax: Tensor
    is_tail: Tensor
    posteriors: list[Posterior | None]


@torch.inference_mode()
def denoise_step(denoiser: Denoiser, rows: Sequence[Row], batch: ContextBatch) -> list[Row]:
    """Run one denoising step over `rows` and commit the canvases that settle.

    A row whose turn goes on has its canvas to read before the next step (`Row.read_some`).

    Args:
        denoiser: The network.
        rows: Open rows; changed in place.
        batch: Their contexts, in the same order.

    Returns:
        The rows that committed a canvas or failed; their context has changed or they are finished.
    """
    beliefs = believe(_tempered_logits(denoiser, rows, batch), rows)
    is_accepted = _accept(beliefs, rows)  # (B, L)
    noise = draw_noise(
        denoiser.canvas_length,
        vocab_size=denoiser.vocab_size,
        generators=[row.generator for row in rows],
        device=denoiser.device,
    )  # (B, L)
    tokens = torch.where(is_accepted, beliefs.draw, noise)  # (B, L)
    signals = denoiser.soft_embed(beliefs.probs)  # (B, L, H)
    for i, row in enumerate(rows):
        row.tokens, row.signal = tokens[i], signals[i]
        row.step += 1
        row.counts.denoising_steps += 1
    chosen = _settle(beliefs, rows)
    for i, row in enumerate(rows):
        if row.failure is not None:
            continue
        _show(row, row.tokens, is_accepted[i], beliefs.draw[i], is_committed=False)
        if (canvas := chosen[i]) is not None:
            _show(row, canvas, torch.ones_like(is_accepted[i]), canvas, is_committed=True)
            row.commit(canvas.tolist())
    return [row for row, canvas in zip(rows, chosen, strict=True) if canvas is not None or row.failure is not None]


def _tempered_logits(denoiser: Denoiser, rows: Sequence[Row], batch: ContextBatch) -> Tensor:
    canvases = torch.stack([row.tokens for row in rows])  # (B, L)
    signals = torch.stack([row.signal for row in rows])  # (B, L, H)
    temperature = temperatures(
        [row.config for row in rows], [max(row.num_steps_left, 1) for row in rows], device=denoiser.device
    )  # (B,)
    return denoiser.denoise(canvases, signals, batch) / temperature[:, None, None]  # (B, L, V)


def believe(logits: Tensor, rows: Sequence[Row]) -> Beliefs:
    """Turn tempered logits into beliefs, conditioned for the rows that have a constraint.

    Args:
        logits: ``(B, L, V)`` float32.
        rows: The rows, for their constraints and generators.
    """
    if any(row.constraint is None or row.num_tokens_left < logits.shape[1] for row in rows):
        probs, log_totals, entropies, argmax = read_logits(logits)  # (B, L, V), then (B, L)
    else:  # every position is going to be conditioned
        probs, entropies = torch.empty_like(logits), torch.empty_like(logits[..., 0])  # (B, L, V), (B, L)
        log_totals = logits.logsumexp(dim=-1)  # (B, L)
        argmax = torch.zeros_like(entropies, dtype=torch.long)  # (B, L)
    draw = argmax.clone()  # (B, L)
    is_tail = torch.zeros_like(draw, dtype=torch.bool)  # (B, L)
    beliefs = Beliefs(probs, entropies, draw, argmax, is_tail, [None] * len(rows))
    for i, row in enumerate(rows):
        if row.constraint is None:
            draw[i] = draw_tokens(probs[i : i + 1], [row.generator])[0]
            continue
        started = time.thread_time()
        try:
            _condition_row_inplace(beliefs, i, (logits[i] - log_totals[i, :, None])[None], row)
        except AgentflowError as error:
            probs[i] = 1 / probs.shape[-1]
            row.fail(error)
        row.counts.constraint_time_s += time.thread_time() - started
    return beliefs


def _condition_row_inplace(beliefs: Beliefs, index: int, log_probs: Tensor, row: Row) -> None:
    """Condition the part of a canvas that the budget leaves; what is behind it is never committed."""
    assert isinstance(row.constraint, Constraint)  # noqa: S101 - drafts are not checked here
    length = min(log_probs.shape[1], row.num_tokens_left)
    try:
        posterior = condition(
            log_probs[:, :length],
            [row.constraint],
            [row.state],
            num_tokens_left=[row.num_tokens_left - length],
        )
    except ConfigurationError as error:
        raise BackendError(f"the network gives no valid turn any probability: {error.message}") from error
    row.counts.log_partition += float(posterior.log_partition[0])
    beliefs.probs[index, :length] = posterior.marginals(log_probs[:, :length])[0]
    beliefs.entropies[index, :length] = posterior.entropies[0].to(beliefs.entropies)
    draw = posterior.sample(row.host_generator)[0]  # (l,)
    beliefs.draw[index, :length] = draw.to(beliefs.draw)
    beliefs.is_tail[index, num_kept(draw.tolist(), row.end_ids, length) :] = True
    beliefs.posteriors[index] = posterior


def _accept(beliefs: Beliefs, rows: Sequence[Row]) -> Tensor:
    """Accept within the text, and apart from it within the tail, ``(B, L)`` bool."""
    bounds = torch.tensor([row.config.entropy_bound for row in rows], device=beliefs.entropies.device)  # (B,)
    text = accept_by_entropy(beliefs.entropies.masked_fill(beliefs.is_tail, torch.inf), bounds)  # (B, L)
    if not any(posterior is not None for posterior in beliefs.posteriors):
        return text
    return text | accept_by_entropy(beliefs.entropies.masked_fill(~beliefs.is_tail, torch.inf), bounds)  # (B, L)


def _settle(beliefs: Beliefs, rows: Sequence[Row]) -> list[Tensor | None]:
    """The canvas to commit for every row that stops, ``(L,)`` each."""
    means, peaks = _text_entropies(beliefs)
    chosen: list[Tensor | None] = []
    for i, row in enumerate(rows):
        is_confident = means[i] < row.config.confidence_threshold
        posterior = beliefs.posteriors[i]
        is_sharp = posterior is not None and peaks[i] < row.config.confidence_threshold
        best = beliefs.argmax[i] if posterior is None else beliefs.draw[i].clone()  # (L,)
        if posterior is not None and is_confident:
            best[: posterior.entropies.shape[1]] = posterior.best()[0]
        is_same = _is_same_text(best, row)
        is_settled = row.is_settled(best=best, is_same=is_same, is_confident=is_confident, is_sharp=is_sharp)
        chosen.append(best if is_settled else None)
    return chosen


def _text_entropies(beliefs: Beliefs) -> tuple[list[float], list[float]]:
    """Mean and largest entropy of the positions of each row that count as text."""
    text = beliefs.entropies.masked_fill(beliefs.is_tail, 0.0)  # (B, L)
    num_text = (~beliefs.is_tail).sum(dim=-1)  # (B,)
    return (text.sum(dim=-1) / num_text).tolist(), text.max(dim=-1).values.tolist()


def _is_same_text(best: Tensor, row: Row) -> bool:
    """Whether `best` equals the best canvas of the step before; with a constraint, up to its end token."""
    if row.constraint is None:
        return torch.equal(best, row.best)
    num_text = num_kept(best.tolist(), row.end_ids, row.num_tokens_left)
    return torch.equal(best[:num_text], row.best[:num_text])


def _show(row: Row, tokens: Tensor, is_accepted: Tensor, path: Tensor, *, is_committed: bool) -> None:
    """Tell who watches; `path` is the string that the kept tokens are part of, ``(l,)``."""
    observe = row.observe  # which may be taken away meanwhile
    if observe is not None:
        is_forced = is_accepted.clone()  # (L,)
        is_forced[: len(path)] &= _forced_along(path, row)
        is_forced[len(path) :] = False
        index = row.counts.num_canvases - 1
        observe(CanvasView(tokens, is_accepted, is_forced, row.step, index, is_committed))


def _forced_along(path: Tensor, row: Row) -> Tensor:
    """Positions at which the constraint allows one token alone after what stands before it in `path`, ``(l,)`` bool."""
    is_forced = torch.zeros_like(path, dtype=torch.bool)  # (l,)
    if row.constraint is None:
        return is_forced
    state = row.state
    for i, token in enumerate(path.tolist()[: row.num_tokens_left]):
        if row.constraint.is_accepting(state):
            break
        is_forced[i] = row.constraint.has_one_token(state)
        state = row.constraint.advance(state, [token])
    return is_forced
