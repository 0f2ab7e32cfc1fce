"""The views of an item's images that a training step reads: new ones in each epoch, fixed ones, or kept features."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cbalign.data.arrays import PixelArray

Generator = np.random.Generator
Transform: TypeAlias = Callable[[Image.Image, Generator], PixelArray]
ViewArray: TypeAlias = NDArray[Any]
"""One view of an image: pixels (H, W, 3) uint8, or its features (N, D) or (D,) float16."""

SECOND_IMAGE = 16  # added to the random stream of a view for each image of an item after the first


class ItemViews(Protocol):
    """The images of items as a step of training reads them."""

    @property
    def two_views(self) -> bool:
        """Whether there is a second view, for the teacher."""

    def __call__(self, index: int, epoch: int, stream: Callable[[int], Generator]) -> list[list[ViewArray]]:
        """Return the views of item `index` in an epoch: for the student and, with two views, for the teacher.

        Args:
            index: of the item.
            epoch: counted from 0.
            stream: the random streams of this item in this epoch, by number.

        Returns:
            One list for each view, with one array for each image of the item.

        Raises:
            DataError: an image cannot be read.
        """


class HasImages(Protocol):
    """A list of items with images, such as a collation."""

    def images(self, index: int) -> tuple[Image.Image, ...]:
        """Decode the images of item `index`."""

    def read(self, index: int) -> tuple[bytes, ...]:
        """Read the image files of item `index`."""


@dataclass(frozen=True)
class RandomViews:
    """New views in each epoch; implements `ItemViews`."""

    items: HasImages
    transform: Transform
    two_views: bool

    def __call__(self, index: int, epoch: int, stream: Callable[[int], Generator]) -> list[list[ViewArray]]:
        """Decode the images and draw their views."""
        images = self.items.images(index)
        return [
            [self.transform(image, stream(purpose + SECOND_IMAGE * i)) for i, image in enumerate(images)]
            for purpose in range(2 if self.two_views else 1)
        ]


class FixedViews:
    """Some views of each image, determined by its bytes, which follow one another by epoch; implements `ItemViews`.

    Args:
        items: with images.
        transform: draws a view.
        count: number of views of an image.
        two_views: whether the teacher gets another view than the student.
    """

    def __init__(self, items: HasImages, transform: Transform, count: int, *, two_views: bool) -> None:
        self.two_views = two_views
        self._items = items
        self._transform = transform
        self._count = count
        self._digests: dict[int, tuple[bytes, ...]] = {}

    def __call__(self, index: int, epoch: int, stream: Callable[[int], Generator]) -> list[list[ViewArray]]:
        """Decode the images and make the views of this epoch."""
        if index not in self._digests:
            self._digests[index] = tuple(map(image_digest, self._items.read(index)))
        images, digests = self._items.images(index), self._digests[index]
        return [
            [
                self._transform(image, generator_of_view(digest, number))
                for image, digest in zip(images, digests, strict=True)
            ]
            for number in view_numbers(epoch, self._count, two_views=self.two_views)
        ]


def view_numbers(epoch: int, count: int, *, two_views: bool) -> tuple[int, ...]:
    """Return which of `count` fixed views an epoch uses: number e modulo n, and for the teacher another one.

    Over the epochs each view of the student meets all others in turn.
    """
    first = epoch % count
    if not two_views:
        return (first,)
    return first, (first + 1 + epoch // count % (count - 1)) % count


def image_digest(data: bytes) -> bytes:
    """Hash the bytes of an image file, 16 bytes."""
    return blake2b(data, digest_size=16).digest()


def generator_of_view(digest: bytes, number: int) -> Generator:
    """Return the random numbers of a fixed view, which depend on the image's bytes and the view's number only."""
    return np.random.default_rng([*np.frombuffer(digest, "<u4").tolist(), number])
