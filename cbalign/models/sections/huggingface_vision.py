"""Image towers of transformers in a spec."""

from __future__ import annotations

from typing import Literal

from cbalign.models.sections.vision import Pooling, initial_weights, pooling_setting
from cbalign.parts import Effect, VisionTowerSection, WeightsSource, setting
from cbalign.parts.preprocessing import PreprocessingChoice, preprocessing_setting

ARCHITECTURE = Effect.ARCHITECTURE


class HuggingFaceVisionSection(VisionTowerSection):
    """The image tower: a vision model of transformers, or the vision half of a model of images and texts."""

    builds = "cbalign.models.huggingface_vision:HuggingFaceVisionTower.from_section"

    kind: Literal["huggingface"] = setting(effect=ARCHITECTURE, help="Kind of image tower.")
    architecture: str = setting(
        effect=ARCHITECTURE,
        path="maybe",
        help="A hub name (`facebook/dinov2-base`, `hf://org/name`), or a folder with config.json.",
    )
    image_size: int = setting(224, ge=8, le=16_384, effect=ARCHITECTURE, help="Side of the square input, in pixels.")
    init: str = setting(
        "pretrained",
        effect=Effect.INITIALISATION,
        path="maybe",
        help="`pretrained` (the architecture's published weights), `random`, or another hub name or folder.",
    )
    pooling: Pooling = pooling_setting()
    preprocessing: PreprocessingChoice = preprocessing_setting()

    @property
    def weights_source(self) -> WeightsSource | None:
        """Return the architecture's published weights, those of another folder or hub name, or None."""
        return initial_weights(self.architecture, self.init, self.architecture)

    def without_weights(self) -> HuggingFaceVisionSection:
        """Return the same tower with `init: random`."""
        return self.model_copy(update={"init": "random"})
