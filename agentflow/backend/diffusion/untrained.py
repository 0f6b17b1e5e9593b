"""Untrained checkpoints in the released shape, at any size: what tests and benchmarks run on.

The network has what the released one has (experts, sliding and full layers with their own head sizes, a vision tower),
only smaller, and its weights are random. Its tokenizer cuts bytes and a few common pieces and has all control tokens.
"""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import torch

from agentflow.protocol import CONTROL_TOKENS

_SAMPLE_TEXT = (
    'Answer in JSON: {"name":"Ada","items":[1,2],"is_open":true,"note":"the weather in Paris"} '
    "call:get_weather{city:Paris,days:3} user model system declaration description parameters properties type"
)
_NAMED_TOKENS = {"pad_token": "<pad>", "eos_token": "<eos>", "bos_token": "<bos>", "unk_token": "<unk>"}
END_TOKENS = ("<eos>", "<turn|>", "<|tool_response>")
"""Tokens that end a turn, as in the released generation config."""


def build_tokenizer(*, vocab_size: int = 320) -> Any:
    """A byte-level tokenizer with the control tokens of the protocol.

    Args:
        vocab_size: At most this many tokens; at least the control tokens and 256 bytes are there.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(CONTROL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator([_SAMPLE_TEXT] * 4, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **_NAMED_TOKENS)


def build_config(*, vocab_size: int, canvas_length: int = 32, num_experts: int = 4, **text_options: Any) -> Any:
    """A `DiffusionGemmaConfig` of the released shape at a size for tests.

    Args:
        vocab_size: Tokens of the vocabulary.
        canvas_length: Positions of a canvas.
        num_experts: Experts of a layer; 0 makes a dense network.
        text_options: Override fields of the `DiffusionGemmaTextConfig`.
    """
    from transformers import DiffusionGemmaConfig

    text = {
        "vocab_size": vocab_size,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "global_head_dim": 16,
        "num_global_key_value_heads": 1,
        "layer_types": ["sliding_attention", "sliding_attention", "full_attention"],
        "sliding_window": 24,
        "num_experts": num_experts,
        "top_k_experts": min(2, num_experts),
        "moe_intermediate_size": 16,
        "max_position_embeddings": 4096,
        "pad_token_id": 0,
        "eos_token_id": 1,
        "bos_token_id": 2,
    }
    vision = {
        "model_type": "gemma4_vision",
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "position_embedding_size": 16,
    }
    image_ids = {name: CONTROL_TOKENS.index(token) for name, token in _IMAGE_TOKENS.items()}
    options = {} if num_experts else {"experts_implementation": "eager"}  # the fused ones cannot do without experts
    return DiffusionGemmaConfig(
        text_config=text | text_options, vision_config=vision, canvas_length=canvas_length, **image_ids, **options
    )


_IMAGE_TOKENS = {"image_token_id": "<|image|>", "boi_token_id": "<|image>", "eoi_token_id": "<image|>"}


def build_model(config: Any, *, seed: int = 0, scale: float = 1.0) -> Any:
    """A `DiffusionGemmaForBlockDiffusion` with random weights.

    Args:
        config: See `build_config`.
        seed: Seed of the weights; torch's global generator is left as it was.
        scale: Factor on all matrices; above 1 the network grows sure of itself. Norms get weights around 1.
    """
    from transformers import DiffusionGemmaForBlockDiffusion

    with torch.random.fork_rng(devices=[]), warnings.catch_warnings(), torch.no_grad():
        warnings.filterwarnings("ignore", message="Initializing zero-element tensors")
        torch.manual_seed(seed)
        model = DiffusionGemmaForBlockDiffusion(config).eval()
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(scale)
            else:
                parameter.uniform_(0.8, 1.2)
    return model


def save_untrained_checkpoint(folder: Path, *, scale: float = 1.0, **config_options: Any) -> Path:
    """Write a checkpoint folder with random weights and give its path.

    Args:
        folder: Made if it is not there.
        scale: See `build_model`.
        config_options: See `build_config`; the vocabulary size is the tokenizer's.
    """
    tokenizer = build_tokenizer()
    model = build_model(build_config(vocab_size=len(tokenizer), **config_options), scale=scale)
    model.generation_config.eos_token_id = [tokenizer.convert_tokens_to_ids(token) for token in END_TOKENS]
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    profile = {"has_empty_thought": False}
    (folder / "agentflow.json").write_text(json.dumps(profile), encoding="utf-8")
    return folder
