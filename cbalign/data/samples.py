"""The batch of any training step, as a function of (seed, step) alone.

The order of an epoch depends on (seed, epoch), everything random about an item on (seed, epoch, index). So batches
are the same for any number of workers and processes, and training can resume at any step.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from functools import partial
from typing import Generic, TypeVar

import numpy as np

from cbalign.data.arrays import IntArray
from cbalign.data.batch import Collation, Drawn, TensorBatch
from cbalign.data.corruption import Unreadable, UnreadableItems
from cbalign.data.views import ItemViews, ViewArray
from cbalign.errors import DataError

BatchT = TypeVar("BatchT", bound=TensorBatch)


@dataclass(frozen=True)
class BuiltBatch(Generic[BatchT]):
    """A batch, and the unreadable items that others replace in it, by index."""

    batch: BatchT
    unreadable: Mapping[int, Unreadable]


class _Purpose(IntEnum):
    """The random streams of one item; those of views are counted from 0, see `cbalign.data.views`."""

    STUDENT_VIEW = 0
    TEACHER_VIEW = 1
    CHOICE = 2
    REPLACEMENT = 3
    ORDER = 4


class Sampler(Generic[BatchT]):
    """Builds this rank's slice of the global batch of any step.

    Args:
        collation: makes batches from the items of a source.
        views: the images of items as a step reads them.
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
        views: ItemViews,
        *,
        batch_size: int,
        seed: int,
        corrupt_limit: float,
        rank: int,
        world_size: int,
    ) -> None:
        self._collation = collation
        self.views = views
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
        views: list[list[list[ViewArray]]] = [[] for _ in range(2 if self.views.two_views else 1)]
        for drawn in self._epoch_order(epoch)[start : start + self._batch_size]:
            index, found = self._load(epoch, int(drawn), unreadable)
            indices.append(index)
            for batch_of_view, images in zip(views, found, strict=True):
                batch_of_view.append(images)
        batch = self._collation.collate(
            Drawn(
                indices=np.array(indices, np.int64),
                images=_stacked(views[0]),
                teacher_images=_stacked(views[1]) if self.views.two_views else None,
                generator=lambda index: self._generator(epoch, index, _Purpose.CHOICE),
            )
        )
        return BuiltBatch(batch, unreadable.found)

    def no_unreadable(self) -> UnreadableItems:
        """Start counting the unreadable items of the source."""
        return UnreadableItems(self._collation, self._corrupt_limit)

    def _load(self, epoch: int, index: int, unreadable: UnreadableItems) -> tuple[int, list[list[ViewArray]]]:
        """Return the views of an item, or of the first readable one in a random sequence determined by the item."""
        substitutes: np.random.Generator | None = None
        wanted = index
        while True:
            try:
                return index, self.views(index, epoch, partial(self._generator, epoch, index))
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


def _stacked(views: list[list[ViewArray]]) -> ViewArray:
    """Stack B lists of n views into one array: pixels (H, W, 3) to (B, n, 3, H, W), features to (B, n, …)."""
    first = views[0][0]
    if first.ndim < 3:
        return np.stack([np.stack(images) for images in views])
    height, width, channels = first.shape
    stacked = np.empty((len(views), len(views[0]), channels, height, width), first.dtype)
    for row, images in enumerate(views):
        for column, view in enumerate(images):
            stacked[row, column] = view.transpose(2, 0, 1)
    return stacked
