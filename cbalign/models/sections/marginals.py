"""The marginals of a transport plan in a spec."""

from __future__ import annotations

from typing import Literal

from cbalign.parts import Effect, Section, setting

TRAINING = Effect.TRAINING


class MarginalsSection(Section):
    """How a transport plan shares its mass among samples and codes."""

    codes: Literal["uniform", "usage"] = setting(
        "uniform",
        effect=Effect.ARCHITECTURE,
        since="0.2",
        help="Mass of the codes: 1/K each, or by how often each was the nearest code, as a running average.",
        paper="uniform (CODIS)",
    )
    usage_momentum: float = setting(
        0.99, ge=0, lt=1, effect=TRAINING, since="0.2", help="Weight of the old average of `codes: usage`."
    )
    uniform_share: float = setting(
        0.1,
        gt=0,
        le=1,
        effect=TRAINING,
        since="0.2",
        help="Share of the mass that `codes: usage` gives to all codes alike, so that none dies of disuse.",
    )
    relaxation: float | None = setting(
        None,
        gt=0,
        effect=TRAINING,
        since="0.2",
        help="Weight ρ of KL(mass of the codes | their marginal), which replaces the constraint; null: exact.",
        paper="null (CODIS)",
    )
    mass: float = setting(
        1.0,
        gt=0,
        le=1,
        effect=TRAINING,
        since="0.2",
        help="Share of the samples' mass that is transported; samples that fit no code well count less.",
        paper="1 (CODIS)",
    )

    @property
    def is_uniform(self) -> bool:
        """Whether all mass goes to all codes alike."""
        return self.codes == "uniform" and self.relaxation is None and self.mass == 1
