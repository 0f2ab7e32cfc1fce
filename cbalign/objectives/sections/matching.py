"""Image-text matching in a spec."""

from __future__ import annotations

from typing import ClassVar, Literal

from cbalign.parts import Effect, ObjectiveSection, setting

TRAINING = Effect.TRAINING


class MatchingSection(ObjectiveSection):
    """Image-text matching L_itm."""

    name = "matching"
    builds = "cbalign.objectives.matching:Matching"
    provides: ClassVar[frozenset[str]] = frozenset({"matching"})
    fuses: ClassVar[bool] = True
    teacher: ClassVar[Literal["required", "optional", "unused"]] = "optional"
    by_default: ClassVar[bool] = True

    weight: float = setting(
        1.0,
        ge=0,
        effect=TRAINING,
        switch=Effect.ARCHITECTURE,
        help="Weight of the loss term; 0 disables it.",
        paper="1 (ALBEF)",
    )
    positives: Literal["image", "pair"] = setting(
        "image",
        since="0.2",
        effect=TRAINING,
        help="What is never drawn as a negative: all pairs of the same image, or only the pair itself, so that another "
        "caption of an image may count as wrong for it.",
        paper="pair (ALBEF pretraining), image (ALBEF retrieval)",
    )
    hardness: float = setting(
        1.0,
        ge=0,
        le=1,
        effect=TRAINING,
        help="Factor on the similarities that weight the sampling of negatives: 1 as published, 0 uniform.",
        paper="1 (ALBEF)",
    )
    ramp_epochs: float = setting(
        0.0,
        ge=0,
        effect=TRAINING,
        help="Epochs over which the hardness grows from 0; a match head that is trained only on the hardest negatives "
        "from the start may stay at chance for thousands of steps.",
        paper="0 (ALBEF)",
    )
