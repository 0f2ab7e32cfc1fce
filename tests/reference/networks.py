"""Our networks at the sizes of a state dict in ALBEF's names, filled with it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TypeVar

from torch import Tensor, nn

from cbalign.models.bert import BertTextTower, FusionEncoder
from cbalign.models.vision import TimmVisionTower
from tests.reference.folder import AnotherFormError, Sizes

Weights = Mapping[str, Tensor]
M = TypeVar("M", bound=nn.Module)
DROPOUT = 0.0  # as recorded; so losses can be computed in training mode, on the path that training takes


def tensor(weights: Weights, name: str) -> Tensor:
    """A tensor that a file of this form has."""
    if name not in weights:
        raise AnotherFormError(f"the weights have no {name}")
    return weights[name]


def count(weights: Weights, pattern: str) -> int:
    """How many numbered blocks there are; `pattern` has one group, the number."""
    found = [int(m[1]) for name in weights if (m := re.match(pattern, name))]
    return max(found, default=-1) + 1


def vision_tower(weights: Weights, sizes: Sizes) -> TimmVisionTower:
    positions, patches = (
        tensor(weights, "visual_encoder.pos_embed"),
        tensor(weights, "visual_encoder.patch_embed.proj.weight"),
    )
    patch = patches.shape[-1]
    return TimmVisionTower(
        "vit_base_patch16_224",
        image_size=round((positions.shape[1] - 1) ** 0.5) * patch,
        patch_size=patch,
        layers=count(weights, r"visual_encoder\.blocks\.(\d+)\."),
        width=positions.shape[2],
        heads=sizes.vision_heads,
    )


def text_tower(sizes: Sizes) -> BertTextTower:
    return BertTextTower(sizes.bert, sizes.text_layers, DROPOUT)


def bert_layers(weights: Weights) -> int:
    """Layers of the text encoder, fusion layers included."""
    return count(weights, r"text_encoder\.(?:bert\.)?encoder\.layer\.(\d+)\.")


def fusion_encoder(weights: Weights, sizes: Sizes) -> FusionEncoder:
    width = tensor(weights, "visual_encoder.pos_embed").shape[2]
    return FusionEncoder(sizes.bert, bert_layers(weights) - sizes.text_layers, width, DROPOUT)


def filled(module: M, weights: dict[str, Tensor], file: str, may_lack: tuple[str, ...] = ()) -> M:
    """The module with these weights, in evaluation mode, none missing but `may_lack` and none left over."""
    try:
        outcome = module.load_state_dict(weights, strict=False)
    except RuntimeError as error:
        raise AnotherFormError(f"{file} does not fit its own sizes: {error}") from error
    missing = [name for name in outcome.missing_keys if not name.endswith(may_lack or "\0")]
    if missing or outcome.unexpected_keys:
        raise AnotherFormError(f"{file}: missing {missing[:3]}, left over {outcome.unexpected_keys[:3]}")
    return module.eval()
