"""Batches of each kind of items, and the collations that make them from the items drawn for a step.

A batch class is declared once. Worker processes send its tensors as arrays: as tensors they would occupy shared-memory
files, whose number is limited.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Generic, Protocol, Self, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from cbalign.data.arrays import IntArray
from cbalign.data.items import Item, Labelled, Pair, Question
from cbalign.data.kept_texts import KeptTexts
from cbalign.data.source import Source, images_of, known_target, origins_of
from cbalign.data.text import Tokenizer
from cbalign.data.views import ViewArray
from cbalign.errors import DataError

Array = NDArray[np.generic]
ItemT = TypeVar("ItemT", bound=Item)
BatchT_co = TypeVar("BatchT_co", bound="TensorBatch", covariant=True)


@dataclass(frozen=True, kw_only=True)
class TensorBatch:
    """The base of batches: B items on one device. All fields are tensors, or None.

    Where the features of a frozen image tower are kept, they take the place of images: (B, N, D) or (B, D) float16
    instead of (B, 3, H, W) uint8.
    """

    indices: Tensor  # (B,) int64: position of each item in its source, for messages

    def __len__(self) -> int:
        return len(self.indices)

    def to(self, device: torch.device) -> Self:
        """Return the batch on `device`."""
        moved = {
            name: tensor.to(device, non_blocking=True) for name, tensor in self._tensors().items() if tensor is not None
        }
        return replace(self, **moved)

    def __getstate__(self) -> dict[str, Array | None]:
        return {name: None if tensor is None else tensor.numpy() for name, tensor in self._tensors().items()}

    def __setstate__(self, state: dict[str, Array | None]) -> None:
        for name, array in state.items():
            object.__setattr__(self, name, None if array is None else torch.from_numpy(array))

    def _tensors(self) -> dict[str, Tensor | None]:
        return {field.name: getattr(self, field.name) for field in fields(self)}


@dataclass(frozen=True, kw_only=True)
class Batch(TensorBatch):
    """B image-text pairs. With n captions of each image, each of the B / n images is there once, its pairs in a row."""

    images: Tensor  # (B / n, 3, H, W) uint8
    teacher_images: Tensor | None  # (B / n, 3, H, W) uint8: a second augmentation, or None for the same view
    input_ids: Tensor  # (B, L) int64, padded to the longest caption
    attention_mask: Tensor  # (B, L) int64, 1 on tokens
    image_ids: Tensor  # (B,) int64: equal for captions of the same image
    text_features: Tensor | None = None  # (B, L, D) or pooled (B, D) float16, where those of a frozen tower are kept


@dataclass(frozen=True, kw_only=True)
class LabelledBatch(TensorBatch):
    """B texts with their classes, each about n images."""

    images: Tensor  # (B, n, 3, H, W) uint8
    teacher_images: Tensor | None  # (B, n, 3, H, W) uint8: a second augmentation, or None for the same view
    input_ids: Tensor  # (B, L) int64, padded to the longest text
    attention_mask: Tensor  # (B, L) int64, 1 on tokens
    labels: Tensor  # (B,) int64


@dataclass(frozen=True, kw_only=True)
class QuestionBatch(TensorBatch):
    """B questions with A answers in total."""

    images: Tensor  # (B, 3, H, W) uint8
    teacher_images: Tensor | None  # (B, 3, H, W) uint8: a second augmentation, or None for the same view
    input_ids: Tensor  # (B, L) int64, padded to the longest question
    attention_mask: Tensor  # (B, L) int64, 1 on tokens
    answer_ids: Tensor  # (A, M) int64, [CLS] answer [SEP], padded to the longest
    answer_mask: Tensor  # (A, M) int64, 1 on tokens
    answer_weights: Tensor  # (A,) float32: the share of annotators who gave the answer
    question_of_answer: Tensor  # (A,) int64, ascending


@dataclass(frozen=True)
class Drawn:
    """What was drawn for a step: the items, their augmented images, and generators for other random choices."""

    indices: IntArray  # (B,)
    images: ViewArray  # (B, n, 3, H, W) uint8, or kept features (B, n, …) float16
    teacher_images: ViewArray | None  # the second view
    generator: Callable[[int], np.random.Generator]  # of an item in this epoch


class Collation(Protocol[BatchT_co]):
    """Items with images, and the batches that are made of them."""

    @property
    def name(self) -> str:
        """The name of the source in messages."""

    def __len__(self) -> int:
        """Number of items."""

    def images(self, index: int) -> tuple[Image.Image, ...]:
        """Decode the images of item `index`, the same number for each item.

        Raises:
            DataError: an image cannot be read.
        """

    def read(self, index: int) -> tuple[bytes, ...]:
        """Read the image files of item `index`, or other bytes that determine its images.

        Raises:
            DataError: an image cannot be read.
        """

    def collate(self, drawn: Drawn) -> BatchT_co:
        """Make the batch of what was drawn.

        Raises:
            DataError: an item lacks what it is trained on.
        """


class ItemCollation(ABC, Generic[ItemT, BatchT_co]):
    """Makes batches from the items of a source; implements `Collation`.

    Args:
        source: the items.
        tokenizer: of their texts.
    """

    def __init__(self, source: Source[ItemT], tokenizer: Tokenizer) -> None:
        self._source = source
        self._tokenizer = tokenizer
        self.name = source.name

    def __len__(self) -> int:
        return len(self._source)

    def images(self, index: int) -> tuple[Image.Image, ...]:
        """Decode the images of item `index`."""
        return images_of(self._source, index)

    def read(self, index: int) -> tuple[bytes, ...]:
        """Read the image files of item `index`, or what its images are drawn from."""
        return origins_of(self._source, index)

    def collate(self, drawn: Drawn) -> BatchT_co:
        """Make the batch of what was drawn."""
        return self._collate([self._source.item(int(index)) for index in drawn.indices], drawn)

    @abstractmethod
    def _collate(self, items: list[ItemT], drawn: Drawn) -> BatchT_co:
        """Make the batch of items that were drawn."""


class PairCollation(ItemCollation[Pair, Batch]):
    """Images with some of their captions, chosen at random in each epoch.

    `texts` are the features of the captions, where those of a frozen text tower are kept.

    Args:
        source: the pairs.
        tokenizer: of their captions.
        captions: number n of captions of each image; images with fewer repeat theirs.
    """

    texts: KeptTexts | None = None

    def __init__(self, source: Source[Pair], tokenizer: Tokenizer, captions: int = 1) -> None:
        super().__init__(source, tokenizer)
        self._count = captions

    def _collate(self, items: list[Pair], drawn: Drawn) -> Batch:
        captions = [text for pair, index in zip(items, drawn.indices) for text in self._chosen(pair, int(index), drawn)]
        tokens = self._tokenizer.encode(captions)
        return Batch(
            indices=torch.from_numpy(np.repeat(drawn.indices, self._count)),
            images=_first(drawn.images),
            teacher_images=None if drawn.teacher_images is None else _first(drawn.teacher_images),
            input_ids=torch.from_numpy(tokens.input_ids),
            attention_mask=torch.from_numpy(tokens.attention_mask),
            image_ids=torch.from_numpy(np.repeat(np.array([pair.image_id for pair in items], np.int64), self._count)),
            text_features=None if self.texts is None else torch.from_numpy(self.texts.of(tokens)),
        )

    def _chosen(self, pair: Pair, index: int, drawn: Drawn) -> list[str]:
        known = pair.captions
        if self._count == 1:
            return [known[0] if len(known) == 1 else known[drawn.generator(index).integers(len(known))]]
        order = drawn.generator(index).permutation(len(known))
        return [known[order[i % len(known)]] for i in range(self._count)]


class LabelledCollation(ItemCollation[Labelled, LabelledBatch]):
    """Statements or premises with their classes."""

    def _collate(self, items: list[Labelled], drawn: Drawn) -> LabelledBatch:
        tokens = self._tokenizer.encode([item.text for item in items])
        labels = np.array([known_target(item, self._source) for item in items], np.int64)
        return LabelledBatch(
            indices=torch.from_numpy(drawn.indices),
            images=torch.from_numpy(drawn.images),
            teacher_images=None if drawn.teacher_images is None else torch.from_numpy(drawn.teacher_images),
            input_ids=torch.from_numpy(tokens.input_ids),
            attention_mask=torch.from_numpy(tokens.attention_mask),
            labels=torch.from_numpy(labels),
        )


class QuestionCollation(ItemCollation[Question, QuestionBatch]):
    """Questions with all their answers, weighted."""

    def _collate(self, items: list[Question], drawn: Drawn) -> QuestionBatch:
        for question in items:
            if not question.answers:
                raise DataError(
                    f"{self.name}: question {question.id} has no answers",
                    remedy="Secret answers cannot be trained on: set the source's annotations, or use another split.",
                )
        questions = self._tokenizer.encode([question.text for question in items])
        given = [answer for question in items for answer in question.answers]
        answers = self._tokenizer.encode_answers([answer.text for answer in given])
        question_of_answer = np.repeat(np.arange(len(items)), [len(question.answers) for question in items])
        return QuestionBatch(
            indices=torch.from_numpy(drawn.indices),
            images=_first(drawn.images),
            teacher_images=None if drawn.teacher_images is None else _first(drawn.teacher_images),
            input_ids=torch.from_numpy(questions.input_ids),
            attention_mask=torch.from_numpy(questions.attention_mask),
            answer_ids=torch.from_numpy(answers.input_ids),
            answer_mask=torch.from_numpy(answers.attention_mask),
            answer_weights=torch.from_numpy(np.array([answer.weight for answer in given], np.float32)),
            question_of_answer=torch.from_numpy(question_of_answer),
        )


def _first(images: ViewArray) -> Tensor:
    """Take the only image of each item: (B, 1, 3, H, W) to (B, 3, H, W)."""
    return torch.from_numpy(images[:, 0])
