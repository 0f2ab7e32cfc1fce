"""Images and texts as users give them: one or many; paths, Pillow images, bytes or arrays."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cbalign.data.arrays import PixelArray
from cbalign.data.image import Preprocessing
from cbalign.errors import UsageError
from cbalign.runtime.images import Picture, load_pixels

Images: TypeAlias = "Picture | Iterable[Picture] | NDArray[Any]"
"""One image or many: paths, bytes of image files, Pillow images, RGB arrays (H, W, 3); or one array (B, H, W, 3)."""

Texts: TypeAlias = "str | Sequence[str]"
"""One text or many."""


def is_one_image(images: Images) -> bool:
    """Whether this is one image and not a collection of images."""
    return isinstance(images, str | bytes | Path | Image.Image) or (isinstance(images, np.ndarray) and images.ndim == 3)


def as_images(images: Images) -> Iterator[Picture]:
    """The images one by one.

    Raises:
        UsageError: it is neither an image nor a collection.
    """
    if is_one_image(images):
        return iter([images])  # type: ignore[list-item]
    if isinstance(images, np.ndarray) and images.ndim != 4:
        raise UsageError(
            f"an image array must be (H, W, 3), an array of images (B, H, W, 3), not {images.shape}",
            remedy="Move the channels last, or pass a list of arrays.",
        )
    if isinstance(images, Mapping) or not isinstance(images, Iterable):
        raise _not_an_image(images)
    return map(_checked, images)


def _checked(image: object) -> Picture:
    if not isinstance(image, str | bytes | Path | Image.Image | np.ndarray):
        raise _not_an_image(image)
    return image


def _not_an_image(given: object) -> UsageError:
    return UsageError(
        f"{type(given).__name__} is not an image",
        remedy="Pass a path, bytes, a Pillow image, an RGB array (H, W, 3), or a list of these.",
    )


def pixel_batches(images: Images, preprocessing: Preprocessing, batch_size: int) -> Iterator[PixelArray]:
    """Prepared pixels (B, size, size, 3), at most `batch_size` images at a time.

    Raises:
        DataError: an image cannot be decoded.
    """
    remaining = as_images(images)
    while batch := list(islice(remaining, batch_size)):
        yield load_pixels(batch, preprocessing)


def as_texts(texts: Texts) -> list[str]:
    """The texts as a list.

    Raises:
        UsageError: one of them is not a text.
    """
    given: object = texts
    if isinstance(given, bytes) or not isinstance(given, Iterable):
        raise UsageError(f"texts must be str, not {type(given).__name__}", remedy="Pass a str or a list of them.")
    found = [given] if isinstance(given, str) else list(given)
    for each in found:
        if not isinstance(each, str):
            raise UsageError(f"texts must be str, not {type(each).__name__}", remedy="Pass a str or a list of them.")
    return found
