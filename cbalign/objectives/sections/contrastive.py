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

    weight: float = setting(
        1.0, ge=0, effect=TRAINING, help="Weight of the loss term; 0 disables it.", paper="1 (CODIS)"
    )
    intra_modal: bool = setting(
        True,
        effect=TRAINING,
        help="Also align image with image and text with text.",
        paper="yes (CODIS), no (ALBEF)",
    )
    reduction: Literal["mean", "sum"] = setting(
        "mean",
        effect=TRAINING,
        help="Reduction of the cross-entropies.",
        paper="sum in print, mean in its siblings",
    )
    positives: Literal["image", "pair"] = setting(
        "image",
        effect=TRAINING,
        help="Positives of an image: all its captions, which share the target, or only its own pair.",
        paper="pair (ALBEF pretraining), image (ALBEF retrieval)",
    )
    contrast_over: Literal["batch", "global_batch"] = setting(
        "global_batch",
        since="0.2",
        effect=TRAINING,
        help="Teacher features of this step that a sample is compared with, besides those of the queue: those of its "
        "own device's batch, or of the batches of all devices.",
        paper="batch (ALBEF)",
    )

    @property
    def separates_captions(self) -> bool:
        """Whether the pair itself is the only positive."""
        return self.positives == "pair"
