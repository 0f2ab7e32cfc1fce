"""The preprocessing of transformers' image processors, as cbalign's."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from cbalign.data.image import Preprocessing
from cbalign.errors import CheckpointError
from cbalign.parts.preprocessing import Fit

_REMEDY = "Set model.vision.preprocessing to albef, or its parts mean, std, interpolation, fit and crop."
_PLACE = "model.vision.preprocessing"


def read_preprocessing(folder: Path, size: int) -> Preprocessing:
    """Read preprocessor_config.json, with the defaults of its processor.

    Args:
        folder: of the model.
        size: side of the square input in pixels.

    Raises:
        CheckpointError: there is none, or it does what cbalign's preprocessing does not.
    """
    from transformers import AutoImageProcessor

    try:
        processor: Any = AutoImageProcessor.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # transformers raises many kinds
        raise CheckpointError(
            f"{_PLACE}: {folder} has no preprocessor_config.json that can be read: {_line(error)}", remedy=_REMEDY
        ) from error
    return of_processor(processor, size, str(folder))


def of_processor(processor: Any, size: int, origin: str) -> Preprocessing:
    """Convert an image processor of transformers.

    Args:
        processor: the processor.
        size: side of the square input in pixels.
        origin: its name in messages.

    Raises:
        CheckpointError: it does what cbalign's preprocessing does not.
    """
    fit, share = _fit(processor, origin)
    factor = getattr(processor, "rescale_factor", 1 / 255)
    if not getattr(processor, "do_rescale", True) or not math.isclose(factor, 1 / 255, rel_tol=1e-3):
        raise CheckpointError(f"{_PLACE}: {origin} scales pixels by {factor:g}, not by 1/255", remedy=_REMEDY)
    normalises = getattr(processor, "do_normalize", False)
    mean = tuple(float(v) for v in processor.image_mean) if normalises else (0.0, 0.0, 0.0)
    std = tuple(float(v) for v in processor.image_std) if normalises else (1.0, 1.0, 1.0)
    resample = Image.Resampling(int(getattr(processor, "resample", None) or Image.Resampling.BILINEAR))
    return Preprocessing(size, mean, std, resample.name.lower(), fit, share)  # type: ignore[arg-type]


def _fit(processor: Any, origin: str) -> tuple[Fit, float]:
    """How the image becomes a square, and the share of the resized side that the crop keeps."""
    size = _plain(getattr(processor, "size", None))
    if not getattr(processor, "do_resize", True) or size.keys() not in ({"height", "width"}, {"shortest_edge"}):
        raise CheckpointError(f"{_PLACE}: {origin} resizes images to {size or 'no size'}", remedy=_REMEDY)
    fit: Fit = "crop" if "shortest_edge" in size else "squash"
    resized = size.get("shortest_edge") or size["height"]
    if hasattr(processor, "crop_pct"):  # ConvNeXt crops small images only
        return ("squash", 1.0) if fit == "squash" or resized >= 384 else ("crop", float(processor.crop_pct))
    if not getattr(processor, "do_center_crop", False):
        if fit == "crop":
            raise CheckpointError(f"{_PLACE}: {origin} gives images that are not square", remedy=_REMEDY)
        return fit, 1.0
    cropped = _plain(getattr(processor, "crop_size", None)).get("height", resized)
    return fit, min(1.0, cropped / resized)


def _plain(size: object) -> dict[str, int]:
    found = dict(size) if isinstance(size, Mapping) else dict(vars(size)) if hasattr(size, "__dict__") else {}
    return {name: int(value) for name, value in found.items() if value is not None}


def _line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
