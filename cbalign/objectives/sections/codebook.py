"""Codebook alignment in a spec."""

from __future__ import annotations

from typing import ClassVar, Literal

from cbalign.parts import Effect, ObjectiveSection, setting

TRAINING = Effect.TRAINING


class CodebookObjectiveSection(ObjectiveSection):
    """Codebook loss L_code (CODIS section 3.1)."""

    name = "codebook"
    builds = "cbalign.objectives.codebook:CodebookObjective"
    provides: ClassVar[frozenset[str]] = frozenset({"codebook"})
    by_default: ClassVar[bool] = True

    weight: float = setting(
        1.0,
        ge=0,
        effect=TRAINING,
        switch=Effect.ARCHITECTURE,
        help="Weight of the loss term; 0 disables it.",
        paper="1 (CODIS)",
    )
    target: Literal["cross", "same", "both"] = setting(
        "cross",
        effect=TRAINING,
        help="Teacher of each modality: the plan of the other modality, of the same modality, or the mean of both.",
        paper="cross in the text, same in the pseudo-code",
    )
    transport_weight: float = setting(
        1.0,
        ge=0,
        effect=TRAINING,
        since="0.2",
        help="Weight of the transport cost ⟨T, D⟩ within the term; without it, prototypes learn by prediction alone.",
        paper="1 (CODIS), 0 (SwAV, DINO)",
    )
