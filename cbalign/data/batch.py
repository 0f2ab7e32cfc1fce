"""One batch of pairs, as collated."""

from __future__ import annotations

from dataclasses import dataclass

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

        def move(tensor: Tensor) -> Tensor:
            return tensor.to(device, non_blocking=True)

        return Batch(
            images=move(self.images),
            teacher_images=None if self.teacher_images is None else move(self.teacher_images),
            input_ids=move(self.input_ids),
            attention_mask=move(self.attention_mask),
            image_ids=move(self.image_ids),
            indices=move(self.indices),
        )
