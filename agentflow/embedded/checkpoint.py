"""The checkpoint folder: a run's weights as an ordinary Hugging Face folder.

    config.json  generation_config.json  model.safetensors  tokenizer.json  tokenizer_config.json
    chat_template.jinja    the protocol for other programs; agentflow writes prompts itself
    agentflow.json         how agentflow's loader uses the model: grounded, without an empty thought

``from_pretrained`` loads it without a missing or unexpected key.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from agentflow.embedded.configuration import EmbeddedShape, build_model
from agentflow.embedded.tokenizer import control_ids
from agentflow.embedded.trainer import copy_weights, open_tokenizer
from agentflow.errors import ConfigurationError

FOLDER = Path(__file__).with_name("checkpoint")
"""Where the model that ships stands."""

END_TOKENS = ("<eos>", "<turn|>", "<|tool_response>")
"""Tokens that end a turn."""

GENERATION = {
    "max_new_tokens": 192,
    "max_denoising_steps": 16,
    "t_min": 0.4,
    "t_max": 0.8,
    "stability_threshold": 1,
    "confidence_threshold": 0.02,
}
"""How the model wants to be denoised, beside the entropy bound."""

ENTROPY_BOUND = 0.1
"""Entropy in nats up to which positions are accepted in one step."""

PROFILE = {"grounded": True, "has_empty_thought": False, "tail_token": "<pad>", "checked": True}
"""What agentflow's loader reads from ``agentflow.json``."""


def export_run(run: Path, folder: Path = FOLDER, *, blend: Path | None = None, share: float = 1.0) -> None:
    """Write the latest state of a training run as a checkpoint folder.

    A short run on other data gains there and forgets a little elsewhere. Weights between those that it began with and
    its own keep much of the gain and forget less (Wortsman et al., arXiv 2109.01903).

    Args:
        run: Folder of the run.
        folder: Where to write; what is there is replaced.
        blend: Checkpoint folder whose weights are mixed in, of the same shape.
        share: Share of the run's own weights then, from 0 to 1.

    Raises:
        ConfigurationError: `share` is not from 0 to 1, or is below 1 without `blend`.
        ValueError: `blend` has another shape.
    """
    if not 0.0 <= share <= 1.0 or (blend is None and share != 1.0):
        raise ConfigurationError(
            f"share must be from 0 to 1, and 1 without a folder to blend with, got {share} and {blend}"
        )
    state = torch.load(run / "state.pt", map_location="cpu", weights_only=True)
    shape = EmbeddedShape(**state["shape"])
    tokenizer = open_tokenizer(run / "tokenizer", vocab_size=shape.vocab_size)
    model = build_model(shape, control_ids=control_ids(tokenizer))
    weights = state["model"]
    if blend is not None:
        copy_weights(blend, model)
        weights = _blend(weights, model.state_dict(), share)
    model.load_state_dict(weights)
    save_checkpoint(model, tokenizer, folder)


def _blend(own: dict[str, Tensor], others: dict[str, Tensor], share: float) -> dict[str, Tensor]:
    """Mix weights in float32; whole numbers stay the run's own."""
    return {
        name: others[name] * (1.0 - share) + value * share if value.is_floating_point() else value
        for name, value in own.items()
    }


def save_checkpoint(model: Any, tokenizer: Any, folder: Path) -> None:
    """Write a model and its tokenizer as a checkpoint folder, weights in float32."""
    from transformers.models.diffusion_gemma.generation_diffusion_gemma import (
        DiffusionGemmaGenerationConfig,
        EntropyBoundSamplerConfig,
    )

    ids = control_ids(tokenizer)
    model.generation_config = DiffusionGemmaGenerationConfig(
        **GENERATION,
        sampler_config=EntropyBoundSamplerConfig(entropy_bound=ENTROPY_BOUND),
        pad_token_id=ids["<pad>"],
        bos_token_id=ids["<bos>"],
        eos_token_id=[ids[name] for name in END_TOKENS],
    )
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)
    tokenizer.chat_template = Path(__file__).with_name("chat_template.jinja").read_text(encoding="utf-8")
    tokenizer.save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["experts_implementation"] = "eager"  # transformers reads it but does not write it
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    (folder / "agentflow.json").write_text(json.dumps(PROFILE, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    import argparse

    parser = argparse.ArgumentParser(prog="python -m agentflow.embedded.checkpoint", description=__doc__)
    parser.add_argument("--run", type=Path, required=True, help="folder of the training run")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where to write the checkpoint")
    parser.add_argument("--blend", type=Path, help="checkpoint folder whose weights are mixed in")
    parser.add_argument("--share", type=float, default=1.0, help="share of the run's own weights then")
    arguments = parser.parse_args()
    export_run(arguments.run, arguments.folder, blend=arguments.blend, share=arguments.share)
