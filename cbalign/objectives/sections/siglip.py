"""Pairwise sigmoid contrast in a spec."""

from __future__ import annotations

from typing import ClassVar, Literal

from cbalign.parts import Effect, ObjectiveSection, setting

TRAINING, INITIALISATION = Effect.TRAINING, Effect.INITIALISATION


class SiglipSection(ObjectiveSection):
    """Contrast of images and texts of the global batch by a sigmoid of each pair, without teacher and queue (SigLIP).

    Its temperature and bias are its own; `model.temperature` is not used.
    """

    name = "siglip"
    builds = "cbalign.objectives.siglip:Siglip"
    teacher: ClassVar[Literal["required", "optional", "unused"]] = "unused"

    temperature: float = setting(
        0.1, gt=0, effect=INITIALISATION, help="Initial temperature 1/t; log t is learned.", paper="0.1 (SigLIP)"
    )
    bias: float = setting(
        -10.0,
        effect=INITIALISATION,
        help="Initial bias b of the logits, learned; with n pairs in the batch, -log n starts with a share of 1/n.",
        paper="-10 (SigLIP)",
    )
    positives: Literal["pair", "image"] = setting(
        "pair",
        effect=TRAINING,
        help="Positives of an image: its own pair, or all its captions in the batch.",
        paper="pair (SigLIP)",
    )

    @property
    def separates_captions(self) -> bool:
        """Whether the pair itself is the only positive."""
        return self.positives == "pair"
