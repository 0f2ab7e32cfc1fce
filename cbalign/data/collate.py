"""From the items that a step drew to the arrays of its batch, one class per kind of item. Without torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from PIL import Image

from cbalign.data.items import Item, ItemSource, Labelled, known_target
from cbalign.data.source import PairSource
from cbalign.data.text import Tokenizer
from cbalign.encoders import IntArray, PixelArray


@dataclass(frozen=True)
class Drawn:
    """What a step drew: which items, their images as augmented, and random numbers for other choices."""

    indices: IntArray  # (B,)
    images: PixelArray  # (B, n, 3, H, W)
    teacher_images: PixelArray | None  # the second view of the same
    generator: Callable[[int], np.random.Generator]  # of an item, for what it leaves to chance in this epoch


@dataclass(frozen=True, kw_only=True)
class ArrayBatch:
    """The base of batches as arrays; fields as those of the `TensorBatch` that is made of it."""

    indices: IntArray  # (B,)


class Collation(Protocol):
    """One kind of item, as batches are built of it."""

    @property
    def name(self) -> str:
        """What messages call the source."""

    def __len__(self) -> int:
        """Number of items."""

    def images(self, index: int) -> tuple[Image.Image, ...]:
        """The images of item `index`, as many for each.

        Raises:
            DataError: one cannot be read.
        """

    def collate(self, drawn: Drawn) -> ArrayBatch:
        """The batch of what was drawn."""


@dataclass(frozen=True, kw_only=True)
class PairArrays(ArrayBatch):
    """`cbalign.data.batch.Batch` as arrays."""

    images: PixelArray  # (B, 3, H, W)
    teacher_images: PixelArray | None  # (B, 3, H, W)
    input_ids: IntArray  # (B, L)
    attention_mask: IntArray  # (B, L)
    image_ids: IntArray  # (B,)


class PairCollation:
    """Images with one of their captions, drawn anew in each epoch."""

    def __init__(self, source: PairSource, tokenizer: Tokenizer) -> None:
        self._source = source
        self._tokenizer = tokenizer
        self.name = source.name

    def __len__(self) -> int:
        return len(self._source)

    def images(self, index: int) -> tuple[Image.Image, ...]:
        """The image of pair `index`."""
        return (self._source.load(index),)

    def collate(self, drawn: Drawn) -> PairArrays:
        """A batch of pairs."""
        entries = [self._source.entry(int(index)) for index in drawn.indices]
        captions = [
            entry.captions[0]
            if len(entry.captions) == 1
            else entry.captions[drawn.generator(int(index)).integers(len(entry.captions))]
            for entry, index in zip(entries, drawn.indices)
        ]
        tokens = self._tokenizer.encode(captions)
        return PairArrays(
            indices=drawn.indices,
            images=drawn.images[:, 0],
            teacher_images=None if drawn.teacher_images is None else drawn.teacher_images[:, 0],
            input_ids=tokens.input_ids,
            attention_mask=tokens.attention_mask,
            image_ids=np.array([entry.image_id for entry in entries], np.int64),
        )


class ItemCollation:
    """The part of a collation that is the same for every kind of item."""

    def __init__(self, source: ItemSource[Item]) -> None:
        self._items = source
        self.name = source.name

    def __len__(self) -> int:
        return len(self._items)

    def images(self, index: int) -> tuple[Image.Image, ...]:
        """The images of item `index`."""
        return self._items.images(index)


@dataclass(frozen=True, kw_only=True)
class LabelledArrays(ArrayBatch):
    """`cbalign.data.batch.LabelledBatch` as arrays."""

    images: PixelArray  # (B, n, 3, H, W)
    teacher_images: PixelArray | None  # (B, n, 3, H, W)
    input_ids: IntArray  # (B, L)
    attention_mask: IntArray  # (B, L)
    labels: IntArray  # (B,)


class LabelledCollation(ItemCollation):
    """Statements or premises with their classes."""

    def __init__(self, source: ItemSource[Labelled], tokenizer: Tokenizer) -> None:
        super().__init__(source)
        self._source = source
        self._tokenizer = tokenizer

    def collate(self, drawn: Drawn) -> LabelledArrays:
        """A batch of labelled texts.

        Raises:
            DataError: an item has no label.
        """
        items = [self._source.item(int(index)) for index in drawn.indices]
        tokens = self._tokenizer.encode([item.text for item in items])
        return LabelledArrays(
            indices=drawn.indices,
            images=drawn.images,
            teacher_images=drawn.teacher_images,
            input_ids=tokens.input_ids,
            attention_mask=tokens.attention_mask,
            labels=np.array([known_target(item, self._source) for item in items], np.int64),
        )
