"""Infer the sizes of an ALBEF model from the tensor names and shapes of its checkpoint."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from cbalign.errors import CheckpointError
from cbalign.models.bert import BertConfig

HEAD_WIDTH = 64  # of every published ViT and BERT of this family
DOWNSTREAM = {"text_decoder.": "visual question answering", "ta_head.": "NLVR2's text assignment"}
REMEDY = "Give a pretraining or retrieval checkpoint of ALBEF or TCL, such as ALBEF_4M.pth or mscoco.pth."


@dataclass(frozen=True)
class AlbefSizes:
    """Sizes of ALBEF's pretraining or retrieval model, and which of its parts a file has."""

    image_size: int
    patch_size: int
    vision_layers: int
    vision_width: int
    vision_heads: int
    bert: BertConfig  # `layers` counts text and fusion layers
    text_layers: int
    joint_dim: int
    queue_length: int | None
    has_teacher: bool
    has_match_head: bool
    has_masked_language_head: bool

    @property
    def fusion_layers(self) -> int:
        """Layers with cross-attention."""
        return self.bert.layers - self.text_layers


def infer_sizes(
    weights: Mapping[str, Tensor], file: Path, *, image_heads: int | None = None, text_heads: int | None = None
) -> AlbefSizes:
    """Read sizes off a state dict by ALBEF's names.

    Args:
        weights: the state dict.
        file: for messages.
        image_heads, text_heads: attention heads, which cannot be inferred; None assumes `HEAD_WIDTH` channels each.

    Raises:
        CheckpointError: it belongs to another model.
    """
    _refuse_others(weights, file)
    found = _Shapes(weights, file)
    positions = found.shape("visual_encoder.pos_embed", 3)
    patches = found.shape("visual_encoder.patch_embed.proj.weight", 4)
    side = round((positions[1] - 1) ** 0.5)
    if side * side + 1 != positions[1]:
        raise CheckpointError(f"{file}: visual_encoder.pos_embed has {positions[1]} tokens: no square image and [CLS]")
    prefix = (
        "text_encoder.bert." if "text_encoder.bert.embeddings.word_embeddings.weight" in weights else "text_encoder."
    )
    words = found.shape(f"{prefix}embeddings.word_embeddings.weight", 2)
    layer = rf"{re.escape(prefix)}encoder\.layer\.(\d+)\."
    layers = found.numbers(layer)
    fused = found.numbers(rf"{layer}crossattention\.")
    if not fused or fused != list(range(fused[0], layers[-1] + 1)) or fused[0] == 0:
        raise CheckpointError(
            f"{file}: its last text layers are to have cross-attention, but layers {fused} of {len(layers)} do",
            remedy=REMEDY,
        )
    vision_width, text_width = positions[2], words[1]
    return AlbefSizes(
        image_size=side * patches[-1],
        patch_size=patches[-1],
        vision_layers=len(found.numbers(r"visual_encoder\.blocks\.(\d+)\.")),
        vision_width=vision_width,
        vision_heads=image_heads or _heads(vision_width, "image", file),
        bert=BertConfig(
            vocabulary=words[0],
            width=text_width,
            layers=len(layers),
            heads=text_heads or _heads(text_width, "text", file),
            intermediate=found.shape(f"{prefix}encoder.layer.0.intermediate.dense.weight", 2)[0],
            positions=found.shape(f"{prefix}embeddings.position_embeddings.weight", 2)[0],
            types=found.shape(f"{prefix}embeddings.token_type_embeddings.weight", 2)[0],
        ),
        text_layers=fused[0],
        joint_dim=found.shape("vision_proj.weight", 2)[0],
        queue_length=found.shape("image_queue", 2)[1] if "image_queue" in weights else None,
        has_teacher=any(name.startswith("visual_encoder_m.") for name in weights),
        has_match_head="itm_head.weight" in weights,
        has_masked_language_head="text_encoder.cls.predictions.bias" in weights,
    )


def _refuse_others(weights: Mapping[str, Tensor], file: Path) -> None:
    for prefix, task in DOWNSTREAM.items():
        if any(name.startswith(prefix) for name in weights):
            raise CheckpointError(f"{file} is ALBEF's model for {task}", remedy=REMEDY)
    if "cls_head.0.weight" in weights:
        raise CheckpointError(f"{file} is ALBEF's model for NLVR2 or SNLI-VE", remedy=REMEDY)
    for prefix in ("visual_encoder.", "text_encoder.", "vision_proj."):
        if not any(name.startswith(prefix) for name in weights):
            held = ", ".join(sorted(weights)[:3]) or "no tensors"
            raise CheckpointError(
                f"{file} is not an ALBEF checkpoint: it has no tensor named {prefix}… (it has {held}, …)", remedy=REMEDY
            )


class _Shapes:
    """Shapes of tensors by name; missing tensors raise an error."""

    def __init__(self, weights: Mapping[str, Tensor], file: Path) -> None:
        self._weights = weights
        self._file = file

    def shape(self, name: str, dimensions: int) -> tuple[int, ...]:
        if name not in self._weights:
            raise CheckpointError(f"{self._file} is not an ALBEF checkpoint: it has no {name}", remedy=REMEDY)
        shape = tuple(self._weights[name].shape)
        if len(shape) != dimensions or 0 in shape:
            raise CheckpointError(f"{self._file}: {name} has shape {shape}, not {dimensions} dimensions")
        return shape

    def numbers(self, pattern: str) -> list[int]:
        return sorted({int(match[1]) for name in self._weights if (match := re.match(pattern, name))})


def _heads(width: int, tower: str, file: Path) -> int:
    if width % HEAD_WIDTH:
        raise CheckpointError(
            f"{file}: unknown attention heads of the {tower} tower: width {width} is no multiple of {HEAD_WIDTH}",
            remedy=f"Set them with --{tower}-heads N.",
        )
    return width // HEAD_WIDTH
