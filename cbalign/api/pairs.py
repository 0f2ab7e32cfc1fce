"""Image-text pairs from Python: lists, torch datasets and Hugging Face datasets as sources of data."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from PIL import Image

from cbalign.api.pictures import as_images, is_one_image
from cbalign.data.items import Pair
from cbalign.errors import DataError, UsageError
from cbalign.runtime.images import Picture, open_image

Pairs: TypeAlias = Any
"""Images with captions, in one of these forms:

- a list, another sequence or an iterable of pairs `(image, caption)`, or of dicts with an image and a caption;
- a torch `Dataset` with a length whose items are such pairs or dicts;
- a Hugging Face `Dataset`.

An image is a `Picture`; a caption is a str or a list of them. In dicts and Hugging Face datasets, the image is the
first column of `image`, `img`, `picture`, `pixel_values`, `jpg`, `png`, `image_path`, `file_name`, `filename`, `path`;
the caption is the first of `caption`, `captions`, `text`, `texts`, `sentence`, `sentences`, `txt`. Relative paths are
relative to the working directory."""

IMAGE_COLUMNS = (
    *("image", "img", "picture", "pixel_values", "jpg", "png"),
    *("image_path", "file_name", "filename", "path"),
)
TEXT_COLUMNS = ("caption", "captions", "text", "texts", "sentence", "sentences", "txt")


class PythonPairs:
    """Pairs given from Python; implements `cbalign.data.source.Source`.

    Args:
        name: name of the source in messages.
        captions: the captions of each item.
        image: returns the image of an item.
        keys: names of the images, equal for the same image.
    """

    def __init__(
        self, name: str, captions: Sequence[tuple[str, ...]], image: Callable[[int], Any], keys: Sequence[str]
    ) -> None:
        self.name = name
        self._captions = captions
        self._image = image
        self._keys = keys
        ids: dict[str, int] = {}
        self._ids = [ids.setdefault(key, len(ids)) for key in keys]

    def __len__(self) -> int:
        return len(self._captions)

    def item(self, index: int) -> Pair:
        """The captions of item `index`."""
        return Pair(self._keys[index], self._captions[index], self._ids[index])

    def images(self, index: int) -> tuple[Image.Image, ...]:
        """The image of item `index`.

        Raises:
            DataError: it cannot be decoded.
        """
        try:
            return (open_image(_picture(self._image(index))),)
        except (DataError, UsageError) as error:
            # Reports of several unreadable images keep the message only.
            remedy = f" ({error.remedy.rstrip('.')})" if error.remedy else ""
            raise DataError(f"{self.name}: item {index}: {error.message}{remedy}") from error

    def read(self, index: int) -> tuple[bytes, ...]:
        """The image of item `index` as PNG."""
        buffer = io.BytesIO()
        self.images(index)[0].save(buffer, "PNG")
        return (buffer.getvalue(),)

    def describe(self) -> str:
        """One line for logs."""
        return f"{self.name}: {len(self):,} pairs given from Python"


def pairs_from(data: Pairs, name: str) -> PythonPairs:
    """Read pairs from a Python object.

    Args:
        data: a sequence of (image, caption) pairs, a torch `Dataset`, or a Hugging Face `Dataset`.
        name: name of the source in messages.

    Raises:
        UsageError: it is not of such a form, or has no captions.
    """
    columns = getattr(data, "column_names", None)
    if isinstance(columns, list) and hasattr(
        data, "__getitem__"
    ):  # a Hugging Face dataset: captions without decoding images
        text_key, image_key = _columns(columns)
        texts = data[text_key]
        return _pairs(name, [_captions(each, name, i) for i, each in enumerate(texts)], lambda i: data[i][image_key])
    if isinstance(data, Mapping | str | bytes):
        _refuse(data)
    if not hasattr(data, "__getitem__") or not hasattr(data, "__len__"):
        data = list(data) if isinstance(data, Iterable) else _refuse(data)
    return _from_items(data, name)


def _from_items(data: Any, name: str) -> PythonPairs:
    """Pairs from indexed items; each item is read once for its caption, and again for its image."""
    if len(data) == 0:
        raise UsageError(f"{name}: there are no pairs")
    first = data[0]
    if isinstance(first, Mapping):
        columns = [str(key) for key in first]
        text_key, image_key = _columns(columns)
        captions = [_captions(data[i][text_key], name, i) for i in range(len(data))]
        return _pairs(name, captions, lambda i: data[i][image_key])
    captions = [_captions(_pair(data[i], name, i)[1], name, i) for i in range(len(data))]
    return _pairs(name, captions, lambda i: data[i][0])


def _pair(item: Any, name: str, index: int) -> Any:
    if not isinstance(item, tuple | list) or len(item) != 2:
        raise UsageError(
            f"{name}: item {index} is {type(item).__name__}, not a pair (image, caption) or a dict",
            remedy="Give items like ('a.jpg', 'a red car') or {'image': …, 'caption': …}.",
        )
    return item


def _pairs(name: str, captions: list[tuple[str, ...]], image: Callable[[int], Any]) -> PythonPairs:
    if not captions:
        raise UsageError(f"{name}: there are no pairs")
    return PythonPairs(name, captions, image, [f"{name}[{i}]" for i in range(len(captions))])


def _captions(value: Any, name: str, index: int) -> tuple[str, ...]:
    found = (value,) if isinstance(value, str) else tuple(value) if isinstance(value, list | tuple) else ()
    if not found or not all(isinstance(each, str) and each.strip() for each in found):
        raise UsageError(f"{name}: item {index} has no caption: expected a text or a list of texts, not {value!r:.60}")
    return found


def _columns(columns: Sequence[str]) -> tuple[str, str]:
    return _column(columns, TEXT_COLUMNS, "caption"), _column(columns, IMAGE_COLUMNS, "image")


def _column(columns: Sequence[str], usual: Sequence[str], what: str) -> str:
    found = next((name for name in usual if name in columns), None)
    if found is None:
        raise UsageError(
            f"no column for the {what}: the data have {', '.join(columns)}",
            remedy=f"Rename the column to {what!r}, or pass a list of pairs (image, caption).",
        )
    return found


def _picture(value: Any) -> Picture:
    """One image as `open_image` takes it; also Hugging Face's undecoded {'bytes', 'path'}."""
    if isinstance(value, Mapping) and ("bytes" in value or "path" in value):
        value = value.get("bytes") or value.get("path")
    return next(as_images(value if is_one_image(value) else [value]))


def _refuse(data: object) -> list[Any]:
    raise UsageError(
        f"{type(data).__name__} is not a list of pairs or a dataset",
        remedy="Give a list of (image, caption) pairs, a torch Dataset or a Hugging Face Dataset.",
    )
