"""From what a client sends to prepared pixels, trusting nothing of it."""

from __future__ import annotations

import base64
import binascii
import io

import numpy as np
from numpy.typing import NDArray

from cbalign.data.image import prepare
from cbalign.encoders import PixelArray
from cbalign.errors import DataError
from cbalign.runtime.images import decode_untrusted, from_array

NPY = "application/x-npy"


def file_pixels(data: bytes, size: int, max_pixels: int, name: str = "image") -> PixelArray:
    """The bytes of an image file as prepared pixels (size, size, 3).

    Raises:
        DataError: they are none, damaged, or of too many pixels.
    """
    if not data:
        raise DataError(f"{name}: empty")
    return prepare(decode_untrusted(data, name=name, max_pixels=max_pixels), size)


def from_base64(text: str, name: str = "image") -> bytes:
    """The bytes that base64 stands for; a data URL's head may come before it.

    Raises:
        DataError: it is not base64.
    """
    head, comma, body = text.partition(",")
    try:
        return base64.b64decode(body if comma and head.startswith("data:") else text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise DataError(f"{name}: not base64 ({error})") from error


def array_pixels(data: bytes, size: int, max_pixels: int, most: int) -> list[PixelArray]:
    """The images of a NumPy file (.npy): RGB (H, W, 3) or (B, H, W, 3), uint8 or floats in [0, 1].

    Raises:
        DataError: it is no such array, holds none or more than `most` images, or one has too many pixels.
    """
    array = _read_npy(data)
    images = array[None] if array.ndim == 3 else array
    if images.ndim != 4:
        raise DataError(f"an image array must be (H, W, 3) or (B, H, W, 3), not {array.shape}")
    if not 1 <= len(images) <= most:
        raise DataError(f"{len(images):,} images, 1 to {most} are taken at a time")
    if images.shape[1] * images.shape[2] > max_pixels:
        raise DataError(f"{images.shape[2]} x {images.shape[1]} pixels, more than the {max_pixels:,} allowed")
    return [prepare(from_array(image), size) for image in images]


def _read_npy(data: bytes) -> NDArray[np.generic]:
    """Like `numpy.load`, but a header cannot ask for more memory than there are data."""
    file = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read(file)
    except Exception as error:  # the header is a Python literal, and anything can be in it
        raise DataError(f"not a NumPy array ({error})") from error
    if dtype.kind not in "uf" or dtype.hasobject:
        raise DataError(f"an image array must be uint8, or float in [0, 1], not {dtype}")
    expected = int(np.prod(shape, dtype=object)) * dtype.itemsize
    if len(data) - file.tell() != expected:
        raise DataError(
            f"the array has {len(data) - file.tell():,} bytes of data, {shape} of {dtype} needs {expected:,}"
        )
    values = np.frombuffer(data, dtype, offset=file.tell())
    return values.reshape(shape, order="F" if fortran else "C")
