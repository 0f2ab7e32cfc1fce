"""Soft assignment by centring (Caron et al., Emerging properties in self-supervised vision transformers, ICCV 2021)."""

from __future__ import annotations

import torch
from torch import Tensor

from cbalign.models.sections.centring import CentringSection
from cbalign.models.transport_plan import StatefulSolver, TransportPlan, at_least_float32


class Centring(StatefulSolver):
    """P_i = softmax((s_i - c) / τ) of similarities s = 1 - D; then c ← m c + (1 - m) mean_i s_i (DINO, eq. 4).

    The plan is P / N. Its rows are exact; the mass of the codes is balanced by the centre only.

    Args:
        section: τ and m.
    """

    centre: Tensor

    def __init__(self, section: CentringSection) -> None:
        super().__init__()
        self.section = section

    def allocate(self, codes: int) -> None:
        """Add the centre c (K,), which starts at 0."""
        self.register_buffer("centre", torch.zeros(codes))

    @torch.no_grad()
    def forward(self, costs: Tensor) -> TransportPlan:
        """The plan for costs (N, K), by the centre before these samples, which then enter it."""
        with torch.autocast(costs.device.type, enabled=False):
            similarity = 1 - at_least_float32(costs)
            assigned = ((similarity - self.centre.to(similarity)) / self.section.temperature).softmax(dim=1)
            self.centre.lerp_(similarity.mean(dim=0).to(self.centre), 1 - self.section.centre_momentum)
        return TransportPlan(assigned / len(assigned))
