"""Image towers of timm in a spec."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import model_validator

from cbalign.models.sections.sizes import check_heads, nearest_multiple
from cbalign.parts import Effect, RuleError, VisionTowerSection, WeightsSource, setting

ARCHITECTURE, INITIALISATION, TRAINING = Effect.ARCHITECTURE, Effect.INITIALISATION, Effect.TRAINING

_NAMED_PATCH = re.compile(r"patch(\d+)")


class VisionSection(VisionTowerSection):
    """The image tower: a vision transformer of timm."""

    builds = "cbalign.models.vision:TimmVisionTower.from_section"

    kind: Literal["timm"] = setting("timm", effect=ARCHITECTURE, since="0.2", help="Kind of image tower.")
    architecture: str = setting(
        "vit_base_patch16_224",
        effect=ARCHITECTURE,
        help="Name of a timm vision transformer.",
        paper="ViT-B/16 (ALBEF)",
    )
    image_size: int = setting(
        256,
        ge=8,
        effect=ARCHITECTURE,
        help="Side of the square input, in pixels.",
        paper="256, fine-tuning 384 (ALBEF)",
    )
    patch_size: int | None = setting(
        None, ge=1, effect=ARCHITECTURE, help="Side of a patch in pixels; null: the architecture's."
    )
    layers: int | None = setting(
        None, ge=1, effect=ARCHITECTURE, help="Number of transformer blocks; null: the architecture's."
    )
    width: int | None = setting(None, ge=8, effect=ARCHITECTURE, help="Width of a token; null: the architecture's.")
    heads: int | None = setting(None, ge=1, effect=ARCHITECTURE, help="Attention heads; null: the architecture's.")
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
        help="`pretrained` (timm's weights by name), `random`, or a file or folder of timm/DeiT weights.",
        paper="DeiT-B, ImageNet-1k (ALBEF)",
    )

    @model_validator(mode="after")
    def _heads_divide_width(self) -> VisionSection:
        check_heads(self.width, self.heads)
        return self

    @model_validator(mode="after")
    def _patches_fill_the_image(self) -> VisionSection:
        patch = self.patch
        if patch and self.image_size % patch:
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
        """Return timm's weights by name, a file of the user, or None."""
        if self.init == "random":
            return None
        if self.init == "pretrained":
            return WeightsSource(f"timm's {self.architecture}", model=self.architecture)
        return WeightsSource(self.init, path=self.init)

    def token_count(self) -> int | None:
        """Return (image_size / patch_size)² patches plus the class token; None if the patch size is unknown."""
        return (self.image_size // self.patch) ** 2 + 1 if self.patch else None

    def without_weights(self) -> VisionSection:
        """Return the same tower with `init: random`."""
        return self.model_copy(update={"init": "random"})
