"""Embeddings of pairs, and the teacher features that they are compared with."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Keys:
    """Teacher features that anchors are compared with: the step's global batch first, then the queue."""

    features: Tensor  # (M, d), unit length
    image_ids: Tensor  # (M,), which image each belongs to

    def of_rows(self, first: int, size: int, queued: int) -> Keys:
        """Return `size` rows of the global batch, from `first` on, and the queue, which begins at row `queued`."""
        own = slice(first, first + size)
        return Keys(
            torch.cat([self.features[own], self.features[queued:]]),
            torch.cat([self.image_ids[own], self.image_ids[queued:]]),
        )


@dataclass(frozen=True)
class PairKeys:
    """The keys of both modalities."""

    images: Keys
    texts: Keys


@dataclass(frozen=True)
class Embeddings:
    """Joint embeddings (B, d) of one batch, unit length."""

    image: Tensor
    text: Tensor
