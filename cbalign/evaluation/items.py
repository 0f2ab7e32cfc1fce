"""Going through the items of a source, batch by batch, shared between processes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from cbalign.data.arrays import PixelArray
from cbalign.data.corruption import UnreadableItems
from cbalign.data.image import prepare
from cbalign.data.items import Item
from cbalign.data.progress import ProgressCallback
from cbalign.data.source import Source, images_of
from cbalign.errors import DataError
from cbalign.evaluation.process_group import ProcessGroup, each_once

ItemT = TypeVar("ItemT", bound=Item)
R = TypeVar("R")


@dataclass(frozen=True)
class ItemResults(Generic[R]):
    """The results for the readable items: the position of each in the source, and its result."""

    positions: tuple[int, ...]
    findings: tuple[R, ...]
    skipped: int


def measure_items(
    source: Source[ItemT],
    judge: Callable[[PixelArray, Sequence[ItemT]], Sequence[R]],
    *,
    image_size: int,
    batch_size: int,
    corrupt_limit: float,
    report: ProgressCallback,
    process_group: ProcessGroup,
) -> ItemResults[R]:
    """Apply a model to every item whose images can be read.

    Batches, and therefore results, are the same for any number of processes.

    Args:
        source: the items.
        judge: returns a result for each of B items from prepared images (B, n, H, W, 3).
        image_size: side of the images in pixels.
        batch_size: items per call.
        corrupt_limit: share of the items that may have unreadable images; they are skipped.
        report: progress callback.
        process_group: the processes that share the work.

    Raises:
        DataError: too many images are unreadable.
    """
    unreadable = UnreadableItems(source, corrupt_limit)

    def each(start: int) -> tuple[list[int], list[R]]:
        stop = min(start + batch_size, len(source))
        positions, pixels = [], []
        for position in range(start, stop):
            try:
                pixels.append(np.stack([prepare(image, image_size) for image in images_of(source, position)]))
                positions.append(position)
            except DataError as error:
                unreadable.add(position, error.message)
        found = judge(np.stack(pixels), [source.item(p) for p in positions]) if pixels else ()
        report("items", stop, len(source))
        return positions, list(found)

    shares = each_once(each, range(0, len(source), batch_size), process_group)
    skipped = UnreadableItems(source, corrupt_limit)
    for one in process_group.collect(unreadable.found):
        skipped.merge(one)
    if process_group.rank == 0:
        skipped.log()
    positions = tuple(position for share, _ in shares for position in share)
    return ItemResults(positions, tuple(one for _, share in shares for one in share), skipped.count)
