"""The images of a source one by one, each with its item."""

from __future__ import annotations

from array import array
from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cbalign.data.arrays import IntArray
from cbalign.data.distribution import Distribution
from cbalign.data.items import Item
from cbalign.data.pairs import digest, number_by_appearance
from cbalign.data.source import Source, image_of


@dataclass(frozen=True)
class SourceImages:
    """Every image of every item of a source, N in total, in order.

    Args:
        source: the source.
        items: (N,) index of the item of each image.
        positions: (N,) position of each image in its item.
        image_ids: (N,) numbers from 0 in order of appearance, equal exactly for the same image.
        files: (N,) hashes, equal exactly for the same image under the same name.
    """

    source: Source[Item]
    items: IntArray
    positions: IntArray
    image_ids: IntArray
    files: NDArray[np.uint64]

    @classmethod
    def of(cls, source: Source[Item]) -> SourceImages:
        """Collect the images of a source."""
        items, positions, identities, files = array("q"), array("q"), array("Q"), array("Q")
        for index in range(len(source)):
            item = source.item(index)
            for position, (key, identity) in enumerate(zip(item.image_keys, item.image_ids, strict=True)):
                items.append(index)
                positions.append(position)
                identities.append(digest(repr(identity)))
                files.append(digest(f"{identity!r} {key}"))
        return cls(
            source,
            np.frombuffer(items, np.int64),
            np.frombuffer(positions, np.int64),
            number_by_appearance(np.frombuffer(identities, np.uint64)),
            np.frombuffer(files, np.uint64),
        )

    def __len__(self) -> int:
        return len(self.items)

    def key(self, number: int) -> str:
        """Return the name of an image."""
        return self.source.item(int(self.items[number])).image_keys[self.positions[number]]

    def open(self, number: int) -> Image.Image:
        """Decode an image.

        Raises:
            MissingImageError: it does not exist.
            DataError: it is corrupt.
        """
        return image_of(self.source, int(self.items[number]), int(self.positions[number]))

    def read(self, number: int) -> bytes:
        """Read an image file.

        Raises:
            DataError: as `open`, except for damage that only decoding finds.
        """
        return self.source.read(int(self.items[number]))[self.positions[number]]

    def texts_per_image(self) -> Distribution:
        """Count the texts about each image, over all its items."""
        texts = [len(self.source.item(int(index)).texts) for index in self.items]
        per_image = np.bincount(self.image_ids, texts).astype(np.int64)
        numbers, times = np.unique(per_image, return_counts=True)
        counted = Distribution.of(Counter(dict(zip(numbers.tolist(), times.tolist()))))
        assert counted is not None, "a source has at least one image"
        return counted
