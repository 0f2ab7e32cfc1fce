"""Towers of OpenAI's CLIP and of open_clip as towers of transformers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cbalign.errors import CheckpointError
from cbalign.interop.checkpoints.dual import Projection, TowerForm
from cbalign.interop.checkpoints.resblocks import BLOCKS, clip_text, clip_vision
from cbalign.interop.checkpoints.tensors import Tensors, numbers

HEAD_WIDTH = 64  # of CLIP's attention heads
NORM_EPS = 1e-5


def clip_vision_tower(
    visual: Tensors, activation: str, head_width: int = HEAD_WIDTH, norm_eps: float = NORM_EPS
) -> TowerForm:
    """Convert the tensors below `visual.`.

    Raises:
        CheckpointError: it is no vision transformer of CLIP's form.
    """
    if any(name.startswith(("layer1.", "attnpool.")) for name in visual):
        raise CheckpointError(
            f"{visual.origin}: the image tower is CLIP's ResNet, which cbalign does not have",
            remedy="Import a model with a vision transformer or a ConvNeXt, such as ViT-B-32.",
        )
    width, _, patch, _ = visual.shape("conv1.weight", 4)
    positions = visual.shape("positional_embedding", 2)[0]
    side = round((positions - 1) ** 0.5)
    if side * side + 1 != positions:
        raise CheckpointError(f"{visual.origin}: {positions} position embeddings are no square of patches and a class")
    config = _config("clip_vision_model", visual, width, _heads(width, head_width, visual.origin), activation, norm_eps)
    config |= {"image_size": side * patch, "patch_size": patch}
    projection = Projection(visual.take("proj").T.contiguous())
    form = TowerForm(
        {"kind": "huggingface", "image_size": side * patch, "pooling": "trunk"},
        config | {"projection_dim": len(projection.weight)},
        clip_vision(visual),
        projection,
    )
    visual.refuse_rest("CLIP vision transformer")
    return form


def clip_text_tower(
    text: Tensors,
    activation: str,
    heads: int | None,
    files: tuple[Path, ...],
    *,
    norm_eps: float = NORM_EPS,
    end: int | None = None,
) -> TowerForm:
    """Convert a text tower that reads from left to right and pools at the end of the text.

    Args:
        text: its tensors.
        activation: in transformers' words.
        heads: attention heads; None for width / 64.
        files: of the tokenizer.
        end: the token that ends a text; None for the last of the vocabulary.

    Raises:
        CheckpointError: it is no text tower of CLIP's form.
    """
    words, width = text.shape("token_embedding.weight", 2)
    length = text.shape("positional_embedding", 2)[0]
    heads = heads or _heads(width, HEAD_WIDTH, text.origin)
    end = words - 1 if end is None else end
    config = _config("clip_text_model", text, width, heads, activation, norm_eps)
    config |= {"vocab_size": words, "max_position_embeddings": length}
    config |= {"bos_token_id": words - 2, "eos_token_id": end, "pad_token_id": end}
    projection = text_projection(text, width)
    form = TowerForm(
        {"kind": "huggingface", "max_tokens": length, "pooling": "trunk"},
        config | {"projection_dim": len(projection.weight)},
        clip_text(text),
        projection,
        files,
    )
    text.refuse_rest("CLIP text tower")
    return form


def siglip_text_tower(
    text: Tensors, activation: str, heads: int, norm_eps: float, files: tuple[Path, ...]
) -> TowerForm:
    """Convert a text tower that reads both ways and pools at the last position.

    Raises:
        CheckpointError: it is no text tower of this form.
    """
    words, width = text.shape("token_embedding.weight", 2)
    length = text.shape("positional_embedding", 2)[0]
    projection = text_projection(text, width)
    joint_dim = len(projection.weight)
    config = _config("siglip_text_model", text, width, heads, activation, norm_eps)
    config |= {"vocab_size": words, "max_position_embeddings": length, "projection_size": joint_dim}
    head = {"head.weight": projection.weight, "head.bias": projection.bias_or_zero}
    form = TowerForm(
        {"kind": "huggingface", "max_tokens": length, "pooling": "trunk"},
        config,
        clip_text(text) | head,
        Projection.identity(joint_dim),
        files,
    )
    text.refuse_rest("SigLIP text tower")
    return form


def text_projection(text: Tensors, width: int) -> Projection:
    """Take the projection of a text tower: a matrix (D, d), a linear layer, or none.

    Raises:
        CheckpointError: the file has one of another form.
    """
    if "text_projection.weight" in text:
        return Projection(text.take("text_projection.weight"), text.take_if_there("text_projection.bias"))
    matrix: Tensor | None = text.take_if_there("text_projection")
    return Projection.identity(width) if matrix is None else Projection(matrix.T.contiguous())


def scalar(tensor: Tensor | None) -> float | None:
    """Return the number in a tensor of one element."""
    return None if tensor is None else float(tensor.to(torch.float32).reshape(()))


def activation_of(quick_gelu: bool, settings: Mapping[str, Any]) -> str:
    """Return the activation of open_clip's own towers in transformers' words."""
    if quick_gelu:
        return "quick_gelu"
    arguments = settings.get("act_kwargs") or {}
    return "gelu_pytorch_tanh" if arguments.get("approximate") == "tanh" else "gelu"


def _config(
    model_type: str, tower: Tensors, width: int, heads: int, activation: str, norm_eps: float
) -> dict[str, object]:
    return {
        "model_type": model_type,
        "hidden_size": width,
        "intermediate_size": tower.shape(f"{BLOCKS}0.mlp.c_fc.weight", 2)[0],
        "num_hidden_layers": numbers(tower, BLOCKS),
        "num_attention_heads": heads,
        "hidden_act": activation,
        "layer_norm_eps": norm_eps,
    }


def _heads(width: int, each: int, origin: str) -> int:
    if width % each:
        raise CheckpointError(f"{origin}: width {width} is no multiple of the width {each} of an attention head")
    return width // each
