"""Optimal transport between N samples and K prototypes with uniform marginals: IPOT and Sinkhorn.

    T* = argmin over Π(u, w) of <T, D>,  u = 1/N, w = 1/K

No gradient flows through a plan. Both solvers compute in the cost's own precision, at least float32, whatever
autocast says: exp(-D/β) raised to the n-th power leaves half precision at once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from cbalign.models.sections.solvers import IPOTSection, SinkhornSection
from cbalign.parts import SolverSection
from cbalign.parts.results import require_built, require_type, wrong_result

# Below this β (costs are at most 2) exp(-D/β) underflows float32 for whole columns; logarithms do not.
SMALLEST_SCALING_BETA = 0.03


@dataclass(frozen=True)
class TransportPlan:
    """A coupling of N samples with K prototypes; rows sum to 1/N, columns to 1/K."""

    mass: Tensor  # (N, K)

    def targets(self) -> Tensor:
        """Soft assignments (N, K), each row a distribution over prototypes."""
        return self.mass / self.mass.sum(dim=1, keepdim=True)

    def cost(self, costs: Tensor) -> Tensor:
        """<T, D>, a scalar."""
        return (self.mass * costs).sum()

    def marginal_error(self) -> Tensor:
        """Largest deviation of a row or column sum from uniform, relative to it."""
        n, k = self.mass.shape
        rows = (self.mass.sum(dim=1) * n - 1).abs().amax()
        columns = (self.mass.sum(dim=0) * k - 1).abs().amax()
        return torch.maximum(rows, columns)


class Solver(Protocol):
    """Anything that turns costs into a plan."""

    def __call__(self, costs: Tensor) -> TransportPlan:
        """The plan for costs (N, K), which need no gradient.

        The costs are 1 - cosine, in [0, 2], float32 and outside of autocast, of the teacher's features. The plan has
        their shape and device, in float32 or float64; entries are at least 0 and no row is all 0. Each row is divided
        by its sum to get the targets of a sample, so only the proportions within a row act on the prediction loss;
        <T, D> uses the plan as it is, so rows should sum to 1/N. No gradient flows through a plan: use
        `torch.no_grad()`.
        """


def build_solver(section: SolverSection) -> Solver:
    """Build the solver that a spec describes; its plans are checked.

    Raises:
        PartError: it cannot be built; later, a plan is none, or not one of the given costs.
    """
    solver: Solver = section.build()
    require_built(section, solver, ("__call__",))

    def solve(costs: Tensor) -> TransportPlan:
        plan = solver(costs)
        require_type(solver, "", plan, TransportPlan)
        require_type(solver, "", plan.mass, Tensor)
        if plan.mass.shape != costs.shape or not plan.mass.is_floating_point() or plan.mass.device != costs.device:
            raise wrong_result(solver, "", f"returned the plan {_kind(plan.mass)} of the costs {_kind(costs)}")
        return plan

    return solve


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
    def from_section(cls, section: IPOTSection) -> IPOT:
        """The solver that a spec describes."""
        return cls(section.beta, section.iterations, section.inner)

    @torch.no_grad()
    def __call__(self, costs: Tensor) -> TransportPlan:
        """The plan for costs (N, K)."""
        with torch.autocast(costs.device.type, enabled=False):
            costs = _at_least_float32(costs)
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
    def from_section(cls, section: SinkhornSection) -> Sinkhorn:
        """The solver that a spec describes."""
        return cls(section.epsilon, section.iterations, section.tolerance, section.first == "prototypes")

    @torch.no_grad()
    def __call__(self, costs: Tensor) -> TransportPlan:
        """The plan for costs (N, K)."""
        with torch.autocast(costs.device.type, enabled=False):
            scaled = -_at_least_float32(costs) / self.epsilon
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


def _at_least_float32(costs: Tensor) -> Tensor:
    return costs if costs.dtype == torch.float64 else costs.float()
