"""Images and texts as users give them: one or many; paths, Pillow images, bytes, arrays or tensors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cbalign.data.arrays import PixelArray
from cbalign.data.batches import in_batches
from cbalign.data.image import Preprocessing, prepare
from cbalign.errors import DataError, MissingImageError, UsageError
from cbalign.runtime.images import Picture, open_image

Images: TypeAlias = "Picture | Iterable[Picture] | NDArray[Any]"
"""One image or many. Many are a list or another iterable of images, an array (n, H, W, 3) or a torch tensor
(n, 3, H, W)."""

Texts: TypeAlias = "str | Sequence[str]"
"""One text or many. Many are a list or another iterable of str."""

_URLS = ("http://", "https://", "s3://", "gs://", "ftp://", "data:")


def is_one_image(images: Images) -> bool:
    """Whether this is one image and not a collection of images."""
    if isinstance(images, np.ndarray) or is_tensor(images):
        return bool(images.ndim == 3)  # type: ignore[union-attr]
    return isinstance(images, str | bytes | Path | Image.Image)


def is_tensor(value: object) -> bool:
    """Whether this is a torch tensor; torch is not imported."""
    return hasattr(value, "detach") and hasattr(value, "numpy")


def from_tensor(tensor: Any) -> NDArray[Any]:
    """A tensor (3, H, W) or (n, 3, H, W) as an array with the channels last; other shapes as they are."""
    array: NDArray[Any] = tensor.detach().cpu().numpy()
    return np.moveaxis(array, -3, -1) if array.ndim in (3, 4) and array.shape[-3] == 3 else array


def as_images(images: Images) -> Iterator[Picture]:
    """The images one by one.

    Raises:
        UsageError: it is neither an image nor a collection.
    """
    if is_tensor(images):
        images = from_tensor(images)
    if is_one_image(images):
        return iter([_checked(images)])
    if isinstance(images, np.ndarray) and images.ndim != 4:
        vectors = images.ndim <= 2 and images.dtype.kind == "f"
        raise UsageError(
            f"an image array must be (H, W, 3), an array of images (n, H, W, 3), not {images.shape}",
            remedy="These may be vectors, but this needs the images themselves; `similarity` and `codes` take vectors."
            if vectors
            else "Stack grey values three times, or pass a list of arrays (H, W, 3).",
        )
    if isinstance(images, Mapping) or not isinstance(images, Iterable):
        raise _not_an_image(images)
    return map(_checked, images)


def _checked(image: object) -> Picture:
    """An image in a form that `open_image` takes."""
    if is_tensor(image):
        image = from_tensor(image)
    if not isinstance(image, str | bytes | Path | Image.Image | np.ndarray):
        raise _not_an_image(image)
    if isinstance(image, np.ndarray) and image.ndim == 3 and image.shape[2] != 3 and image.shape[0] == 3:
        raise UsageError(
            f"an image array must be (H, W, 3), not {image.shape}",
            remedy="Move the channels last: np.moveaxis(image, 0, -1).",
        )
    return _file(image) if isinstance(image, str | Path) else image


def _file(path: str | Path) -> str | Path:
    """The path with `~` expanded."""
    if isinstance(path, str) and path.startswith(_URLS):
        raise UsageError(f"{path:.60} is a URL: URLs are not read", remedy="Download the image and pass its bytes.")
    if not str(path).startswith("~"):
        return path
    return Path(path).expanduser()


def _not_an_image(given: object) -> UsageError:
    return UsageError(
        f"{type(given).__name__} is not an image",
        remedy="Pass a path, bytes, a Pillow image, an RGB array (H, W, 3), a tensor (3, H, W), or a list of these.",
    )


def load_pixels(images: Iterable[Picture], preprocessing: Preprocessing, *, first: int = 0) -> PixelArray:
    """Prepare images as pixels (n, size, size, 3).

    Args:
        images: see `as_images`.
        preprocessing: how the model expects them.
        first: the index of the first in the user's list, for messages.

    Raises:
        DataError: an image cannot be decoded; the message has its index.
    """
    given = list(images)
    where = len(given) + first > 1
    prepared = [
        prepare(_opened(image, f"image {first + i}: " if where else ""), preprocessing) for i, image in enumerate(given)
    ]
    return np.stack(prepared) if prepared else np.empty((0, preprocessing.size, preprocessing.size, 3), np.uint8)


def _opened(image: Picture, where: str) -> Image.Image:
    try:
        return open_image(image)
    except DataError as error:
        remedy = error.remedy
        if isinstance(image, str | Path) and Path(image).is_dir():
            remedy = "This is a folder. Pass a list of its files, or use cbalign.index to search it."
        elif isinstance(error, MissingImageError) and isinstance(image, str):
            remedy = "A str is a path; pass texts as the argument for texts."
        raise type(error)(where + error.message, remedy=remedy) from error


def pixel_batches(images: Images, preprocessing: Preprocessing, batch_size: int) -> Iterator[PixelArray]:
    """Prepared pixels (B, size, size, 3), at most `batch_size` images at a time.

    Raises:
        DataError: an image cannot be decoded.
    """
    first = 0
    for batch in in_batches(as_images(images), batch_size):
        yield load_pixels(batch, preprocessing, first=first)
        first += len(batch)


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
