"""Sources that answer as another does and change a part of it, such as its length."""

from __future__ import annotations

from typing import Generic, TypeVar

from PIL import Image

from cbalign.data.items import Item
from cbalign.data.source import Source, images_of, origins_of

ItemT = TypeVar("ItemT", bound=Item)


class WrappedSource(Generic[ItemT]):
    """A source that answers as another does; the base of those that change a part of it. Implements `Source`.

    Args:
        source: the other source.
    """

    def __init__(self, source: Source[ItemT]) -> None:
        self._source = source
        self.name = source.name

    def __len__(self) -> int:
        return len(self._source)

    def item(self, index: int) -> ItemT:
        """Return item `index`."""
        return self._source.item(index)

    def images(self, index: int) -> tuple[Image.Image, ...]:
        """Decode the images of item `index`."""
        return images_of(self._source, index)

    def read(self, index: int) -> tuple[bytes, ...]:
        """Read the image files of item `index`."""
        return self._source.read(index)

    def origins(self, index: int) -> tuple[bytes, ...]:
        """Return bytes that determine the images of item `index`."""
        return origins_of(self._source, index)

    def describe(self) -> str:
        """Describe the source in one line."""
        return self._source.describe()


class FirstItems(WrappedSource[ItemT], Generic[ItemT]):
    """The beginning of a source.

    Args:
        source: the whole source.
        limit: number of items.
    """

    def __init__(self, source: Source[ItemT], limit: int) -> None:
        super().__init__(source)
        self._length = min(limit, len(source))
        self.name = source.name if self._length == len(source) else f"{source.name}, first {limit} items"

    def __len__(self) -> int:
        return self._length

    def describe(self) -> str:
        """Describe the source in one line for logs."""
        return self.name
