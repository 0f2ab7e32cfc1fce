"""The batch of any training step, as a function of (seed, step) alone.

The order of an epoch depends on (seed, epoch), everything random about an item on (seed, epoch, index). So batches
are the same for any number of workers and processes, and training can resume at any step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Generic, TypeAlias, TypeVar

import numpy as np
from PIL import Image

from cbalign.data.arrays import IntArray, PixelArray
from cbalign.data.batch import Collation, Drawn, TensorBatch
from cbalign.data.corruption import Unreadable, UnreadableItems
from cbalign.errors import DataError

BatchT = TypeVar("BatchT", bound=TensorBatch)
View: TypeAlias = Callable[[Image.Image, np.random.Generator], PixelArray]


@dataclass(frozen=True)
class BuiltBatch(Generic[BatchT]):
    """A batch, and the unreadable items that others replace in it, by index."""

    batch: BatchT
    unreadable: Mapping[int, Unreadable]


class _Purpose(IntEnum):
    """The random streams of one item."""

    STUDENT_VIEW = 0
    TEACHER_VIEW = 1
    CHOICE = 2
    REPLACEMENT = 3
    ORDER = 4


_SECOND_IMAGE = 16  # added to the purpose of a view for each image of an item after the first


class Sampler(Generic[BatchT]):
    """Builds this rank's slice of the global batch of any step.

    Args:
        collation: makes batches from the items of a source.
        view: from an image to (H, W, 3) pixels.
        two_views: whether the teacher gets a second view.
        batch_size: items per rank.
        seed: of order, choices and views.
        corrupt_limit: share of the items whose images may be unreadable.
        rank: this process among those that train together.
        world_size: number of these processes.

    Raises:
        DataError: there are fewer items than one global batch.
    """

    def __init__(
        self,
        collation: Collation[BatchT],
        view: View,
        *,
        two_views: bool,
        batch_size: int,
        seed: int,
        corrupt_limit: float,
        rank: int,
        world_size: int,
    ) -> None:
        self._collation = collation
        self._view = view
        self._two_views = two_views
        self._batch_size = batch_size
        self._global_batch_size = batch_size * world_size
        self._seed = seed
        self._corrupt_limit = corrupt_limit
        self._rank = rank
        self._order: tuple[int, IntArray] | None = None
        self.steps_per_epoch = len(collation) // self._global_batch_size
        if self.steps_per_epoch == 0:
            several = f" ({batch_size} on each of {world_size} processes)" if world_size > 1 else ""
            raise DataError(
                f"{collation.name} has {len(collation):,} items, fewer than one batch of "
                f"{self._global_batch_size:,}{several}",
                remedy=f"Set train.batch_size to at most {max(1, len(collation) // world_size)}.",
            )

    def build(self, step: int) -> BuiltBatch[BatchT]:
        """Build this rank's batch of step `step`, counted from the start of training.

        Raises:
            DataError: more images are unreadable in this batch than are allowed in the whole source.
        """
        epoch, position = divmod(step, self.steps_per_epoch)
        start = position * self._global_batch_size + self._rank * self._batch_size
        unreadable = self.no_unreadable()
        indices: list[int] = []
        views: list[list[list[PixelArray]]] = [[] for _ in range(2 if self._two_views else 1)]
        for drawn in self._epoch_order(epoch)[start : start + self._batch_size]:
            index, images = self._load(epoch, int(drawn), unreadable)
            indices.append(index)
            for purpose, pixels in enumerate(views):
                pixels.append(
                    [
                        self._view(image, self._generator(epoch, index, purpose + _SECOND_IMAGE * i))
                        for i, image in enumerate(images)
                    ]
                )
        batch = self._collation.collate(
            Drawn(
                indices=np.array(indices, np.int64),
                images=_channels_first(views[0]),
                teacher_images=_channels_first(views[1]) if self._two_views else None,
                generator=lambda index: self._generator(epoch, index, _Purpose.CHOICE),
            )
        )
        return BuiltBatch(batch, unreadable.found)

    def no_unreadable(self) -> UnreadableItems:
        """Start counting the unreadable items of the source."""
        return UnreadableItems(self._collation, self._corrupt_limit)

    def _load(self, epoch: int, index: int, unreadable: UnreadableItems) -> tuple[int, tuple[Image.Image, ...]]:
        """Decode the images of an item, or of the first readable one in a random sequence determined by the item."""
        substitutes: np.random.Generator | None = None
        wanted = index
        while True:
            try:
                return index, self._collation.images(index)
            except DataError as error:
                unreadable.add(index, error.message)
            if substitutes is None:
                substitutes = self._generator(epoch, wanted, _Purpose.REPLACEMENT)
            index = int(substitutes.integers(len(self._collation)))

    def _epoch_order(self, epoch: int) -> IntArray:
        if self._order is None or self._order[0] != epoch:
            shuffled = self._generator(epoch, 0, _Purpose.ORDER).permutation(len(self._collation))
            self._order = (epoch, shuffled.astype(np.int64, copy=False))
        return self._order[1]

    def _generator(self, epoch: int, index: int, purpose: int) -> np.random.Generator:
        return np.random.default_rng([self._seed, epoch, index, purpose])


def _channels_first(views: list[list[PixelArray]]) -> PixelArray:
    """Stack B lists of n views (H, W, 3) into one array (B, n, 3, H, W)."""
    height, width, channels = views[0][0].shape
    stacked = np.empty((len(views), len(views[0]), channels, height, width), np.uint8)
    for row, images in enumerate(views):
        for column, view in enumerate(images):
            stacked[row, column] = view.transpose(2, 0, 1)
    return stacked
