"""A transport plan, and the interface of solvers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class TransportPlan:
    """A coupling of N samples with K prototypes; rows sum to 1/N.

    With a share below 1, rows sum to at most 1/N and all to the share.
    """

    mass: Tensor  # (N, K)
    share: float = 1.0

    def targets(self) -> Tensor:
        """Soft assignments (N, K), each row a distribution over prototypes.

        Where only a share is transported, each row is weighted by its part in it; the weights have the mean one.
        """
        if self.share < 1:
            return self.mass * (len(self.mass) / self.share)
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


class StatefulSolver(nn.Module):
    """The base of solvers with state, which is saved and resumed with the model. Each modality has a solver of its own.

    Buffers must stay equal in all processes: they may depend on the costs alone, which are those of the global batch.
    Where each process solves its own batch, the objective averages them.
    """

    def allocate(self, codes: int) -> None:
        """Register buffers for K codes; called once, before weights are loaded."""


def at_least_float32(costs: Tensor) -> Tensor:
    """The costs in their own precision, or in float32 if that is lower."""
    return costs if costs.dtype == torch.float64 else costs.float()
