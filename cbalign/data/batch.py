"""One batch, as collated: as arrays where workers build it, as tensors where a task takes it."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, Self

import torch
from torch import Tensor

from cbalign.data.collate import ArrayBatch


@dataclass(frozen=True, kw_only=True)
class TensorBatch:
    """The base of batches: B items on one device. Fields are tensors, or None."""

    indices: Tensor  # (B,) int64: position of each item in its source, for messages

    def __len__(self) -> int:
        return len(self.indices)

    def to(self, device: torch.device) -> Self:
        """The same batch on `device`."""
        return replace(self, **{name: tensor.to(device, non_blocking=True) for name, tensor in self._tensors()})

    @classmethod
    def of(cls, arrays: ArrayBatch) -> Self:
        """The batch whose fields are the arrays of the same names."""
        given: dict[str, Any] = {field.name: getattr(arrays, field.name) for field in fields(cls)}
        tensors: dict[str, Any] = {n: None if array is None else torch.from_numpy(array) for n, array in given.items()}
        return cls(**tensors)

    def _tensors(self) -> list[tuple[str, Tensor]]:
        given = ((field.name, getattr(self, field.name)) for field in fields(self))
        return [(name, value) for name, value in given if value is not None]


@dataclass(frozen=True, kw_only=True)
class Batch(TensorBatch):
    """B image-text pairs."""

    images: Tensor  # (B, 3, H, W) uint8
    teacher_images: Tensor | None  # (B, 3, H, W) uint8: a second augmentation, or None for the same view
    input_ids: Tensor  # (B, L) int64, padded to the longest caption
    attention_mask: Tensor  # (B, L) int64, 1 on tokens
    image_ids: Tensor  # (B,) int64: equal for captions of one image


@dataclass(frozen=True, kw_only=True)
class LabelledBatch(TensorBatch):
    """B texts, each about n images, with their classes."""

    images: Tensor  # (B, n, 3, H, W) uint8
    teacher_images: Tensor | None  # the same of a second augmentation, or None for the same view
    input_ids: Tensor  # (B, L) int64, padded to the longest text
    attention_mask: Tensor  # (B, L) int64, 1 on tokens
    labels: Tensor  # (B,) int64
