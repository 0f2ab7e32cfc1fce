"""From image files, Pillow images or arrays to the pixels that `Session.encode_images` takes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TypeAlias

import numpy as np
from PIL import Image

from cbalign.data.image import decode, prepare, to_rgb
from cbalign.encoders import Encoder, ImageFeatures, PixelArray
from cbalign.errors import DataError

Picture: TypeAlias = str | Path | bytes | Image.Image | PixelArray
"""A path, the bytes of an image file, a Pillow image, or an RGB array (H, W, 3) of uint8."""


def load_pixels(pictures: Iterable[Picture], size: int) -> PixelArray:
    """Prepared pixels (B, size, size, 3).

    Raises:
        DataError: a picture cannot be decoded, or is an array of another shape or type.
    """
    prepared = [prepare(_open(picture), size) for picture in pictures]
    return np.stack(prepared) if prepared else np.empty((0, size, size, 3), np.uint8)


def encode_pictures(encoder: Encoder, pictures: Iterable[Picture], batch_size: int = 32) -> Iterator[ImageFeatures]:
    """Features of any number of pictures, batch by batch.

    Raises:
        DataError: as `load_pixels`.
    """
    remaining = iter(pictures)
    while batch := list(islice(remaining, batch_size)):
        yield encoder.encode_images(load_pixels(batch, encoder.image_size))


def _open(picture: Picture) -> Image.Image:
    if isinstance(picture, np.ndarray):
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
            raise DataError(f"an image array must be uint8 (H, W, 3), not {picture.dtype} {picture.shape}")
        return Image.fromarray(picture)
    if isinstance(picture, Image.Image):
        return to_rgb(picture)
    return decode(picture)
