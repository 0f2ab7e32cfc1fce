"""Checkpoints with an image tower and a text tower, in the form of the libraries that define the towers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from cbalign.data.image import CLIP_MEAN, CLIP_STD

Three = tuple[float, float, float]


@dataclass(frozen=True)
class Projection:
    """A linear map from a pooled vector to the joint space.

    Args:
        weight: (d, D).
        bias: (d,); None counts as zero.
    """

    weight: Tensor
    bias: Tensor | None = None

    @classmethod
    def identity(cls, width: int) -> Projection:
        """Return the map that changes nothing, of a tower that already gives embeddings (d,)."""
        return cls(torch.eye(width))

    @property
    def bias_or_zero(self) -> Tensor:
        """The bias (d,)."""
        return torch.zeros(len(self.weight)) if self.bias is None else self.bias


@dataclass(frozen=True)
class TowerForm:
    """One tower of a checkpoint.

    Args:
        settings: of the tower's section in a spec, without `architecture` and `init`.
        config: the content of config.json, which a spec's `architecture` names: of transformers or timm.
        tensors: by the names of transformers or timm.
        projection: of the pooled vector.
        files: further files of `architecture`, such as those of the tokenizer.
    """

    settings: Mapping[str, object]
    config: Mapping[str, object]
    tensors: Mapping[str, Tensor]
    projection: Projection
    files: tuple[Path, ...] = ()


@dataclass(frozen=True)
class ImageInput:
    """How images become the input of an image tower; the names and values are those of a spec."""

    mean: Three = CLIP_MEAN
    std: Three = CLIP_STD
    interpolation: str = "bicubic"
    fit: str = "crop"
    crop: float = 1.0

    def section(self) -> dict[str, object]:
        """Return the section `model.vision.preprocessing` with all of its parts."""
        parts = {"mean": list(self.mean), "std": list(self.std), "interpolation": self.interpolation}
        return {"like": "weights", **parts, "fit": self.fit, "crop": self.crop}


@dataclass(frozen=True)
class DualEncoder:
    """A checkpoint with an image tower and a text tower.

    Args:
        family: its name in messages, such as `CLIP`.
        vision, text: the towers.
        images: how images become the input.
        logit_scale: logarithm of the inverse temperature; None if the file has none.
        logit_bias: of a sigmoid loss.
        left_out: tensors of the file that are not imported, with the reason for each group.
        redundant: tensors of the file that are constants or repeat others.
    """

    family: str
    vision: TowerForm
    text: TowerForm
    images: ImageInput
    logit_scale: float | None = None
    logit_bias: float | None = None
    left_out: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    redundant: tuple[str, ...] = ()

    @property
    def joint_dim(self) -> int:
        """Dimension d of the joint space."""
        return len(self.vision.projection.weight)

    @property
    def temperature(self) -> float | None:
        """γ = exp(-logit_scale)."""
        return None if self.logit_scale is None else math.exp(-self.logit_scale)
