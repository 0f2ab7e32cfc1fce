"""Contrast of the student with itself in a spec."""

from __future__ import annotations

from typing import ClassVar, Literal

from cbalign.parts import Effect, ObjectiveSection, setting

TRAINING = Effect.TRAINING


class ClipSection(ObjectiveSection):
    """Contrast of images and texts of the global batch by softmax, without teacher and queue (CLIP).

    It uses `model.temperature`. CLIP learns its logarithm and keeps it above 0.01:
    `temperature: {parameter: logarithm, minimum: 0.01}`.
    """

    name = "clip"
    builds = "cbalign.objectives.clip:Clip"
    teacher: ClassVar[Literal["required", "optional", "unused"]] = "unused"

    weight: float = setting(1.0, ge=0, effect=TRAINING, help="Weight of the loss term; 0 disables it.", paper="1")
    positives: Literal["pair", "image"] = setting(
        "pair",
        effect=TRAINING,
        help="Positives of an image: its own pair, or all its captions in the batch, which share the target.",
        paper="pair (CLIP), image (X-VLM)",
    )

    @property
    def separates_captions(self) -> bool:
        """Whether the pair itself is the only positive."""
        return self.positives == "pair"
