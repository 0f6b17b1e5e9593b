"""One pass for the rows that the causal encoder writes: some read, some denoise a draft, some have one checked.

What a row wants next is its own business (`check`, `left_to_right`); here all wishes become one pass, and
its outcome is handed back, committed and shown.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor

from agentflow.backend.diffusion.canvas import CanvasView, Row, Writer
from agentflow.backend.diffusion.denoiser import Denoiser
from agentflow.backend.diffusion.packed import predict
from agentflow.backend.diffusion.prefix import PrefixCache
from agentflow.backend.diffusion.segment import Prediction, Segment
from agentflow.errors import AgentflowError


@torch.inference_mode()
def check_step(
    denoiser: Denoiser, rows: Sequence[Row], *, max_read_tokens: int = 1 << 20, prefixes: PrefixCache | None = None
) -> None:
    """Run one pass over rows with a check, and commit what is complete.

    Args:
        denoiser: The network.
        rows: Rows that have begun; changed in place. One whose schemas fail is over; the others go on.
        max_read_tokens: Most tokens of a prompt that one row reads in the pass.
        prefixes: Keeps what was read for later prompts.
    """
    able: list[Row] = []
    segments: list[Segment] = []
    for row in rows:
        with _failing(row):
            make_noise = partial(row.make_noise, denoiser)
            segments.append(_check_of(row).wants(max_tokens=max_read_tokens, make_noise=make_noise))
            able.append(row)
    predictions = predict(denoiser, segments) if segments else []
    for row, prediction in zip(able, predictions, strict=True):
        with _failing(row):
            _take(row, _check_of(row), prediction, prefixes)


@contextmanager
def _failing(row: Row) -> Iterator[None]:
    """Let an error of one row's schemas, which may be compiled as they are needed, end this row alone."""
    try:
        yield
    except AgentflowError as error:
        row.fail(error)


def _take(row: Row, check: Writer, prediction: Prediction, prefixes: PrefixCache | None) -> None:
    was_reading = row.is_reading
    check.take(prediction)
    row.unread = [] if check.is_prompt_read else check.unread
    if prefixes is not None and was_reading and not row.is_reading:
        prefixes.keep(row.prompt_ids, check.context)
    _take_counts(row, check)
    if check.is_complete:
        _commit(row, check, prefixes)
    elif not row.is_reading:
        _show(row, check, check.tokens, is_committed=False)


def _check_of(row: Row) -> Writer:
    assert row.check is not None  # noqa: S101 - the caller's invariant
    return row.check


def _take_counts(row: Row, check: Writer) -> None:
    row.counts.denoising_steps = check.num_steps
    row.counts.num_checks = check.num_checks
    row.counts.constraint_time_s = check.constraint_time_s
    row.step = check.num_steps_of_canvas


def _commit(row: Row, check: Writer, prefixes: PrefixCache | None) -> None:
    _show(row, check, check.tokens, is_committed=True)
    row.commit_checked()
    if row.is_finished and prefixes is not None:
        read = [*row.prompt_ids, *row.committed][: check.context.num_tokens]
        prefixes.keep(read, check.context, instead_of=row.prompt_ids)


def _show(row: Row, check: Writer, known: list[int], *, is_committed: bool) -> None:
    """Tell who watches: the checked tokens, and noise or the rest of the draft behind them."""
    observe = row.observe  # which may be taken away meanwhile
    if observe is None or check.canvas is None:
        return
    tokens = check.canvas.clone()  # (L,)
    length = len(tokens)
    tokens[: len(known)] = torch.tensor(known[:length], dtype=tokens.dtype, device=tokens.device)
    is_accepted = torch.zeros(length, dtype=torch.bool, device=tokens.device)  # (L,)
    is_accepted[: length if is_committed else len(known)] = True
    is_forced = is_accepted & _forced(row, known, length).to(tokens.device)  # (L,)
    observe(CanvasView(tokens, is_accepted, is_forced, row.step, row.counts.num_canvases - 1, is_committed))


def _forced(row: Row, known: list[int], length: int) -> Tensor:
    """Known positions at which the constraint allows one token alone, ``(L,)`` bool."""
    is_forced = torch.zeros(length, dtype=torch.bool)  # (L,)
    if row.constraint is None:
        return is_forced
    state = row.constraint.advance(row.state, row.committed)
    for i, token in enumerate(known[:length]):
        is_forced[i] = row.constraint.has_one_token(state)
        state = row.constraint.advance(state, [token])
    return is_forced
