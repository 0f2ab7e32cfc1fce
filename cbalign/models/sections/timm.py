"""Image towers of timm in a spec."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import model_validator

from cbalign.models.sections.sizes import check_heads, nearest_multiple
from cbalign.models.sections.vision import Pooling, initial_weights, pooling_setting
from cbalign.parts import Effect, RuleError, VisionTowerSection, setting
from cbalign.parts.preprocessing import PreprocessingChoice, preprocessing_setting
from cbalign.parts.towers import WeightsSource

ARCHITECTURE, INITIALISATION, TRAINING = Effect.ARCHITECTURE, Effect.INITIALISATION, Effect.TRAINING

_NAMED_PATCH = re.compile(r"patch(\d+)")
_CLASS_TOKEN_ONLY = re.compile(r"(vit|deit3?)_(?!.*(_gap|_reg|siglip|rope|distilled|radio|relpos|medium|sam|nope))")
LITE = {"efficientnet-lite0": 224, "efficientnet-lite1": 240, "efficientnet-lite2": 260}
"""Image towers whose weights are Python packages, with the image size that they were trained with."""


def _usual_pooling(settings: Mapping[str, Any]) -> Pooling:
    """Return `cls` for models that cbalign 0.1 took and that pool in another way themselves, else `trunk`."""
    architecture = str(settings.get("architecture", ""))
    return "cls" if re.match(r"beit3_|eva_large_patch14|deit_.*distilled", architecture) else "trunk"


class VisionSection(VisionTowerSection):
    """The image tower: a model of timm that gives tokens or a feature map."""

    builds = "cbalign.models.vision:TimmVisionTower.from_section"

    kind: Literal["timm"] = setting("timm", effect=ARCHITECTURE, since="0.2", help="Kind of image tower.")
    architecture: str = setting(
        "vit_base_patch16_224",
        effect=ARCHITECTURE,
        path="maybe",
        help="Name of a timm model, `efficientnet-lite0` (also 1 and 2; weights of a Python package), or a folder or "
        "hub name (`hf://org/name`) in timm's layout.",
        paper="ViT-B/16 (ALBEF)",
    )
    image_size: int = setting(
        256,
        ge=8,
        le=16_384,
        effect=ARCHITECTURE,
        help="Side of the square input, in pixels.",
        paper="256, fine-tuning 384 (ALBEF)",
    )
    patch_size: int | None = setting(
        None,
        ge=1,
        le=16_384,
        effect=ARCHITECTURE,
        help="Side of a patch in pixels, of plain ViTs; null: the architecture's.",
    )
    layers: int | None = setting(
        None, ge=1, le=1_000, effect=ARCHITECTURE, help="Number of blocks, of plain ViTs; null: the architecture's."
    )
    width: int | None = setting(
        None, ge=8, le=1_048_576, effect=ARCHITECTURE, help="Width of a token, of plain ViTs; null: the architecture's."
    )
    heads: int | None = setting(
        None, ge=1, le=16_384, effect=ARCHITECTURE, help="Attention heads, of plain ViTs; null: the architecture's."
    )
    stem: Literal["patches", "convolutions"] = setting(
        "patches",
        effect=ARCHITECTURE,
        help="Patch embedding: one linear map per patch, or 3x3 convolutions that halve the image until a token covers "
        "`patch_size` pixels, which train well on few images (Xiao et al., 2021).",
        paper="patches (ALBEF)",
    )
    drop_path: float = setting(0.0, ge=0, lt=1, effect=TRAINING, help="Stochastic depth rate of the last block.")
    init: str = setting(
        "pretrained",
        effect=INITIALISATION,
        path="maybe",
        help="`pretrained` (the architecture's published weights), `random`, a file or folder of timm/DeiT weights, or "
        "a hub name (`hf://org/name`).",
        paper="DeiT-B, ImageNet-1k (ALBEF)",
    )
    pooling: Pooling = pooling_setting(is_older=True, default=_usual_pooling)
    preprocessing: PreprocessingChoice = preprocessing_setting(is_older=True)

    @model_validator(mode="after")
    def _heads_divide_width(self) -> VisionSection:
        check_heads(self.width, self.heads)
        return self

    @model_validator(mode="after")
    def _patches_fill_the_image(self) -> VisionSection:
        patch = self.patch
        named = self.patch_size is None and self.architecture.partition(".")[0].endswith(f"_{self.image_size}")
        if patch and self.image_size % patch and not named:  # SigLIP So400m/14 drops the margin of 384 px
            whose = "patch_size" if self.patch_size else f"{self.architecture}'s patch size"
            nearest = nearest_multiple(self.image_size, patch)
            raise RuleError(
                f"image_size {self.image_size} is not a multiple of {whose} {patch}; nearest {nearest}",
                at=("image_size", "patch_size", "architecture"),
            )
        return self

    @model_validator(mode="after")
    def _convolutions_can_be_built(self) -> VisionSection:
        if self.stem == "patches":
            return self
        patch = self.patch
        if patch and (patch < 2 or patch & (patch - 1)):
            raise RuleError(
                f"patch_size {patch} must be a power of two for convolutions of stride 2: 8, 16 or 32",
                at=("patch_size", "stem", "architecture"),
            )
        if self.init == "pretrained":
            raise RuleError(
                "no published weights exist for stem: convolutions; set init: random or stem: patches",
                at=("stem", "init"),
            )
        return self

    @property
    def patch(self) -> int | None:
        """Side of a patch in pixels: the setting, else the number in the architecture's name, else None."""
        named = _NAMED_PATCH.search(self.architecture)
        return self.patch_size or (int(named[1]) or None if named else None)

    @property
    def weights_source(self) -> WeightsSource | None:
        """Return the architecture's published weights, a file of the user, weights on the hub, or None."""
        label = self.architecture if self.architecture in LITE else f"timm's {self.architecture}"
        return initial_weights(self.architecture, self.init, label)

    def token_count(self) -> int | None:
        """Return (image_size / patch_size)² patches plus the class token; None if building alone tells."""
        plain = _CLASS_TOKEN_ONLY.match(self.architecture)
        return (self.image_size // self.patch) ** 2 + 1 if plain and self.patch else None

    def without_weights(self) -> VisionSection:
        """Return the same tower with `init: random`."""
        return self.model_copy(update={"init": "random"})
