"""Soft assignment by centring in a spec."""

from __future__ import annotations

from typing import Literal

from cbalign.parts import Effect, SolverSection, setting

TRAINING = Effect.TRAINING


class CentringSection(SolverSection):
    """Softmax of centred similarities in the place of transport (DINO)."""

    builds = "cbalign.models.centring:Centring"

    solver: Literal["centring"] = setting(effect=Effect.ARCHITECTURE, help="Solver of the assignment.")
    temperature: float = setting(
        0.04, gt=0, effect=TRAINING, help="Temperature of the softmax.", paper="0.04, later 0.07 (DINO)"
    )
    centre_momentum: float = setting(
        0.9, ge=0, lt=1, effect=TRAINING, help="Weight of the old centre in its running average.", paper="0.9 (DINO)"
    )
