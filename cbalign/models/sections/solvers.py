"""Solvers of the optimal transport problem in a spec."""

from __future__ import annotations

from typing import Literal

from cbalign.parts import Effect, SolverSection, setting

TRAINING = Effect.TRAINING


class IPOTSection(SolverSection):
    """Inexact proximal point method (Xie et al., UAI 2019)."""

    builds = "cbalign.models.transport:IPOT.from_section"

    solver: Literal["ipot"] = setting("ipot", effect=TRAINING, help="Which solver finds the transport plan.")
    beta: float = setting(0.5, gt=0, effect=TRAINING, help="Proximal step β; β/iterations is the entropic ε it equals.")
    iterations: int = setting(50, ge=1, effect=TRAINING, help="Outer iterations n; more tends to the exact plan.")
    inner: int = setting(1, ge=1, effect=TRAINING, help="Scalings per outer iteration k.")

    @property
    def entropic_epsilon(self) -> tuple[float, str] | None:
        """The entropic regularisation that it amounts to, with its formula."""
        return self.beta / self.iterations, "beta / iterations"


class SinkhornSection(SolverSection):
    """Entropic transport in the log domain."""

    builds = "cbalign.models.transport:Sinkhorn.from_section"

    solver: Literal["sinkhorn"] = setting(effect=TRAINING, help="Which solver finds the transport plan.")
    epsilon: float = setting(0.05, gt=0, effect=TRAINING, help="Entropic regularisation ε.")
    iterations: int = setting(100, ge=1, effect=TRAINING, help="Iterations at the most.")
    tolerance: float = setting(
        1e-6, ge=0, effect=TRAINING, help="Stop when the marginals are this close (largest error)."
    )

    @property
    def entropic_epsilon(self) -> tuple[float, str] | None:
        """The entropic regularisation, with its formula."""
        return self.epsilon, "epsilon"
