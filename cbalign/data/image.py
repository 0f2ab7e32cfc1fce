"""Decoding of image files, the evaluation transform, and its description in a bundle. No torch.

Pixels are uint8; the model normalises them with mean and standard deviation.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from cbalign.data.arrays import PixelArray
from cbalign.errors import BundleError, DataError, MissingImageError
from cbalign.parts.preprocessing import Fit, Interpolation

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)

FILTERS: dict[Interpolation, Image.Resampling] = {
    name: Image.Resampling[name.upper()] for name in get_args(Interpolation)
}
"""Pillow's filters by name."""

MAX_PIXELS = 89_478_485
"""The largest image to decode: 256 MiB as RGB, Pillow's own warning threshold."""

BYTES_PER_PIXEL = 28
"""Memory for decoding a pixel, at most, in any format and mode: the pixel itself and copies of it."""

_LARGEST = 16_384  # pixels; the side of an input
_LONGEST_REASON = 300  # characters
_WHITE = (255, 255, 255, 255)
_ORIENTATION = 0x0112  # EXIF's tag; 1 is upright
_TILE_SIDES = (322, 323)  # TIFF's tags TileWidth and TileLength
_BLOCK = 1 << 20  # pixels converted at a time


def decode(
    data: str | Path | bytes,
    *,
    name: str | None = None,
    max_pixels: int = MAX_PIXELS,
    formats: tuple[str, ...] | None = None,
) -> Image.Image:
    """Decode an image to RGB as a viewer shows it.

    Transparent pixels are composited over white, the EXIF orientation is applied, 16-bit and float greys are scaled to
    8 bits, and of an animation the first frame is used.

    Args:
        data: a path, or the bytes of an image file.
        name: of the image in messages; defaults to the path.
        max_pixels: larger images are refused before they are decoded.
        formats: Pillow's names of the formats to try; defaults to all.

    Raises:
        MissingImageError: the file does not exist.
        DataError: the file is truncated, corrupt, too large or not an image.
    """
    label = name or ("image" if isinstance(data, bytes) else str(data))
    with _opened(data, label, formats) as image:
        _require_size(image, label, max_pixels)
        image.load()
        return to_rgb(image)


def decoding_pixels(
    data: str | Path | bytes,
    preprocessing: Preprocessing,
    *,
    name: str,
    max_pixels: int = MAX_PIXELS,
    formats: tuple[str, ...] | None = None,
) -> int:
    """Return in pixels how much memory it takes to decode and prepare an image, from its header.

    Each pixel takes at most `BYTES_PER_PIXEL`. Pixels of the resized image and coefficients of the filter are counted,
    which exceed those of the image if one side is very long, and the tiles of a TIFF, which can exceed the image.

    Raises:
        MissingImageError, DataError: as `decode`.
    """
    with _opened(data, name, formats) as image:
        _require_size(image, name, max_pixels)
        width, height = preprocessing.resized(image.width, image.height)
        return _stored_pixels(image) + width * height + 2 * (image.width + image.height)


@contextmanager
def _opened(data: str | Path | bytes, label: str, formats: tuple[str, ...] | None) -> Iterator[Image.Image]:
    """Open an image file to read its header or pixels, and turn every error into a `DataError`."""
    try:
        with Image.open(io.BytesIO(data) if isinstance(data, bytes) else data, formats=formats) as image:
            yield image
    except (DataError, MemoryError):
        raise
    except FileNotFoundError:
        raise MissingImageError(f"{label}: no such image") from None
    except Image.DecompressionBombError as error:  # Pillow's own limit, twice ours
        raise DataError(f"{label}: too many pixels ({error})", remedy="Scale the image down.") from None
    except UnidentifiedImageError:
        kinds = f" of format {', '.join(formats)}" if formats else ""
        raise DataError(f"{label}: not an image{kinds}") from None
    except Exception as error:  # Pillow's decoders raise almost any exception on damaged files
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{label}: cannot be decoded ({reason})") from error


def _require_size(image: Image.Image, label: str, max_pixels: int) -> None:
    if _stored_pixels(image) > max_pixels:
        raise DataError(
            f"{label}: {image.width} x {image.height} pixels, more than the {max_pixels:,} allowed",
            remedy="Scale the image down.",
        )


