"""Solvers of the optimal transport problem in a spec."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from cbalign.models.sections.marginals import MarginalsSection
from cbalign.parts import Effect, RuleError, SolverSection, setting
from cbalign.parts.section import subsection

TRAINING = Effect.TRAINING


class IPOTSection(SolverSection):
    """Inexact proximal point method (Xie et al., UAI 2019)."""

    builds = "cbalign.models.transport:IPOT.from_section"

    solver: Literal["ipot"] = setting("ipot", effect=TRAINING, help="Solver of the transport problem.")
    beta: float = setting(
        0.5, gt=0, effect=TRAINING, help="Proximal step size β; equivalent to entropic ε = β/iterations."
    )
    iterations: int = setting(
        50,
        ge=1,
        le=1_000_000,
        effect=TRAINING,
        help="Outer iterations n; the plan converges to the exact one as n grows.",
    )
    inner: int = setting(1, ge=1, le=1_000_000, effect=TRAINING, help="Scaling steps k per outer iteration.")
    marginals: MarginalsSection = subsection(MarginalsSection, since="0.2", help="How the mass is shared.")

    @property
    def entropic_epsilon(self) -> tuple[float, str] | None:
        """Return the equivalent entropic regularisation with its formula."""
        return self.beta / self.iterations, "beta / iterations"


class SinkhornSection(SolverSection):
    """Entropic transport in the log domain."""

    builds = "cbalign.models.transport:Sinkhorn.from_section"

    solver: Literal["sinkhorn"] = setting(effect=TRAINING, help="Solver of the transport problem.")
    epsilon: float = setting(0.05, gt=0, effect=TRAINING, help="Entropic regularisation ε.")
    iterations: int = setting(100, ge=1, le=1_000_000, effect=TRAINING, help="Maximum number of iterations.")
    first: Literal["samples", "prototypes"] = setting(
        "samples",
        since="0.2",
        effect=TRAINING,
        help="What each iteration scales first; after the last, the other has its marginal exactly. SwAV scales "
        "prototypes first. The order only matters if few iterations are made.",
        paper="prototypes (SwAV's code, with ε = 0.05 and 3 iterations)",
    )
    tolerance: float = setting(
        1e-6, ge=0, effect=TRAINING, help="Stop when the largest error of the marginals is at most this."
    )
    marginals: MarginalsSection = subsection(MarginalsSection, since="0.2", help="How the mass is shared.")

    @model_validator(mode="after")
    def _order_is_of_uniform_marginals(self) -> SinkhornSection:
        if self.first == "prototypes" and not self.marginals.is_uniform:
            raise RuleError("first: prototypes needs uniform marginals, as SwAV has", at=("first", "marginals"))
        return self

    @property
    def entropic_epsilon(self) -> tuple[float, str] | None:
        """Return the entropic regularisation with its formula."""
        return self.epsilon, "epsilon"
