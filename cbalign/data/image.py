"""Decoding of image files, the evaluation transform, and its description in a bundle. No torch.

Pixels are uint8; the model normalises them with mean and standard deviation.
"""

from __future__ import annotations

import io
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from cbalign.data.arrays import PixelArray
from cbalign.errors import BundleError, DataError, MissingImageError

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)

MAX_PIXELS = 89_478_485
"""The largest image to decode: 256 MiB as RGB, Pillow's own warning threshold."""

_WHITE = (255, 255, 255, 255)


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
    try:
        with Image.open(io.BytesIO(data) if isinstance(data, bytes) else data, formats=formats) as image:
            if image.width * image.height > max_pixels:
                raise DataError(
                    f"{label}: {image.width} x {image.height} pixels, more than the {max_pixels:,} allowed",
                    remedy="Scale the image down.",
                )
            image.load()
            return to_rgb(image)
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


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert an open image as `decode` does: upright, over white, 8 bits, RGB."""
    return _to_rgb(_upright(image))


def prepare(image: Image.Image, size: int) -> PixelArray:
    """Resize the whole image to a square: the evaluation transform.

    Bicubic with antialiasing (Pillow); the aspect ratio changes, as in ALBEF.

    Args:
        image: RGB.
        size: side in pixels.

    Returns:
        (size, size, 3) uint8.
    """
    return np.asarray(image.resize((size, size), Image.Resampling.BICUBIC))


@dataclass(frozen=True)
class Preprocessing:
    """The input that a bundle's image graph expects, as written to `preprocessing.json`.

    `mean` and `std` apply to values in [0, 1] and are part of the graph, whose input is the uint8 pixels of
    `prepare(image, size)`.
    """

    size: int
    mean: tuple[float, float, float] = CLIP_MEAN
    std: tuple[float, float, float] = CLIP_STD
    resample: Literal["bicubic"] = "bicubic"
    layout: Literal["NHWC"] = "NHWC"
    dtype: Literal["uint8"] = "uint8"
    colour: Literal["RGB over white"] = "RGB over white"

    def to_json(self) -> str:
        """Return the description as an indented JSON object."""
        return json.dumps(asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str, *, name: str = "preprocessing.json") -> Preprocessing:
        """Read what `to_json` wrote.

        Raises:
            BundleError: not such a description, or of a preprocessing that this version does not support.
        """
        try:
            values = json.loads(text)
            size, mean, std = values["size"], values["mean"], values["std"]
            if type(size) is not int or size < 1:
                raise ValueError(f"size is {size!r}")
            if len(mean) != 3 or len(std) != 3 or min(std) <= 0:
                raise ValueError("mean and std need three numbers each, std positive")
            r, g, b = (float(v) for v in mean)
            deviations = tuple(float(v) for v in std)
            read = cls(size, (r, g, b), (deviations[0], deviations[1], deviations[2]))
            expected = asdict(read)
            for key in ("resample", "layout", "dtype", "colour"):
                if values.get(key) != expected[key]:
                    raise ValueError(f"{key} is {values.get(key)!r}, expected {expected[key]!r}")
        except (ValueError, KeyError, TypeError) as error:
            raise BundleError(f"{name}: not a preprocessing description ({error})") from error
        return read


def _upright(image: Image.Image) -> Image.Image:
    try:
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
    values = np.asarray(image)
    if image.mode == "F":
        if broken := int((~np.isfinite(values)).sum()):
            raise ValueError(f"{broken:,} of {values.size:,} pixels are not numbers")
        scaled = values * 255 if values.max(initial=0) <= 1 else values
    elif image.mode == "I" and values.max(initial=0) <= 255:
        scaled = values
    else:
        scaled = values / 257
    return Image.fromarray(np.clip(np.rint(scaled), 0, 255).astype(np.uint8))
