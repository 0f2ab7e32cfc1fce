"""First-in first-out memory of teacher features, with the image each came from."""

from __future__ import annotations

import torch
from torch import Tensor, nn

NO_IMAGE = -1


class FeatureQueue(nn.Module):
    """The last `length` teacher features of one modality (ALBEF, models/model_pretrain.py).

    Any length works with any batch: writing wraps around. A new queue is empty. ALBEF's starts full of random vectors,
    which are negatives that are trivially told apart: in a short training that draws all real features together.
    """

    part_name = "queues, which refill by themselves"
    features: Tensor
    image_ids: Tensor
    pointer: Tensor
    filled: Tensor

    def __init__(self, length: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("features", torch.zeros(length, dim))  # (M, d)
        self.register_buffer("image_ids", torch.full((length,), NO_IMAGE, dtype=torch.int64))
        self.register_buffer("pointer", torch.zeros((), dtype=torch.int64))
        self.register_buffer("filled", torch.zeros((), dtype=torch.int64))

    @property
    def length(self) -> int:
        """Capacity M."""
        return self.features.shape[0]

    @torch.no_grad()
    def push(self, features: Tensor, image_ids: Tensor) -> None:
        """Overwrite the oldest entries with features (B, d) of images (B,); of more than M the last M stay."""
        if self.length == 0:
            return
        places = (self.pointer + torch.arange(len(features), device=self.pointer.device)) % self.length
        kept = slice(max(0, len(features) - self.length), None)
        self.features[places[kept]] = features[kept].to(self.features.dtype)
        self.image_ids[places[kept]] = image_ids[kept]
        self.pointer.copy_((self.pointer + len(features)) % self.length)
        self.filled.copy_((self.filled + len(features)).clamp(max=self.length))

    def contents(self) -> tuple[Tensor, Tensor]:
        """What has been written so far: features (n, d) and image ids (n,), n at most M, in no particular order."""
        n = int(self.filled)
        return self.features[:n], self.image_ids[:n]
