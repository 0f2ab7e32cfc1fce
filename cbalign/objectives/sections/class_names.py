"""Class names in a spec."""

from __future__ import annotations

from cbalign.parts import Effect, ObjectiveSection, setting


class ClassNamesSection(ObjectiveSection):
    """Align what a pretrained image tower knows of its classes with their names, as if these were further pairs.

    A frozen tower has learnt to tell ImageNet's 1,000 classes apart; a few thousand captions name few of them.
    """

    name = "class_names"
    builds = "cbalign.objectives.class_names:ClassNames"

    samples: int = setting(
        128,
        ge=2,
        effect=Effect.TRAINING,
        since="0.2",
        help="Number of classes drawn in each step.",
    )
