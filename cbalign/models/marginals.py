"""Transport plans with other than uniform marginals: by running usage, relaxed, partial.

    T* = argmin <T, D> + ρ KL(Tᵀ1 | m w)   over T ≥ 0, T1 ≤ 1/N, 1ᵀT1 = m

ρ = ∞ demands Tᵀ1 = m w. m = 1 demands T1 = 1/N. Sources: Chizat et al., Scaling algorithms for unbalanced optimal
transport, 2018 (relaxed marginals); Zhang et al., P²OT, ICLR 2024 (partial mass by a further code that costs nothing).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from cbalign.models.sections.marginals import MarginalsSection
from cbalign.models.transport_plan import StatefulSolver, TransportPlan, at_least_float32


@dataclass(frozen=True)
class Scaling:
    """Scaling iterations in the log domain: proximal steps of one size, each by some scaling steps.

    IPOT takes many proximal steps β with few scaling steps each, Sinkhorn one of size ε with many.
    """

    size: float  # β or ε
    proximal: int
    steps: int
    tolerance: float = 0.0  # of the row sums, relative; 0: take all steps

    def plan(self, costs: Tensor, rows: Tensor, columns: Tensor, exponents: Tensor) -> Tensor:
        """The plans T (…, N, K), whose rows have the mass `rows`.

        Repeat: Q = T ∘ exp(-D/β); δ = u/(Qσ), σ = (w/(Qᵀδ))^φ; T = diag(δ) Q diag(σ), φ = ρ/(ρ + β). A last δ makes
        the rows exact.

        Args:
            costs: D (…, N, K).
            rows: log u (…, N).
            columns: log w (K,) or (…, K).
            exponents: φ (K,), 1 where the mass of a code is exact.
        """
        plan, sigma = torch.zeros_like(costs), torch.zeros_like(costs[..., 0, :])
        for _ in range(self.proximal):
            q = plan - costs / self.size
            for i in range(self.steps):
                delta = rows - torch.logsumexp(q + sigma[..., None, :], dim=-1)
                sigma = exponents * (columns - torch.logsumexp(q + delta[..., None], dim=-2))
                # Looking costs a synchronisation with the device, so not at every step.
                if self.tolerance and i % 10 == 9:
                    found = delta + torch.logsumexp(q + sigma[..., None, :], dim=-1)
                    if (found - rows).expm1().abs().amax() <= self.tolerance:
                        break
            plan = delta[..., None] + q + sigma[..., None, :]
        return (plan - torch.logsumexp(plan, dim=-1, keepdim=True) + rows[..., None]).exp()


class MarginalSolver(StatefulSolver):
    """A solver with marginals of a spec; one for each modality, because their usage differs.

    Args:
        section: the marginals.
        scaling: the iterations.
    """

    usage: Tensor

    def __init__(self, section: MarginalsSection, scaling: Scaling) -> None:
        super().__init__()
        self.section = section
        self.scaling = scaling

    def allocate(self, codes: int) -> None:
        """Add the running usage of the codes (K,), with the sum one, if it counts."""
        if self.section.codes == "usage":
            self.register_buffer("usage", torch.full((codes,), 1 / codes))

    @torch.no_grad()
    def forward(self, costs: Tensor) -> TransportPlan:
        """The plan for costs (N, K), by the usage before these samples, which then enter it."""
        with torch.autocast(costs.device.type, enabled=False):
            costs = at_least_float32(costs)
            plan = self._plan(costs, self._weights(costs))
            if self.section.codes == "usage":
                share = self.usage.new_full((len(costs),), 1 / len(costs))
                nearest = torch.zeros_like(self.usage).index_add_(0, costs.argmin(dim=1), share)
                self.usage.lerp_(nearest, 1 - self.section.usage_momentum)
            return plan

    def _weights(self, costs: Tensor) -> Tensor:
        """The marginal w (K,) of the codes."""
        codes = costs.shape[1]
        if self.section.codes == "uniform":
            return costs.new_full((codes,), 1 / codes)
        share = self.section.uniform_share
        return (1 - share) * self.usage.to(costs) + share / codes

    def _plan(self, costs: Tensor, weights: Tensor) -> TransportPlan:
        mass, rho = self.section.mass, self.section.relaxation
        exponents = torch.full_like(weights, 1.0 if rho is None else rho / (rho + self.scaling.size))
        columns = weights.log() + math.log(mass)
        if mass < 1:  # what is not transported goes to a code that costs nothing
            costs = torch.cat([costs, costs.new_zeros(len(costs), 1)], dim=1)
            columns = torch.cat([columns, columns.new_tensor([math.log1p(-mass)])])
            exponents = torch.cat([exponents, exponents.new_ones(1)])
        rows = costs.new_full((len(costs),), -math.log(len(costs)))
        plan = self.scaling.plan(costs, rows, columns, exponents)
        return TransportPlan(plan[:, : len(weights)], mass)
