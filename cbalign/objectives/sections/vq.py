"""Hard codes in a spec."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import model_validator

from cbalign.parts import Effect, ObjectiveSection, RuleError, setting

TRAINING = Effect.TRAINING


class VQSection(ObjectiveSection):
    """Contrast of hard codes with features of the other modality, by vector quantisation (VQ-VAE).

    The codebook is `model.codebook`: its `size`, `update`, `revive_after` and `freeze_steps` count; each feature has
    the nearest code, so that `transport` and `assign_over` do not.
    """

    name = "vq"
    builds = "cbalign.objectives.vq:VQ"
    provides: ClassVar[frozenset[str]] = frozenset({"codebook"})
    teacher: ClassVar[Literal["required", "optional", "unused"]] = "unused"

    weight: float = setting(
        1.0, ge=0, effect=TRAINING, switch=Effect.ARCHITECTURE, help="Weight of the loss term; 0 disables it."
    )
    commitment: float = setting(
        0.25,
        ge=0,
        effect=TRAINING,
        help="Weight β of the squared distance that draws features to their codes.",
        paper="0.25 (VQ-VAE)",
    )


class FSQSection(ObjectiveSection):
    """Contrast of hard codes with features of the other modality, by finite scalar quantisation (FSQ).

    A linear map takes features to one number per level count, each number is rounded to one of its levels, and another
    linear map leads back to the joint space. There are no prototypes, and nothing to collapse.
    """

    name = "fsq"
    builds = "cbalign.objectives.vq:FSQ"
    teacher: ClassVar[Literal["required", "optional", "unused"]] = "unused"

    weight: float = setting(
        1.0, ge=0, effect=TRAINING, switch=Effect.ARCHITECTURE, help="Weight of the loss term; 0 disables it."
    )
    levels: tuple[int, ...] = setting(
        (8, 6, 5),
        effect=Effect.ARCHITECTURE,
        min_length=1,
        help="Levels of each number, at least 2; their product is the number of codes.",
        paper="8, 6, 5 for 240 codes, 8, 5, 5, 5 for 1,000, 7, 5, 5, 5, 5 for 4,375 (FSQ)",
    )

    @model_validator(mode="after")
    def _levels_differ(self) -> FSQSection:
        if min(self.levels) < 2:
            raise RuleError(f"levels has {min(self.levels)}; a number needs at least 2 levels", at=("levels",))
        return self
