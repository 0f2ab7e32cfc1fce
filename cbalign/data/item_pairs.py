"""Items as images with texts, for what looks at images and texts one by one: `cbalign data check` and `stats`."""

from __future__ import annotations

from array import array
from typing import Protocol, runtime_checkable

import numpy as np
from PIL import Image

from cbalign.data.items import Item, ItemSource
from cbalign.data.open_items import open_premises, open_questions, open_statements
from cbalign.data.pairs import digest, number_by_appearance
from cbalign.data.source import Entry, StoredSource, open_source
from cbalign.experiment.data import Source
from cbalign.parts import ItemKind


@runtime_checkable
class OneByOne(Protocol):
    """A source that can give one of an item's images alone."""

    def image(self, index: int, position: int) -> Image.Image:
        """An image of item `index`; errors as of `images`."""


class ItemPairs:
    """Each image of each item as an entry of its own, with the item's text; keeps `StoredSource`.

    Items name the same image by the same key.
    """

    def __init__(self, source: ItemSource[Item]) -> None:
        self._source = source
        self.name = source.name
        self._items, self._positions, keys = array("q"), array("b"), array("Q")
        for index in range(len(source)):
            for position, key in enumerate(source.item(index).image_keys):
                self._items.append(index)
                self._positions.append(position)
                keys.append(digest(key))
        self._image_ids = number_by_appearance(np.frombuffer(keys, np.uint64))

    def __len__(self) -> int:
        return len(self._items)

    def entry(self, index: int) -> Entry:
        """What entry `index` says."""
        item = self._source.item(self._items[index])
        return Entry(item.image_keys[self._positions[index]], (item.text,), int(self._image_ids[index]))

    def load(self, index: int) -> Image.Image:
        """The image of entry `index`.

        Raises:
            MissingImageError: it is not there.
            DataError: it is corrupt.
        """
        item, position = self._items[index], self._positions[index]
        if isinstance(self._source, OneByOne):  # else a missing image would count for its neighbour as well
            return self._source.image(item, position)
        return self._source.images(item)[position]

    def read(self, index: int) -> bytes:
        """The image file of entry `index`.

        Raises:
            DataError: as `load`, but for what only decoding finds.
        """
        return self._source.read(self._items[index])[self._positions[index]]

    def describe(self) -> str:
        """One line for logs."""
        return self._source.describe()


def open_as_pairs(section: Source, items: ItemKind) -> StoredSource:
    """A source of any kind of items as images with texts.

    Raises:
        DataError: a file is missing, malformed or empty.
        UsageError: the source has no such items.
    """
    match items:
        case "pairs":
            return open_source(section)
        case "questions":
            return ItemPairs(open_questions(section))
        case "statements":
            return ItemPairs(open_statements(section))
        case "premises":
            return ItemPairs(open_premises(section))
