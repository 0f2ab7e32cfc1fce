"""Apply a model to the items of a source, batch by batch, shared between processes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from cbalign.data.arrays import FloatArray, PixelArray
from cbalign.data.corruption import UnreadableItems
from cbalign.data.image import Preprocessing
from cbalign.data.inputs import model_inputs
from cbalign.data.items import Item
from cbalign.data.progress import ProgressCallback
from cbalign.data.source import Source
from cbalign.errors import DataError, DivergenceError
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
    preprocessing: Preprocessing,
    batch_size: int,
    corrupt_limit: float,
    report: ProgressCallback,
    process_group: ProcessGroup,
) -> ItemResults[R]:
    """Apply a model to every item whose images can be read.

    Batches, and therefore results, are the same for any number of processes.

    Args:
        source: the items.
        judge: returns a result for each of B items from prepared images (B, n, H, W, 3), or their features
            (B, n, N, D).
        preprocessing: how images become pixels.
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
                pixels.append(np.stack(model_inputs(source, position, preprocessing)))
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


def require_finite(values: FloatArray, name: str) -> None:
    """Refuse the output of a batch if it is not finite.

    Raises:
        DivergenceError: some value is infinite or not a number.
    """
    if not np.isfinite(values).all():
        raise DivergenceError(
            f"the {name} of a batch are not numbers",
            remedy="The weights are damaged or the precision overflows: use an earlier checkpoint, or fp32.",
        )


def hash_items(descriptions: Iterable[str]) -> str:
    """Return a fingerprint of items in their order, each described by one line of text."""
    digest = hashlib.sha256()
    for description in descriptions:
        digest.update(f"{description}\n".encode("utf-8", "replace"))
    return digest.hexdigest()[:16]
