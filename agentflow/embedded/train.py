"""Train the embedded model: ``python -m agentflow.embedded.train --run runs/NAME``.

The same command continues a run that was stopped; an interrupt or SIGTERM saves and stops. A run given
``--minutes`` or ``--until`` ends on time, with the rate down to zero, however fast the machine is. On CPU it
runs in bfloat16 matrix products on two threads; with ``--device cuda`` it runs on a GPU (give
``--compile`` and a larger ``--num-tokens``).
"""

from __future__ import annotations

import argparse
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from agentflow.embedded.clock import TrainingClock, next_time
from agentflow.embedded.configuration import EmbeddedShape
from agentflow.embedded.data.conversations import mix
from agentflow.embedded.objective import Objective
from agentflow.embedded.tokenizer import VOCAB_SIZE
from agentflow.embedded.trainer import Trainer, TrainingPlan
from agentflow.errors import ConfigurationError


def main() -> None:
    """Read the command line and train."""
    parser = _make_parser()
    arguments = parser.parse_args()
    if arguments.makers and arguments.workers > 1:
        parser.error("--makers feed one fast device; they do not go with --workers")
    try:
        mixture = _read_shares(arguments.shares)
    except ConfigurationError as error:
        parser.error(f"{error} {error.hint}".strip())
    torch.set_flush_denormal(True)
    torch.set_num_threads(arguments.threads)
    plan = TrainingPlan(
        seed=arguments.seed,
        steps=arguments.steps,
        decay_steps=arguments.decay_steps,
        matrix_rate=arguments.matrix_rate,
        other_rate=arguments.other_rate,
        num_tokens=arguments.num_tokens,
        num_canvases=arguments.num_canvases,
        num_copying_pools=arguments.num_copying_pools,
        num_parts=arguments.num_parts,
        mixture=mixture,
    )
    shape = EmbeddedShape(
        vocab_size=VOCAB_SIZE,
        hidden_size=arguments.hidden_size,
        intermediate_size=arguments.intermediate_size,
        num_layers=arguments.num_layers,
        num_heads=arguments.num_heads,
        num_kv_heads=arguments.num_heads,
        canvas_length=arguments.canvas_length,
    )
    objective = Objective(
        next_token_weight=arguments.next_token_weight,
        structured_share=arguments.structured_share,
        prefix_share=arguments.prefix_share,
        blank_share=arguments.blank_share,
        conditioning_share=arguments.conditioning_share,
    )
    clock = TrainingClock(
        minutes=arguments.minutes,
        until=next_time(arguments.until) if arguments.until else None,
        decay_minutes=arguments.decay_minutes,
    )
    trainer = Trainer(
        arguments.run,
        plan,
        shape=shape,
        objective=objective,
        clock=clock,
        num_workers=arguments.workers,
        num_makers=arguments.makers,
        device=arguments.device,
        is_compiled=arguments.compile,
        initial=arguments.initial,
        has_fixed_shares=arguments.fixed_shares,
    )
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, lambda *_: trainer.stop())
    signal.signal(signal.SIGCONT, lambda *_: clock.note_stop())
    trainer.run(num_steps=arguments.num_steps, save_every_s=60 * arguments.save_every_min)


def _read_shares(texts: Sequence[str]) -> Mapping[str, float]:
    """Read ``kind=share`` each."""
    pairs = [text.partition("=")[::2] for text in texts]
    try:
        return mix({kind: float(share) for kind, share in pairs})
    except ValueError as error:
        raise ConfigurationError(f"a share is written KIND=SHARE, like world=0.3, got {' '.join(texts)}") from error


def _make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m agentflow.embedded.train", description=__doc__)
    plan, shape, objective = TrainingPlan(), EmbeddedShape(vocab_size=VOCAB_SIZE), Objective()
    add = parser.add_argument
    add("--run", type=Path, required=True, help="folder of the run; resumed if it holds one")
    add("--initial", type=Path, help="checkpoint folder whose weights and tokenizer a new run begins with")
    add("--steps", type=int, default=plan.steps, help="optimizer steps of the whole run")
    add("--num-steps", type=int, help="stop after this many steps of this call")
    add("--decay-steps", type=int, default=plan.decay_steps, help="last steps, in which the learning rate falls")
    add("--minutes", type=float, help="minutes of training in which the run ends; time stopped does not count")
    add("--until", help="time of day, HH:MM, at which the run ends")
    add("--decay-minutes", type=float, default=20.0, help="minutes before --until in which the rate falls")
    add("--seed", type=int, default=plan.seed)
    add("--matrix-rate", type=float, default=plan.matrix_rate, help="learning rate of Muon")
    add("--other-rate", type=float, default=plan.other_rate, help="learning rate of AdamW")
    add("--next-token-weight", type=float, default=objective.next_token_weight, help="beside the diffusion loss")
    add("--structured-share", type=float, default=objective.structured_share, help="canvases with clean structure")
    add("--prefix-share", type=float, default=objective.prefix_share, help="canvases with a clean left part")
    add("--blank-share", type=float, default=objective.blank_share, help="canvases of nothing but noise")
    add("--conditioning-share", type=float, default=objective.conditioning_share, help="steps with a first guess")
    add("--num-tokens", type=int, default=plan.num_tokens, help="most tokens of a batch")
    add("--num-canvases", type=int, default=plan.num_canvases, help="canvases of a conversation in a batch")
    add("--shares", nargs="*", default=[], metavar="KIND=SHARE", help="of conversations; other kinds keep proportions")
    add("--num-copying-pools", type=int, default=plan.num_copying_pools, help="pools that only copy, to begin with")
    add("--hidden-size", type=int, default=shape.hidden_size)
    add("--intermediate-size", type=int, default=shape.intermediate_size)
    add("--num-layers", type=int, default=shape.num_layers)
    add("--num-heads", type=int, default=shape.num_heads)
    add("--canvas-length", type=int, default=shape.canvas_length)
    add("--device", default="cpu", help="cpu or cuda")
    add("--compile", action="store_true", help="fuse with torch.compile")
    add("--threads", type=int, default=2, help="CPU threads of a process")
    add("--workers", type=int, default=1, help="processes; on a CPU as many as cores, with --threads 1 and --num-parts")
    add("--makers", type=int, default=0, help="processes that make data; on a GPU nearly as many as there are cores")
    add("--num-parts", type=int, default=plan.num_parts, help="batches of a step; workers take them in turn")
    add("--fixed-shares", action="store_true", help="share batches out alike; the run can then be repeated bit for bit")
    add("--save-every-min", type=float, default=4.0, help="minutes between two savings of the state")
    return parser


if __name__ == "__main__":
    main()
