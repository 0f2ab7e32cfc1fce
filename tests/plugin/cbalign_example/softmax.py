"""Assignment without constraints on the prototypes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from cbalign.models.transport import TransportPlan
from cbalign_example.sections import SoftmaxSection


@dataclass(frozen=True)
class Softmax:
    """Implements `cbalign.models.transport.Solver`: T = softmax(-D / ε) / N, row by row.

    No gradient flows through the plan. Rows sum to 1/N; columns, the shares of the prototypes, are not constrained.
    """

    epsilon: float

    @classmethod
    def from_section(cls, section: SoftmaxSection) -> Softmax:
        """Build the solver that a spec describes."""
        return cls(section.epsilon)

    @torch.no_grad()
    def __call__(self, costs: Tensor) -> TransportPlan:
        """Compute the plan for costs (N, K)."""
        return TransportPlan((-costs.float() / self.epsilon).softmax(dim=1) / len(costs))
