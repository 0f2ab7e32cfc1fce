"""What a model reads of the images of an item: prepared pixels, or features that were computed before."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from cbalign.data.image import Preprocessing, prepare
from cbalign.data.items import Item
from cbalign.data.source import Source, images_of
from cbalign.data.views import ViewArray


@runtime_checkable
class HasFeatures(Protocol):
    """A source whose images were encoded by the image tower before."""

    def features(self, index: int) -> list[ViewArray]:
        """Return the features of each image of item `index`; raises what `Source.images` raises."""


def model_inputs(source: Source[Item], index: int, preprocessing: Preprocessing) -> list[ViewArray]:
    """Return what a model reads of each image of an item.

    Args:
        source: the items.
        index: of the item.
        preprocessing: how the images become pixels.

    Returns:
        For each image (size, size, 3) uint8; or features, (N, D) or (D,) float16, if the source has them.

    Raises:
        DataError: an image cannot be read.
    """
    if isinstance(source, HasFeatures):
        return source.features(index)
    return [prepare(image, preprocessing) for image in images_of(source, index)]
