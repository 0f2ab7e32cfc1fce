"""Convert image files, Pillow images and arrays to pixels for a bundle's image graph."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cbalign.data.arrays import PixelArray
from cbalign.data.image import MAX_PIXELS, Preprocessing, decode, decoding_pixels, prepare, to_rgb
from cbalign.errors import DataError

Picture: TypeAlias = str | Path | bytes | Image.Image | NDArray[Any]
"""One image: a path (`~` is expanded, URLs are not read), the bytes of an image file, a Pillow image, an RGB array
(H, W, 3), or a torch tensor (3, H, W). Arrays and tensors are uint8, or floats in [0, 1] that are not normalised."""


FORMATS = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "PNG": (".png",),
    "WEBP": (".webp",),
    "GIF": (".gif",),
    "BMP": (".bmp",),
    "TIFF": (".tif", ".tiff"),
    "AVIF": (".avif",),
    "PPM": (".ppm", ".pgm"),
}
"""Formats accepted from untrusted sources and their file extensions; decoding them starts no external program."""


def load_pixels(pictures: Iterable[Picture], preprocessing: Preprocessing | int) -> PixelArray:
    """Prepare images as pixels (B, size, size, 3).

    Args:
        pictures: the images.
        preprocessing: of the model; a number is the size, and the whole image is squashed, as in cbalign 0.1.

    Raises:
        DataError: an image cannot be decoded, or is an array of the wrong shape, type or range.
    """
    if isinstance(preprocessing, int):
        preprocessing = Preprocessing(preprocessing)
    prepared = [prepare(open_image(picture), preprocessing) for picture in pictures]
    size = preprocessing.size
    return np.stack(prepared) if prepared else np.empty((0, size, size, 3), np.uint8)


def decode_untrusted(data: str | Path | bytes, *, name: str | None = None, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Decode an image in one of the common formats only; for some others, Pillow starts an external program.

    Raises:
        DataError: see `cbalign.data.image.decode`.
    """
    return decode(data, name=name, max_pixels=max_pixels, formats=_installed_formats())


def decoding_pixels_untrusted(
    data: Path | bytes, preprocessing: Preprocessing, *, name: str, max_pixels: int = MAX_PIXELS
) -> int:
    """Return in pixels how much memory decoding takes: `decoding_pixels`, of the formats of `decode_untrusted`."""
    return decoding_pixels(data, preprocessing, name=name, max_pixels=max_pixels, formats=_installed_formats())


def _installed_formats() -> tuple[str, ...]:
    Image.init()
    return tuple(kind for kind in FORMATS if kind in Image.OPEN)


def from_array(array: NDArray[Any]) -> Image.Image:
    """Convert an RGB array (H, W, 3) to an image; floats in [0, 1] are rounded to 8 bits.

    Raises:
        DataError: the array has the wrong shape or type, or values that are not finite or outside [0, 1].
    """
    if array.ndim != 3 or array.shape[2] != 3 or 0 in array.shape:
        raise DataError(f"an image array must be (H, W, 3), not {array.shape}")
    if array.dtype == np.uint8:
        return Image.fromarray(array)
    if array.dtype.kind != "f":
        raise DataError(f"an image array must be uint8, or float in [0, 1], not {array.dtype}")
    broken = int((~np.isfinite(array)).sum())
    if broken:
        raise DataError(f"{broken:,} of {array.size:,} values of the image array are not finite (NaN or infinite)")
    if array.min() < 0 or array.max() > 1:
        raise DataError(
            f"a float image array must lie in [0, 1], not in [{array.min():g}, {array.max():g}]",
            remedy="Divide by 255, or pass uint8."
            if array.min() >= 0
            else "Pass the pixels before they are normalised; the model normalises them.",
        )
    return Image.fromarray(np.rint(array * 255).astype(np.uint8))


def open_image(picture: Picture) -> Image.Image:
    """Open an image as an RGB Pillow image.

    Raises:
        DataError: the image cannot be decoded.
    """
    if isinstance(picture, np.ndarray):
        return from_array(picture)
    if isinstance(picture, Image.Image):
        try:
            return to_rgb(picture)
        except Exception as error:  # Pillow decodes an opened file only when its pixels are read
            raise DataError(f"image: cannot be decoded ({error})") from error
    return decode_untrusted(picture)
