"""Optimal transport between N samples and K prototypes with uniform marginals: IPOT and Sinkhorn.

    T* = argmin over Π(u, w) of <T, D>,  u = 1/N, w = 1/K

No gradient flows through a plan. Both solvers compute in the cost's own precision, at least float32, whatever
autocast says: exp(-D/β) raised to the n-th power leaves half precision at once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cbalign.models.marginals import MarginalSolver, Scaling
from cbalign.models.sections.solvers import IPOTSection, SinkhornSection
from cbalign.models.transport_plan import Solver as Solver
from cbalign.models.transport_plan import StatefulSolver, at_least_float32
from cbalign.models.transport_plan import TransportPlan as TransportPlan
from cbalign.parts import SolverSection
from cbalign.parts.results import require_built, require_type, wrong_result

# Below this β (costs are at most 2) exp(-D/β) underflows float32 for whole columns; logarithms do not.
SMALLEST_SCALING_BETA = 0.03


class CheckedSolver(nn.Module):
    """A solver whose plans are checked. It has the state of the solver, if that has one.

    Args:
        solver: any solver.
    """

    def __init__(self, solver: Solver) -> None:
        super().__init__()
        self.solver = solver

    def forward(self, costs: Tensor) -> TransportPlan:
        """The plan for costs (N, K).

        Raises:
            PartError: the plan is none, or not one of the given costs.
        """
        solver = self.solver
        plan = solver(costs)
        require_type(solver, "", plan, TransportPlan)
        require_type(solver, "", plan.mass, Tensor)
        if plan.mass.shape != costs.shape or not plan.mass.is_floating_point() or plan.mass.device != costs.device:
            raise wrong_result(solver, "", f"returned the plan {_kind(plan.mass)} of the costs {_kind(costs)}")
        return plan


def build_solver(section: SolverSection, codes: int) -> CheckedSolver:
    """Build the solver that a spec describes, for K codes; its plans are checked.

    Raises:
        PartError: it cannot be built.
    """
    solver: Solver = section.build()
    require_built(section, solver, ("__call__",))
    if isinstance(solver, StatefulSolver):
        solver.allocate(codes)
    return CheckedSolver(solver)


def _kind(tensor: Tensor) -> str:
    return f"{tuple(tensor.shape)} ({str(tensor.dtype).removeprefix('torch.')}, {tensor.device})"


@dataclass(frozen=True)
class IPOT:
    """Inexact proximal point method (Xie, Wang, Wang, Zha; UAI 2019, algorithm 1).

    A = exp(-D/β), T⁰ = 1, σ = 1/K; repeat n times: Q = A∘T; (k times) δ = u/(Qσ), σ = w/(Qᵀδ); T = diag(δ) Q diag(σ).
    n proximal steps of size β are worth an entropic ε = β/n; as n grows the plan tends to the exact one.
    """

    beta: float = 0.5
    iterations: int = 50
    inner: int = 1

    @classmethod
    def from_section(cls, section: IPOTSection) -> IPOT | MarginalSolver:
        """The solver that a spec describes."""
        if section.marginals.is_uniform:
            return cls(section.beta, section.iterations, section.inner)
        return MarginalSolver(section.marginals, Scaling(section.beta, section.iterations, section.inner))

    @torch.no_grad()
    def __call__(self, costs: Tensor) -> TransportPlan:
        """The plan for costs (N, K)."""
        with torch.autocast(costs.device.type, enabled=False):
            costs = at_least_float32(costs)
            solve = self._scale if self.beta >= SMALLEST_SCALING_BETA else self._scale_in_logarithms
            return TransportPlan(solve(costs))

    def _scale(self, costs: Tensor) -> Tensor:
        n, k = costs.shape
        kernel = torch.exp(-costs / self.beta)
        plan = torch.ones_like(costs)
        sigma = costs.new_full((k,), 1 / k)
        for _ in range(self.iterations):
            q = kernel * plan
            for _ in range(self.inner):
                delta = (1 / n) / (q @ sigma)
                sigma = (1 / k) / (q.T @ delta)
            plan = delta[:, None] * q * sigma
        return plan

    def _scale_in_logarithms(self, costs: Tensor) -> Tensor:
        n, k = costs.shape
        log_n, log_k = math.log(n), math.log(k)
        plan = torch.zeros_like(costs)
        sigma = costs.new_full((k,), -log_k)
        for _ in range(self.iterations):
            q = plan - costs / self.beta
            for _ in range(self.inner):
                delta = -log_n - torch.logsumexp(q + sigma, dim=1)
                sigma = -log_k - torch.logsumexp(q + delta[:, None], dim=0)
            plan = delta[:, None] + q + sigma
        return plan.exp()


@dataclass(frozen=True)
class Sinkhorn:
    """Entropic transport by Sinkhorn's iterations in the log domain (Cuturi, 2013; Peyré & Cuturi, section 4.4).

    T = diag(exp f) exp(-D/ε) diag(exp g); f and g alternate until the row and column sums are within `tolerance` of
    uniform. `prototypes_first` is SwAV's order (its main_swav.py): after each iteration, the rows are exact.
    """

    epsilon: float = 0.05
    iterations: int = 100
    tolerance: float = 1e-6
    prototypes_first: bool = False

    @classmethod
    def from_section(cls, section: SinkhornSection) -> Sinkhorn | MarginalSolver:
        """The solver that a spec describes."""
        if section.marginals.is_uniform:
            return cls(section.epsilon, section.iterations, section.tolerance, section.first == "prototypes")
        return MarginalSolver(section.marginals, Scaling(section.epsilon, 1, section.iterations, section.tolerance))

    @torch.no_grad()
    def __call__(self, costs: Tensor) -> TransportPlan:
        """The plan for costs (N, K)."""
        with torch.autocast(costs.device.type, enabled=False):
            scaled = -at_least_float32(costs) / self.epsilon
            return TransportPlan(self._solve(scaled.T).T if self.prototypes_first else self._solve(scaled))

    def _solve(self, scaled: Tensor) -> Tensor:
        """The plan of -D/ε (N, K), whose rows are scaled first."""
        n, k = scaled.shape
        log_n, log_k = math.log(n), math.log(k)
        g = scaled.new_zeros(k)
        for i in range(self.iterations):
            f = -log_n - torch.logsumexp(scaled + g, dim=1)
            g = -log_k - torch.logsumexp(scaled + f[:, None], dim=0)
            # Looking costs a synchronisation with the device, so not at every step.
            if self.tolerance and i % 10 == 9:
                plan = TransportPlan((scaled + f[:, None] + g).exp())
                if plan.marginal_error() <= self.tolerance:
                    return plan.mass
        return (scaled + f[:, None] + g).exp()
