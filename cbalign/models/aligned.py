"""The interface of models that align images and texts, as used by training steps, encoders and graphs."""

from __future__ import annotations

from typing import Protocol, Self

from torch import nn

from cbalign.models.momentum import MomentumTeacher
from cbalign.models.queue import FeatureQueue
from cbalign.models.temperature import LogTemperature, Temperature
from cbalign.models.towers import Towers


class Aligned(Protocol):
    """A model of images and texts in one space; implemented by `cbalign.tasks.align.network.AlignmentModel`."""

    training: bool
    student: Towers
    teacher: MomentumTeacher[Towers]
    temperature: Temperature | LogTemperature
    image_queue: FeatureQueue
    text_queue: FeatureQueue

    def capability(self, name: str) -> nn.Module | None:
        """Return the module that an objective provides under this name, or None.

        `codebook` is a `cbalign.models.codebook.Codebook`. `matching` maps fused [CLS] vectors (T, D) to logits (T, 2),
        of which class 1 means that text and image belong together.
        """

    def train(self, mode: bool = True) -> Self:
        """Switch to training mode; see `torch.nn.Module.train`."""

    def eval(self) -> Self:
        """Switch to evaluation mode; see `torch.nn.Module.eval`."""
