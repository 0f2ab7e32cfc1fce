"""What tasks other than alignment learn from: questions, statements, premises, and where they come from.

A source is a list of items; each item has one or two images and a text. Sources know nothing of tensors, order or
augmentation. An item's answer is None, or its answers are none, where a test set keeps it secret.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from PIL import Image

from cbalign.data.source import fingerprint
from cbalign.errors import DataError

ENTAILMENT_LABELS = ("contradiction", "neutral", "entailment")
"""The classes of entailment, in the order of the model's logits (ALBEF's)."""

STATEMENT_LABELS = ("False", "True")
"""The classes of statements about two images, in the order of the model's logits."""


@dataclass(frozen=True)
class Answer:
    """An answer to a question: what weight its loss has, and how many annotators gave it in just these words."""

    text: str
    weight: float  # share of the annotators; 0.5 for Visual Genome's one answer (ALBEF)
    count: int


@dataclass(frozen=True)
class Question:
    """A question about an image. `answers` are different texts, in the order in which they first appear."""

    id: int | str  # as in the file: results for EvalAI repeat it
    image_key: str
    text: str
    answers: tuple[Answer, ...]
    answer_type: str | None = None  # VQA v2's: `yes/no`, `number`, `other`
    question_type: str | None = None  # VQA v2's: the words that it begins with

    @property
    def image_keys(self) -> tuple[str, ...]:
        """Names of the images, for people."""
        return (self.image_key,)

    @property
    def told(self) -> tuple[str, ...]:
        """All that the item says, for fingerprints and vocabularies."""
        return (self.text, *(answer.text for answer in self.answers))


@dataclass(frozen=True)
class Statement:
    """A statement about two images, true or false.

    Statements of one `group` are the same sentence about other images: a model is consistent where it is right about
    all of them (NLVR2).
    """

    id: str
    image_keys: tuple[str, str]  # the first is the left one
    text: str
    label: bool | None
    group: str

    @property
    def target(self) -> int | None:
        """The class."""
        return None if self.label is None else int(self.label)

    @property
    def told(self) -> tuple[str, ...]:
        """All that the item says."""
        return (self.text, str(self.label))


@dataclass(frozen=True)
class Premise:
    """An image, and a text that it entails, contradicts, or says nothing about."""

    id: str
    image_key: str
    text: str
    label: str | None  # one of ENTAILMENT_LABELS

    @property
    def image_keys(self) -> tuple[str, ...]:
        """Names of the images, for people."""
        return (self.image_key,)

    @property
    def target(self) -> int | None:
        """The class."""
        return None if self.label is None else ENTAILMENT_LABELS.index(self.label)

    @property
    def group(self) -> str:
        """Premises are measured one by one."""
        return self.id

    @property
    def told(self) -> tuple[str, ...]:
        """All that the item says."""
        return (self.text, str(self.label))


class Item(Protocol):
    """What is common to all items."""

    @property
    def image_keys(self) -> tuple[str, ...]:
        """Names of its images, for people; the same from run to run."""

    @property
    def text(self) -> str:
        """The question, statement or hypothesis."""

    @property
    def told(self) -> tuple[str, ...]:
        """All that the item says, for fingerprints and vocabularies."""


class Labelled(Item, Protocol):
    """An item of one of several classes: a statement or a premise."""

    @property
    def id(self) -> str:
        """Its name in the file, or its number."""

    @property
    def target(self) -> int | None:
        """The class, in the order of the logits; None where it is not known."""

    @property
    def group(self) -> str:
        """Equal for items that are to be right together."""


ItemT = TypeVar("ItemT", bound=Item)
ItemT_co = TypeVar("ItemT_co", bound=Item, covariant=True)


class ItemSource(Protocol[ItemT_co]):
    """A list of items. `images` and `read` give as many as an item has `image_keys`, in their order."""

    @property
    def name(self) -> str:
        """What messages and tables call the source."""

    def __len__(self) -> int:
        """Number of items."""

    def item(self, index: int) -> ItemT_co:
        """What item `index` says; cheap, reads no image."""

    def images(self, index: int) -> tuple[Image.Image, ...]:
        """The images of item `index`, RGB.

        Raises:
            MissingImageError: one is not there.
            DataError: one is corrupt; the message names file and entry.
        """

    def read(self, index: int) -> tuple[bytes, ...]:
        """The image files of item `index`; made up, as PNG, where the images are not files.

        Raises:
            DataError: as `images`, but for what only decoding finds.
        """

    def describe(self) -> str:
        """One line for logs: the name, how many items, from where."""


def texts_of(source: ItemSource[Item]) -> Iterator[str]:
    """Everything that is said in a source, for a vocabulary."""
    for index in range(len(source)):
        item = source.item(index)
        yield item.text
        yield from item.told[1:]


def item_fingerprint(source: ItemSource[Item]) -> str:
    """Equal for sources of as many items with the same image names and texts, in the same order.

    Of a source with very many items, some are looked at, evenly spread.
    """
    return fingerprint(len(source), lambda index: (*source.item(index).image_keys, *source.item(index).told))


def known_target(item: Labelled, source: ItemSource[Labelled]) -> int:
    """The class of an item that is trained on or measured.

    Raises:
        DataError: it is not known.
    """
    if item.target is None:
        raise DataError(
            f"{source.name}: {item.id} has no label",
            remedy="Labels of a secret test set cannot be trained on or measured: name a split that has them.",
        )
    return item.target


class FirstItems(Generic[ItemT]):
    """The beginning of a source; keeps `ItemSource`.

    Args:
        source: the whole.
        limit: number of items.
    """

    def __init__(self, source: ItemSource[ItemT], limit: int) -> None:
        self._source = source
        self._length = min(limit, len(source))
        self.name = source.name if self._length == len(source) else f"{source.name}, first {limit} items"

    def __len__(self) -> int:
        return self._length

    def item(self, index: int) -> ItemT:
        """What item `index` says."""
        return self._source.item(index)

    def images(self, index: int) -> tuple[Image.Image, ...]:
        """The images of item `index`."""
        return self._source.images(index)

    def read(self, index: int) -> tuple[bytes, ...]:
        """The image files of item `index`."""
        return self._source.read(index)

    def describe(self) -> str:
        """One line for logs."""
        return self.name
