"""The items `checked-captions`: images with their own caption and with one of another image; without torch."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image

from cbalign.data.items import Pair
from cbalign.data.source import Source
from cbalign.errors import DataError

LABELS = ("no", "yes")


@dataclass(frozen=True)
class Caption:
    """Implements `cbalign.data.items.Labelled`: an image and a caption that belongs to it or does not."""

    pair: Pair
    text: str
    target: int  # position in LABELS

    @property
    def id(self) -> str:
        """The name of the image and the answer."""
        return f"{self.pair.image_key} {LABELS[self.target]}"

    @property
    def image_keys(self) -> tuple[str, ...]:
        """The name of the image."""
        return self.pair.image_keys

    @property
    def image_ids(self) -> tuple[int | str, ...]:
        """The identity of the image."""
        return self.pair.image_ids

    @property
    def texts(self) -> tuple[str, ...]:
        """The caption."""
        return (self.text,)

    @property
    def outputs(self) -> tuple[str, ...]:
        """The answer."""
        return (LABELS[self.target],)

    @property
    def group(self) -> str:
        """The image: a model is consistent if it is right about both captions."""
        return self.pair.image_key


class Captions:
    """Implements `cbalign.data.source.Source`: each pair twice, first with its own caption.

    Args:
        pairs: the source of pairs.
    """

    def __init__(self, pairs: Source[Pair]) -> None:
        self._pairs = pairs
        self.name = pairs.name

    def __len__(self) -> int:
        return 2 * len(self._pairs)

    def item(self, index: int) -> Caption:
        """Return the image of pair `index // 2` with its own caption, or with that of the next other image."""
        pair = self._pairs.item(index // 2)
        if index % 2 == 0:
            return Caption(pair, pair.text, target=1)
        return Caption(pair, self._other(index // 2, pair).text, target=0)

    def images(self, index: int) -> tuple[Image.Image, ...]:
        """Decode the image of item `index`."""
        return self._pairs.images(index // 2)

    def read(self, index: int) -> tuple[bytes, ...]:
        """Read the image file of item `index`."""
        return self._pairs.read(index // 2)

    def describe(self) -> str:
        """Describe the source in one line."""
        return f"{self._pairs.describe()}, each with a right and a wrong caption"

    def _other(self, position: int, pair: Pair) -> Pair:
        for distance in range(1, len(self._pairs)):
            other = self._pairs.item((position + distance) % len(self._pairs))
            if other.image_id != pair.image_id:
                return other
        raise DataError(f"{self.name} has only one image, so that there are no wrong captions")
