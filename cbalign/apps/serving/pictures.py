"""Convert untrusted images from clients to prepared pixels."""

from __future__ import annotations

import base64
import binascii
import io
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cbalign.data.arrays import PixelArray
from cbalign.data.image import Preprocessing, prepare
from cbalign.errors import DataError
from cbalign.runtime.images import decode_untrusted, decoding_pixels_untrusted, from_array

NPY = "application/x-npy"


def file_cost(data: bytes, preprocessing: Preprocessing, max_pixels: int, name: str = "image") -> int:
    """Return how many pixels an image file takes from the budget, from its header.

    Raises:
        DataError: the data are not an image, or have too many pixels.
    """
    if not data:
        raise DataError(f"{name}: empty")
    return decoding_pixels_untrusted(data, preprocessing, name=name, max_pixels=max_pixels)


def file_pixels(data: bytes, preprocessing: Preprocessing, max_pixels: int, name: str = "image") -> PixelArray:
    """Decode an image file to prepared pixels (size, size, 3).

    Raises:
        DataError: the data are not an image, are damaged, or have too many pixels.
    """
    return prepare(decode_untrusted(data, name=name, max_pixels=max_pixels), preprocessing)


def from_base64(text: str, name: str = "image") -> bytes:
    """Decode base64, with or without the prefix of a data URL.

    Raises:
        DataError: the text is not base64.
    """
    head, comma, body = text.partition(",")
    try:
        return base64.b64decode(body if comma and head.startswith("data:") else text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise DataError(f"{name}: not base64 ({error})") from error


@dataclass(frozen=True)
class ImageArray:
    """Images of a NumPy file, (B, H, W, 3) uint8 or floating point; a view of the file's bytes."""

    images: NDArray[np.generic]

    @classmethod
    def read(cls, data: bytes, max_pixels: int, most: int) -> ImageArray:
        """Read a NumPy file (.npy): RGB (H, W, 3) or (B, H, W, 3), uint8 or floats in [0, 1].

        Raises:
            DataError: the data are not such an array, contain more than `most` images, or one has too many pixels.
        """
        array = _read_npy(data)
        images = array[None] if array.ndim == 3 else array
        if images.shape[3] != 3:
            raise DataError(f"an image array must be (H, W, 3) or (B, H, W, 3), not {array.shape}")
        if len(images) > most:
            raise DataError(f"{len(images):,} images, but a request must have 1 to {most}")
        if images.shape[1] * images.shape[2] > max_pixels:
            raise DataError(f"{images.shape[2]} x {images.shape[1]} pixels, more than the {max_pixels:,} allowed")
        return cls(images)

    def cost(self, preprocessing: Preprocessing) -> int:
        """Return how many pixels of the budget it takes to prepare the images, one after the other."""
        _, height, width, _ = self.images.shape
        resized = preprocessing.resized(width, height)
        return width * height + resized[0] * resized[1] + 2 * (width + height)

    def pixels(self, preprocessing: Preprocessing) -> list[PixelArray]:
        """Return each image as prepared pixels (size, size, 3).

        Raises:
            DataError: values are not finite or outside [0, 1].
        """
        return [prepare(from_array(image), preprocessing) for image in self.images]


def _read_npy(data: bytes) -> NDArray[np.generic]:
    """Read an array like `numpy.load`, but never allocate more memory than the size of the data."""
    file = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read(file)
    except Exception as error:  # the header is an arbitrary Python literal
        raise DataError(f"not a NumPy array ({_shortened(str(error))})") from error
    if dtype.kind not in "uf" or dtype.hasobject:
        raise DataError(f"an image array must be uint8, or float in [0, 1], not {_shortened(str(dtype))}")
    if len(shape) not in (3, 4) or not all(type(side) is int and side > 0 for side in shape):
        raise DataError(f"an image array must be (H, W, 3) or (B, H, W, 3), not {_shortened(str(shape))}")
    found = len(data) - file.tell()
    if max(shape) > len(data) or found != (expected := math.prod(shape) * dtype.itemsize):
        needs = "more" if max(shape) > len(data) else f"{expected:,}"
        raise DataError(f"the array has {found:,} bytes of data, {_shortened(str(shape))} of {dtype} needs {needs}")
    values = np.frombuffer(data, dtype, offset=file.tell())
    return values.reshape(shape, order="F" if fortran else "C")


def _shortened(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 100 else f"{text[:100]}…"
