"""Instance alignment in a spec."""

from __future__ import annotations

from typing import ClassVar, Literal

from cbalign.parts import Effect, ObjectiveSection, setting

TRAINING = Effect.TRAINING


class ContrastiveSection(ObjectiveSection):
    """Instance alignment L_ica (CODIS eq. 4-5)."""

    name = "contrastive"
    builds = "cbalign.objectives.contrastive:Contrastive"
    by_default: ClassVar[bool] = True

    weight: float = setting(1.0, ge=0, effect=TRAINING, help="Factor of the term in the loss.", paper="1 (CODIS)")
    intra_modal: bool = setting(
        True,
        effect=TRAINING,
        help="Also align image with image and text with text.",
        paper="yes (CODIS), no (ALBEF)",
    )
    reduction: Literal["mean", "sum"] = setting(
        "mean",
        effect=TRAINING,
        help="Average the cross-entropies or sum them.",
        paper="sum in print, mean in its siblings",
    )
    positives: Literal["image", "pair"] = setting(
        "image",
        effect=TRAINING,
        help="All captions of an image are positives of it and share the target, or only the pair itself.",
        paper="pair (ALBEF pretraining), image (ALBEF retrieval)",
    )