def _stored_pixels(image: Image.Image) -> int:
    """Return the number of pixels that the decoder holds: of the image, or of a TIFF's tile that exceeds it."""
    tags = getattr(image, "tag_v2", None) or {}
    tile = [int(tags.get(tag) or 0) for tag in _TILE_SIDES]
    return max(image.width * image.height, tile[0] * tile[1])


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert an open image as `decode` does: upright, over white, 8 bits, RGB."""
    return _to_rgb(_upright(image))


def prepare(image: Image.Image, preprocessing: Preprocessing) -> PixelArray:
    """Resize and crop an image to a square: the evaluation transform.

    With `fit: squash` the whole image is resized to a square, which changes its aspect ratio (ALBEF); with `fit: crop`
    its shorter side is resized and the aspect ratio kept. Side or shorter side become ⌊size / crop⌋ pixels, of which
    the central square is kept. Pillow's filters, with antialiasing; equal to torchvision's `Resize` and `CenterCrop`
    of a Pillow image, and so to timm's evaluation transform.

    Args:
        image: RGB.
        preprocessing: size, filter, fit and crop; mean and standard deviation are not applied.

    Returns:
        (size, size, 3) uint8.
    """
    size = preprocessing.size
    width, height = preprocessing.resized(image.width, image.height)
    resized = image.resize((width, height), FILTERS[preprocessing.resample])
    if (width, height) != (size, size):
        left, top = round((width - size) / 2), round((height - size) / 2)
        resized = resized.crop((left, top, left + size, top + size))
    return np.asarray(resized)


@dataclass(frozen=True)
class Preprocessing:
    """How an image becomes the input of an image tower, as written to a bundle's `preprocessing.json`.

    `mean` and `std` apply to values in [0, 1] and are part of the graph, whose input is the uint8 pixels of
    `prepare(image, preprocessing)`.

    Args:
        size: side of the square input in pixels.
        mean, std: of red, green and blue.
        resample: Pillow's filter.
        fit: whether the image is squashed to a square or its shorter side is resized.
        crop: share of the resized side that the central square keeps, in (0, 1].
    """

    size: int
    mean: tuple[float, float, float] = CLIP_MEAN
    std: tuple[float, float, float] = CLIP_STD
    resample: Interpolation = "bicubic"
    fit: Fit = "squash"
    crop: float = 1.0
    layout: Literal["NHWC"] = "NHWC"
    dtype: Literal["uint8"] = "uint8"
    colour: Literal["RGB over white"] = "RGB over white"

    @property
    def scaled_size(self) -> int:
        """Side, or shorter side, of the resized image before the crop, in pixels."""
        return math.floor(self.size / self.crop)

    def resized(self, width: int, height: int) -> tuple[int, int]:
        """Return width and height of an image after resizing, before the crop."""
        scaled = self.scaled_size
        if self.fit == "squash":
            return scaled, scaled
        if width <= height:
            return scaled, int(scaled * height / width)
        return int(scaled * width / height), scaled

    def __str__(self) -> str:
        how = "whole image squashed" if self.fit == "squash" else "shorter side resized"
        cut = f", centre {self.size} px" if self.fit == "crop" or self.scaled_size != self.size else ""
        mean, std = (" ".join(f"{value:.3g}" for value in values) for values in (self.mean, self.std))
        return f"{how} to {self.scaled_size} px{cut}, {self.resample}; mean {mean}, std {std}"

    def to_json(self) -> str:
        """Return the description as an indented JSON object."""
        return json.dumps(asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes, *, name: str = "preprocessing.json") -> Preprocessing:
        """Read what `to_json` wrote.

        Raises:
            BundleError: not such a description, or of a preprocessing that this version does not support.
        """
        try:
            values = json.loads(text)
            read = cls(
                _whole(values["size"]),
                _three(values["mean"]),
                _three(values["std"]),
                values["resample"],
                values.get("fit", "squash"),  # bundles of cbalign 0.1 know no other
                float(values.get("crop", 1.0)),
            )
            read._check()
            expected = asdict(read)
            for key in ("layout", "dtype", "colour"):
                if values.get(key) != expected[key]:
                    raise ValueError(f"{key} is {values.get(key)!r}, expected {expected[key]!r}")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
            reason = str(error)[:_LONGEST_REASON]
            raise BundleError(f"{name}: not a preprocessing description ({reason})") from error
        return read

    def _check(self) -> None:
        if min(self.std) <= 0:
            raise ValueError("std must be positive")
        if self.resample not in FILTERS:
            raise ValueError(f"resample is {self.resample!r}, expected one of {', '.join(FILTERS)}")
        if self.fit not in get_args(Fit):
            raise ValueError(f"fit is {self.fit!r}, expected one of {', '.join(get_args(Fit))}")
        if not 0 < self.crop <= 1:
            raise ValueError(f"crop is {self.crop}, expected a share above 0 and of at most 1")


def _whole(value: object) -> int:
    if type(value) is not int or not 1 <= value <= _LARGEST:
        raise ValueError(f"size is {value!r}, expected a whole number from 1 to {_LARGEST}")
    return value


def _three(values: Sequence[object]) -> tuple[float, float, float]:
    if len(values) != 3:
        raise ValueError("mean and std need three numbers each")
    red, green, blue = (float(str(value)) for value in values)
    if not all(map(math.isfinite, (red, green, blue))):
        raise ValueError("mean and std must be finite")
    return red, green, blue


def _upright(image: Image.Image) -> Image.Image:
    try:
        if image.getexif().get(_ORIENTATION, 1) == 1:
            return image  # ImageOps copies
        return ImageOps.exif_transpose(image)
    except Exception:  # the pixels can be intact although the EXIF data are damaged
        return image


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        image = _to_8_bits(image)
    if image.has_transparency_data:
        over_white = Image.new("RGBA", image.size, _WHITE)
        over_white.alpha_composite(image.convert("RGBA"))
        return over_white.convert("RGB")
    return image.convert("RGB")


def _to_8_bits(image: Image.Image) -> Image.Image:
    """Scale greys to 8 bits: integers from 16 bits unless all fit in 8, floats from [0, 1] unless some exceed 1."""
    values = np.asarray(image).reshape(-1)
    blocks = [slice(start, start + _BLOCK) for start in range(0, values.size, _BLOCK)]
    highest = max((values[block].max() for block in blocks), default=0)
    factor, divisor = 1, 1
    if image.mode == "F":
        if broken := sum(int((~np.isfinite(values[block])).sum()) for block in blocks):
            raise ValueError(f"{broken:,} of {values.size:,} pixels are not numbers")
        factor = 255 if highest <= 1 else 1
    elif image.mode != "I" or highest > 255:
        divisor = 257
    scaled = np.empty(values.size, np.uint8)
    for block in blocks:  # whole images would need several copies in floating point
        scaled[block] = np.clip(np.rint(values[block] * factor / divisor), 0, 255)
    return Image.fromarray(scaled.reshape(image.height, image.width))
