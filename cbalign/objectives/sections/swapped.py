"""Swapped prediction between views of the images in a spec."""

from __future__ import annotations

from typing import ClassVar, Literal

from cbalign.parts import Effect, ObjectiveSection, setting


class SwappedSection(ObjectiveSection):
    """Swapped prediction: each view of an image predicts the codes of the other view (SwAV).

    It uses the codebook and the solver of `model.codebook`; features of both views are the student's.
    """

    name = "swapped"
    builds = "cbalign.objectives.swapped:Swapped"
    teacher: ClassVar[Literal["required", "optional", "unused"]] = "unused"
    needs: ClassVar[frozenset[str]] = frozenset({"codebook"})
    reads_second_view: ClassVar[bool] = True

    weight: float = setting(
        1.0,
        ge=0,
        effect=Effect.TRAINING,
        switch=Effect.ARCHITECTURE,
        help="Weight of the loss term; 0 disables it.",
        paper="1 (SwAV)",
    )
