"""Masked language modelling in a spec."""

from __future__ import annotations

from typing import ClassVar, Literal

from cbalign.parts import Effect, ObjectiveSection, setting

TRAINING = Effect.TRAINING


class MaskedLanguageSection(ObjectiveSection):
    """Masked language modelling L_mlm."""

    name = "masked_language"
    builds = "cbalign.objectives.masked_language:MaskedLanguage"
    provides: ClassVar[frozenset[str]] = frozenset({"masked_language"})
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
    probability: float = setting(
        0.15,
        gt=0,
        lt=1,
        effect=TRAINING,
        help="Fraction of tokens that are masked and predicted.",
        paper="0.15 (ALBEF)",
    )

    @property
    def masked_share(self) -> float:
        """Return the masking probability."""
        return self.probability
