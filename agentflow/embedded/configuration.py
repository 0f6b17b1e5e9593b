"""The shape of the embedded model, and the stock model built in that shape.

Everything is the published DiffusionGemma architecture at a small size: text only, dense, most
layers sliding (they have a value projection of their own) with a window as long as the context, and
one full layer at the end, which the architecture demands. The vision tower stays, at the smallest
size there is, so that the folder loads without a missing or unexpected key.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

from torch import nn

CONTEXT_LENGTH = 2048
"""Longest conversation in tokens, canvas included."""


@dataclass(frozen=True, kw_only=True)
class EmbeddedShape:
    """Sizes of an embedded model.

    Attributes:
        vocab_size: Number of tokens.
        hidden_size: Width of the residual stream.
        intermediate_size: Width inside a feed-forward block.
        num_layers: Number of layers, the full one included.
        num_heads: Attention heads per layer.
        num_kv_heads: Key and value heads per layer.
        head_dim: Width of a head.
        canvas_length: Tokens of a canvas.
        query_scale: Start of the query norm's weight; a key of the same direction then scores `query_scale * head_dim`.
    """

    vocab_size: int
    hidden_size: int = 192
    intermediate_size: int = 512
    num_layers: int = 6
    num_heads: int = 4
    num_kv_heads: int = 4
    head_dim: int = 32
    canvas_length: int = 48
    query_scale: float = 0.3

    def __post_init__(self) -> None:
        """Check that the heads can be shared.

        Raises:
            ValueError: If the heads are no multiple of the key and value heads.
        """
        if self.num_heads % self.num_kv_heads:
            raise ValueError(f"num_heads={self.num_heads} must be a multiple of num_kv_heads={self.num_kv_heads}")


def build_config(shape: EmbeddedShape, *, control_ids: dict[str, int]) -> Any:
    """Give the `DiffusionGemmaConfig` of `shape`.

    Args:
        shape: Sizes.
        control_ids: Id of each control token.
    """
    from transformers import DiffusionGemmaConfig, DiffusionGemmaTextConfig

    rope = {"rope_type": "default", "rope_theta": 10_000.0}
    text = DiffusionGemmaTextConfig(
        vocab_size=shape.vocab_size,
        hidden_size=shape.hidden_size,
        intermediate_size=shape.intermediate_size,
        num_hidden_layers=shape.num_layers,
        num_attention_heads=shape.num_heads,
        num_key_value_heads=shape.num_kv_heads,
        head_dim=shape.head_dim,
        global_head_dim=shape.head_dim,
        num_global_key_value_heads=shape.num_kv_heads,
        layer_types=["sliding_attention"] * (shape.num_layers - 1) + ["full_attention"],
        sliding_window=CONTEXT_LENGTH,
        max_position_embeddings=CONTEXT_LENGTH,
        rope_parameters={"sliding_attention": dict(rope), "full_attention": dict(rope)},
        num_experts=0,
        top_k_experts=0,
        moe_intermediate_size=1,
        pad_token_id=control_ids["<pad>"],
        bos_token_id=control_ids["<bos>"],
        eos_token_id=[control_ids[name] for name in ("<eos>", "<turn|>", "<|tool_response>")],
    )
    vision = {
        "model_type": "gemma4_vision",
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
        "num_key_value_heads": 1,
        "head_dim": 16,
        "position_embedding_size": 4,
    }
    return DiffusionGemmaConfig(
        text_config=text.to_dict(),
        vision_config=vision,
        canvas_length=shape.canvas_length,
        image_token_id=control_ids["<|image|>"],
        boi_token_id=control_ids["<|image>"],
        eoi_token_id=control_ids["<image|>"],
        experts_implementation="eager",  # the fused ones cannot do without experts
    )


def build_model(shape: EmbeddedShape, *, control_ids: dict[str, int]) -> Any:
    """Build an untrained stock model of `shape`, drawn from torch's global random generator.

    The embedding starts at `1 / sqrt(hidden_size)`, so that the encoder's input has the same size as the
    decoder's, which the self-conditioning block normalises.
    """
    from transformers import DiffusionGemmaForBlockDiffusion

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Initializing zero-element tensors")  # a router of no experts
        model = DiffusionGemmaForBlockDiffusion(build_config(shape, control_ids=control_ids))
    nn.init.normal_(model.model.decoder.embed_tokens.weight, std=shape.hidden_size**-0.5)
    for layer in model.model.decoder.layers:
        nn.init.constant_(layer.self_attn.q_norm.weight, shape.query_scale)
        for norm in (layer.post_attention_layernorm, layer.post_feedforward_layernorm):
            nn.init.constant_(norm.weight, 0.5)
    return model
