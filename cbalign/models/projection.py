"""Projections of pooled vectors into the joint space."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from cbalign.experiment.model import ProjectionSection


class PerceptronProjection(nn.Module):
    """Two linear maps with GELU and dropout between them.

    Args:
        width: dimension of the pooled vectors.
        hidden: dimension of the hidden layer.
        joint_dim: dimension d of the joint space.
        dropout: on the hidden layer.
    """

    def __init__(self, width: int, hidden: int, joint_dim: int, dropout: float) -> None:
        super().__init__()
        self.expand = nn.Linear(width, hidden)
        self.contract = nn.Linear(hidden, joint_dim)
        self.dropout = dropout

    def forward(self, pooled: Tensor) -> Tensor:
        """Pooled vectors (B, width) to (B, d)."""
        hidden = F.dropout(F.gelu(self.expand(pooled)), self.dropout, self.training)
        projected: Tensor = self.contract(hidden)
        return projected


def build_projection(width: int, joint_dim: int, section: ProjectionSection) -> nn.Module:
    """Build a projection of vectors of dimension `width` into the joint space."""
    if section.hidden is None:
        return nn.Linear(width, joint_dim)
    return PerceptronProjection(width, section.hidden, joint_dim, section.dropout)
