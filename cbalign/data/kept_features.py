"""The features of a source's images, as training and evaluation read them in place of pixels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from cbalign.data.feature_store import FeatureStore
from cbalign.data.items import Item
from cbalign.data.source import Source, origins_of
from cbalign.data.views import ViewArray, image_digest, view_numbers
from cbalign.data.wrapped_source import WrappedSource
from cbalign.errors import DataError

ItemT = TypeVar("ItemT", bound=Item)


@dataclass(frozen=True)
class ImageDigests:
    """The digests of the images of each item of a source; of unreadable items, the reason instead.

    Args:
        items: the digest of each image, by item.
        unreadable: the reasons, by item.
    """

    items: tuple[tuple[bytes, ...], ...]
    unreadable: Mapping[int, str]

    @classmethod
    def of(cls, source: Source[Item], indices: Sequence[int]) -> ImageDigests:
        """Read the image files of some items, or what their images are drawn from."""
        digests: list[tuple[bytes, ...]] = []
        unreadable: dict[int, str] = {}
        for index in indices:
            try:
                digests.append(tuple(map(image_digest, origins_of(source, index))))
            except DataError as error:
                digests.append(())
                unreadable[index] = error.message
        return cls(tuple(digests), unreadable)


@dataclass(frozen=True)
class KeptFeatures:
    """The features of the images of a source, by item.

    Args:
        store: where they are.
        digests: of the images.
        damaged: why an image cannot be decoded, by digest.
    """

    store: FeatureStore
    digests: ImageDigests
    damaged: Mapping[bytes, str]

    def of(self, index: int, view: int) -> list[ViewArray]:
        """Return the features of one view of each image of an item.

        Raises:
            DataError: an image is unreadable.
        """
        if index in self.digests.unreadable:
            raise DataError(self.digests.unreadable[index])
        found = self.digests.items[index]
        for digest in found:
            if digest in self.damaged:
                raise DataError(self.damaged[digest])
        return [self.store[digest, view] for digest in found]


@dataclass(frozen=True)
class KeptViews:
    """Views whose features are kept; implements `cbalign.data.views.ItemViews`.

    Args:
        features: of the training data.
        count: number of views of an image.
        two_views: whether the teacher gets another view than the student.
    """

    features: KeptFeatures
    count: int
    two_views: bool

    def __call__(self, index: int, epoch: int, stream: Callable[[int], np.random.Generator]) -> list[list[ViewArray]]:
        """Read the features of the views of this epoch."""
        return [self.features.of(index, view) for view in view_numbers(epoch, self.count, two_views=self.two_views)]


class SourceWithFeatures(WrappedSource[ItemT], Generic[ItemT]):
    """A source with the features of its images, without augmentation; implements `cbalign.data.inputs.HasFeatures`.

    Args:
        source: the items.
        features: of their images.
    """

    def __init__(self, source: Source[ItemT], features: KeptFeatures) -> None:
        super().__init__(source)
        self._features = features

    def features(self, index: int) -> list[ViewArray]:
        """Return the features of each image of item `index`."""
        return self._features.of(index, 0)
