"""Preprocessing that checkpoints come with, in the words of a spec."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from cbalign.errors import CheckpointError
from cbalign.interop.checkpoints.dual import ImageInput, Three

PILLOW = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")  # transformers writes Pillow's numbers


def of_transformers(config: Mapping[str, Any], size: int, origin: str) -> ImageInput:
    """Convert preprocessor_config.json.

    Args:
        config: its content; empty if the file is missing.
        size: side of the tower's input in pixels.
        origin: its name in messages.

    Raises:
        CheckpointError: it resizes images in another way than the two that cbalign has.
    """
    config = config.get("image_processor") or config
    usual = ImageInput()
    number = config.get("resample", PILLOW.index(usual.interpolation))
    if not isinstance(number, int) or not 0 <= number < len(PILLOW):
        raise CheckpointError(f"{origin}: resample is {number!r}, not the number of a filter of Pillow")
    resized = config.get("size", size)
    crops = bool(config.get("do_center_crop", isinstance(resized, Mapping) and "shortest_edge" in resized))
    shorter = resized.get("shortest_edge") if isinstance(resized, Mapping) else resized if crops else None
    if isinstance(shorter, int) and crops:
        fit, crop = "crop", min(1.0, size / shorter)
    elif shorter is None or not isinstance(resized, Mapping):
        fit, crop = "squash", 1.0
    else:
        raise CheckpointError(f"{origin}: images keep their aspect ratio without a crop, which cbalign's towers cannot")
    return ImageInput(
        _three(config.get("image_mean", usual.mean), origin),
        _three(config.get("image_std", usual.std), origin),
        PILLOW[number],
        fit,
        crop,
    )


def of_open_clip(config: Mapping[str, Any], origin: str) -> ImageInput:
    """Convert `preprocess_cfg` of open_clip_config.json; empty means open_clip's defaults.

    Raises:
        CheckpointError: it resizes images in another way than the two that cbalign has.
    """
    usual = ImageInput()
    fits = {"shortest": "crop", "squash": "squash"}
    mode, filtered = config.get("resize_mode", "shortest"), config.get("interpolation", usual.interpolation)
    if mode not in fits:
        raise CheckpointError(f"{origin}: preprocess_cfg.resize_mode {mode!r}: cbalign has {' and '.join(fits)}")
    if filtered == "random":
        filtered = usual.interpolation
    mean, std = config.get("mean") or usual.mean, config.get("std") or usual.std
    return ImageInput(_three(mean, origin), _three(std, origin), str(filtered), fits[mode])


def _three(values: object, origin: str) -> Three:
    if isinstance(values, list | tuple) and len(values) == 3 and all(isinstance(v, int | float) for v in values):
        return cast(Three, tuple(float(v) for v in values))
    raise CheckpointError(f"{origin}: mean and standard deviation are three numbers each, not {values!r}")
