"""Names of OpenAI's CLIP, which open_clip kept, as names of transformers' CLIP and SigLIP."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from cbalign.interop.checkpoints.tensors import Tensors, numbers

BLOCKS = "transformer.resblocks."
BLOCK_PARTS = (
    ("ln_1", "layer_norm1"),
    ("attn.out_proj", "self_attn.out_proj"),
    ("ln_2", "layer_norm2"),
    ("mlp.c_fc", "mlp.fc1"),
    ("mlp.c_proj", "mlp.fc2"),
)
KINDS = ("weight", "bias")


def clip_vision(visual: Tensors) -> dict[str, Tensor]:
    """Return the tensors of `CLIPVisionModel` from those below `visual.`, without the projection.

    Raises:
        CheckpointError: a tensor is missing.
    """
    named = {
        "embeddings.class_embedding": visual.take("class_embedding"),
        "embeddings.patch_embedding.weight": visual.take("conv1.weight"),
        "embeddings.position_embedding.weight": visual.take("positional_embedding"),
    }
    for theirs, ours in (("ln_pre", "pre_layrnorm"), ("ln_post", "post_layernorm")):
        named |= {f"{ours}.{kind}": visual.take(f"{theirs}.{kind}") for kind in KINDS}
    return named | dict(_blocks(visual))


def clip_text(text: Tensors) -> dict[str, Tensor]:
    """Return the tensors of `CLIPTextModel`, or of `SiglipTextModel` without head, without the projection.

    Raises:
        CheckpointError: a tensor is missing.
    """
    named = {
        "embeddings.token_embedding.weight": text.take("token_embedding.weight"),
        "embeddings.position_embedding.weight": text.take("positional_embedding"),
    }
    named |= {f"final_layer_norm.{kind}": text.take(f"ln_final.{kind}") for kind in KINDS}
    return named | dict(_blocks(text))


def _blocks(tower: Tensors) -> Iterator[tuple[str, Tensor]]:
    for number in range(numbers(tower, BLOCKS)):
        theirs, ours = f"{BLOCKS}{number}.", f"encoder.layers.{number}."
        for kind in KINDS:
            joined = tower.take(f"{theirs}attn.in_proj_{kind}")  # (3 D, …): query, key, value
            for name, part in zip(("q_proj", "k_proj", "v_proj"), joined.chunk(3)):
                yield f"{ours}self_attn.{name}.{kind}", part.contiguous()
            for old, new in BLOCK_PARTS:
                yield f"{ours}{new}.{kind}", tower.take(f"{theirs}{old}.{kind}")
