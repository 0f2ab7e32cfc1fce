"""Which pairs a step sees and what they look like: a function of (seed, step) alone, whoever computes it.

The order of an epoch depends on (seed, epoch), everything random about a sample on (seed, epoch, index). So batches
are the same for any number of workers and processes, and training can start at any step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import TypeAlias

import numpy as np
from PIL import Image

from cbalign.data.corruption import check_unreadable
from cbalign.data.source import PairSource
from cbalign.data.text import Tokenizer
from cbalign.encoders import IntArray, PixelArray
from cbalign.errors import DataError

View: TypeAlias = Callable[[Image.Image, np.random.Generator], PixelArray]


@dataclass(frozen=True)
class ArrayBatch:
    """A batch as arrays, fields as in `cbalign.data.batch.Batch`; `unreadable` tells why an entry was replaced."""

    images: PixelArray  # (B, 3, H, W)
    teacher_images: PixelArray | None  # (B, 3, H, W)
    input_ids: IntArray  # (B, L)
    attention_mask: IntArray  # (B, L)
    image_ids: IntArray  # (B,)
    indices: IntArray  # (B,)
    unreadable: Mapping[int, str]


class _Purpose(IntEnum):
    """Keeps the random streams of one sample apart."""

    STUDENT_VIEW = 0
    TEACHER_VIEW = 1
    CAPTION = 2
    REPLACEMENT = 3
    ORDER = 4


class Sampler:
    """Builds this rank's part of the global batch of any step.

    Args:
        source: the pairs.
        tokenizer: of the text tower.
        view: from an image to (H, W, 3) pixels.
        two_views: whether the teacher gets a second view.
        batch_size: pairs per rank.
        seed: of order, captions and views.
        corrupt_limit: share of the pairs whose images may be unreadable.
        rank: which slice of the global batch is ours.
        world_size: number of ranks.

    Raises:
        DataError: the source has fewer pairs than one global batch.
    """

    def __init__(
        self,
        source: PairSource,
        tokenizer: Tokenizer,
        view: View,
        *,
        two_views: bool,
        batch_size: int,
        seed: int,
        corrupt_limit: float,
        rank: int,
        world_size: int,
    ) -> None:
        self._source = source
        self._tokenizer = tokenizer
        self._view = view
        self._two_views = two_views
        self._batch_size = batch_size
        self._global_batch_size = batch_size * world_size
        self._seed = seed
        self._corrupt_limit = corrupt_limit
        self._rank = rank
        self._order: tuple[int, IntArray] | None = None
        self.steps_per_epoch = len(source) // self._global_batch_size
        if self.steps_per_epoch == 0:
            several = f" ({batch_size} on each of {world_size} processes)" if world_size > 1 else ""
            raise DataError(
                f"{source.name} has {len(source):,} pairs, fewer than one batch of "
                f"{self._global_batch_size:,}{several}",
                remedy=f"Set train.batch_size to at most {max(1, len(source) // world_size)}.",
            )

    def build(self, step: int) -> ArrayBatch:
        """This rank's pairs of step `step`, counted from the start of training.

        Raises:
            DataError: more images of this one batch are unreadable than the whole source may have.
        """
        epoch, position = divmod(step, self.steps_per_epoch)
        start = position * self._global_batch_size + self._rank * self._batch_size
        unreadable: dict[int, str] = {}
        indices: list[int] = []
        views: list[list[PixelArray]] = [[] for _ in range(2 if self._two_views else 1)]
        for drawn in self._epoch_order(epoch)[start : start + self._batch_size]:
            index, image = self._load(epoch, int(drawn), unreadable)
            indices.append(index)
            for purpose, pixels in enumerate(views):
                pixels.append(self._view(image, self._generator(epoch, index, purpose)))
        entries = [self._source.entry(index) for index in indices]
        captions = [self._choose(entry.captions, epoch, index) for entry, index in zip(entries, indices)]
        tokens = self._tokenizer.encode(captions)
        return ArrayBatch(
            images=_channels_first(views[0]),
            teacher_images=_channels_first(views[1]) if self._two_views else None,
            input_ids=tokens.input_ids,
            attention_mask=tokens.attention_mask,
            image_ids=np.array([entry.image_id for entry in entries], np.int64),
            indices=np.array(indices, np.int64),
            unreadable=unreadable,
        )

    def check(self, unreadable: Mapping[int, str]) -> None:
        """Compare what was found unreadable so far with the limit.

        Raises:
            DataError: too much; the message gives the count and the first few.
        """
        check_unreadable(self._source, len(unreadable), unreadable.values(), self._corrupt_limit)

    def _load(self, epoch: int, index: int, unreadable: dict[int, str]) -> tuple[int, Image.Image]:
        """The image of an entry, or of the first readable one of a random sequence that the entry determines."""
        substitutes: np.random.Generator | None = None
        wanted = index
        while True:
            try:
                return index, self._source.load(index)
            except DataError as error:
                unreadable[index] = error.message
                self.check(unreadable)
                if len(unreadable) == len(self._source):
                    raise DataError(f"{self._source.name}: no image can be read; {error.message}") from error
            if substitutes is None:
                substitutes = self._generator(epoch, wanted, _Purpose.REPLACEMENT)
            index = int(substitutes.integers(len(self._source)))

    def _choose(self, captions: tuple[str, ...], epoch: int, index: int) -> str:
        if len(captions) == 1:
            return captions[0]
        return captions[self._generator(epoch, index, _Purpose.CAPTION).integers(len(captions))]

    def _epoch_order(self, epoch: int) -> IntArray:
        if self._order is None or self._order[0] != epoch:
            shuffled = self._generator(epoch, 0, _Purpose.ORDER).permutation(len(self._source))
            self._order = (epoch, shuffled.astype(np.int64, copy=False))
        return self._order[1]

    def _generator(self, epoch: int, index: int, purpose: int) -> np.random.Generator:
        return np.random.default_rng([self._seed, epoch, index, purpose])


def _channels_first(views: list[PixelArray]) -> PixelArray:
    height, width, channels = views[0].shape
    stacked = np.empty((len(views), channels, height, width), np.uint8)
    for row, view in enumerate(views):
        stacked[row] = view.transpose(2, 0, 1)
    return stacked
