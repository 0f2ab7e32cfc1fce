"""Local terms in a spec."""

from __future__ import annotations

from typing import ClassVar, Literal

from cbalign.parts import Effect, ObjectiveSection, setting

TRAINING = Effect.TRAINING


class LocalSection(ObjectiveSection):
    """Contrast of each image with its patches and of each caption with its tokens (TCL's local mutual information)."""

    name = "local"
    builds = "cbalign.objectives.local:Local"
    reads_tokens: ClassVar[bool] = True
    teacher: ClassVar[Literal["required", "optional", "unused"]] = "optional"

    weight: float = setting(
        1.0,
        ge=0,
        effect=TRAINING,
        help="Weight of the loss term; 0 disables it.",
        paper="1/3 beside 2/3 of the contrastive term (TCL, six terms averaged)",
    )
    pool_patches: bool = setting(
        True,
        effect=TRAINING,
        help="Average square neighbourhoods of patches, whose side is the root of the grid's.",
        paper="yes (TCL)",
    )
    positives: Literal["image", "pair"] = setting(
        "image",
        effect=TRAINING,
        help="What is no negative: everything of the same image, or of the same pair only.",
        paper="pair (TCL)",
    )

    @property
    def separates_captions(self) -> bool:
        """Whether the pair itself is the only positive."""
        return self.positives == "pair"
