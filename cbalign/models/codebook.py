"""The representation codebook: K unit prototypes in the joint space, shared by both modalities."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Codebook(nn.Module):
    """A bias-free linear map d -> K whose columns are kept at unit length (CODIS, section 3.1).

    Args:
        size: number of prototypes K.
        dim: joint dimension d.
        temperature: τ of the prototype distributions.
    """

    part_name = "codebook"
    last_used: Tensor

    def __init__(self, size: int, dim: int, temperature: float) -> None:
        super().__init__()
        self.temperature = temperature
        self.prototypes = nn.Parameter(F.normalize(torch.randn(size, dim), dim=1))  # (K, d), a prototype per row
        # Step at which each code was last an image's (row 0) or a text's (row 1) nearest; -1: never.
        self.register_buffer("last_used", torch.full((2, size), -1, dtype=torch.int64))

    @property
    def size(self) -> int:
        """Number of prototypes K."""
        return self.prototypes.shape[0]

    def similarity(self, vectors: Tensor) -> Tensor:
        """Cosines (B, K) of unit vectors (B, d) with the prototypes."""
        return vectors @ self.prototypes.T

    def logits(self, vectors: Tensor) -> Tensor:
        """z C / τ (B, K): softmax of it is the prototype distribution of each vector."""
        return self.similarity(vectors) / self.temperature

    @torch.no_grad()
    def renormalise(self) -> None:
        """Bring every prototype back to unit length, after an optimiser step."""
        self.prototypes.copy_(F.normalize(self.prototypes, dim=1))

    @torch.no_grad()
    def note_use(self, image_codes: Tensor, text_codes: Tensor, step: int) -> None:
        """Record `step` as the last use of these nearest codes (B,)."""
        self.last_used[0, image_codes] = step
        self.last_used[1, text_codes] = step

    def used_since(self, step: int) -> Tensor:
        """Count the codes (scalar) that were nearest to an image or text after `step`."""
        return (self.last_used.amax(dim=0) > max(step, -1)).sum()
