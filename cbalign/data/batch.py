"""One batch of pairs, as collated."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """B image-text pairs on one device."""

    images: Tensor  # (B, 3, H, W) uint8
    teacher_images: Tensor | None  # (B, 3, H, W) uint8: a second augmentation, or None for the same view
    input_ids: Tensor  # (B, L) int64, padded to the longest caption
    attention_mask: Tensor  # (B, L) int64, 1 on tokens
    image_ids: Tensor  # (B,) int64: equal for captions of one image
    indices: Tensor  # (B,) int64: position of each pair in its source, for messages

    def __len__(self) -> int:
        return len(self.indices)

    def to(self, device: torch.device) -> Batch:
        """The same batch on `device`."""
        moved = {f.name: getattr(self, f.name) for f in fields(self)}
        return Batch(**{k: v if v is None else v.to(device, non_blocking=True) for k, v in moved.items()})
