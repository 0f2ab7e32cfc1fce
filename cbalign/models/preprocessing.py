"""The preprocessing of an image tower: that of its weights or ALBEF's, with the parts that a spec sets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from torch import nn

from cbalign.data.image import Preprocessing
from cbalign.models.tower import VisionTower
from cbalign.parts.preprocessing import PreprocessingSection


def chosen_preprocessing(
    section: PreprocessingSection, size: int, of_weights: Callable[[], Preprocessing]
) -> Preprocessing:
    """Return the preprocessing that a spec describes.

    Args:
        section: `model.vision.preprocessing`.
        size: side of the square input in pixels.
        of_weights: finds the preprocessing of the weights, of any size; called only if the spec leaves a part to it.
    """
    parts = section.parts
    if (filtered := parts.pop("interpolation", None)) is not None:
        parts["resample"] = filtered
    if parts.get("fit") == "squash":
        parts.setdefault("crop", 1.0)  # the share belongs to the fit of the weights
    known = of_weights() if section.of_weights and not section.is_complete else Preprocessing(size)
    return replace(known, size=size, **parts)


def preprocessing_of(model: nn.Module) -> Preprocessing:
    """Return the preprocessing of a model's image tower."""
    return next(module for module in model.modules() if isinstance(module, VisionTower)).preprocessing
