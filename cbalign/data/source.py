"""Sources of data: the protocol that all of them implement, and what can be done with any of them.

A source is a list of items. It knows nothing of tensors, order or augmentation.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, TypeVar, cast, overload, runtime_checkable

import numpy as np
from PIL import Image

from cbalign.data.arrays import IntArray
from cbalign.data.items import Item, Labelled, Pair, Premise, Question, Statement
from cbalign.errors import DataError, UsageError
from cbalign.experiment.unions import usable
from cbalign.parts import ItemKind, SourceSection
from cbalign.parts.origin import origin_of_module
from cbalign.parts.part import describe
from cbalign.parts.registry import SOURCES
from cbalign.parts.results import require_built, require_members, require_texts, require_type

ItemT_co = TypeVar("ItemT_co", bound=Item, covariant=True)

_MEMBERS = ("name", "__len__", "item", "images", "read", "describe")
_ITEM_MEMBERS = ("image_keys", "image_ids", "text", "texts", "outputs")
_FINGERPRINTED = 100_000  # items; reading all of many millions would delay every start


class Source(Protocol[ItemT_co]):
    """A list of items. `images` and `read` return one image per name in an item's `image_keys`, in that order."""

    @property
    def name(self) -> str:
        """The name of the source in messages and tables."""

    def __len__(self) -> int:
        """Number of items."""

    def item(self, index: int) -> ItemT_co:
        """Return item `index`; cheap, reads no image."""

    def images(self, index: int) -> tuple[Image.Image, ...]:
        """Decode the images of item `index`, RGB.

        Raises:
            MissingImageError: an image does not exist.
            DataError: an image is corrupt; the message names file and entry.
        """

    def read(self, index: int) -> tuple[bytes, ...]:
        """Read the image files of item `index`; PNG if the images are not files.

        Raises:
            DataError: as `images`, except for damage that only decoding finds.
        """

    def describe(self) -> str:
        """Describe the source in one line for logs: name, number of items, location."""


@runtime_checkable
class SeparateImages(Protocol):
    """A source whose items have several images, and that can decode one of them alone."""

    def image(self, index: int, position: int) -> Image.Image:
        """Decode one image of item `index`; raises what `Source.images` raises."""


@runtime_checkable
class DrawnImages(Protocol):
    """A source that draws its images, and can say from what without drawing them."""

    def origins(self, index: int) -> tuple[bytes, ...]:
        """Return what each image of item `index` is drawn from: equal bytes give equal images."""


def origins_of(source: Source[Item], index: int) -> tuple[bytes, ...]:
    """Return bytes that determine the images of an item: what they are drawn from, or their files.

    Raises what `Source.read` raises.
    """
    return source.origins(index) if isinstance(source, DrawnImages) else source.read(index)


def image_of(source: Source[Item], index: int, position: int) -> Image.Image:
    """Decode one image of an item, alone where the source can: a damaged image then does not affect the others."""
    if isinstance(source, SeparateImages):
        return source.image(index, position)
    return images_of(source, index)[position]


@overload
def open_source(section: SourceSection, items: Literal["pairs"]) -> Source[Pair]: ...
@overload
def open_source(section: SourceSection, items: Literal["questions"]) -> Source[Question]: ...
@overload
def open_source(section: SourceSection, items: Literal["statements"]) -> Source[Statement]: ...
@overload
def open_source(section: SourceSection, items: Literal["premises"]) -> Source[Premise]: ...
@overload
def open_source(section: SourceSection, items: ItemKind) -> Source[Item]: ...
def open_source(section: SourceSection, items: ItemKind) -> Source[Item]:
    """Open the source that a section of a spec describes.

    Args:
        section: the section.
        items: the kind of items to read.

    Raises:
        DataError: a file is missing, malformed or empty.
        UsageError: the source has no items of this kind.
        MissingExtraError: the source needs packages that are not installed.
        PartError: the source is of a plug-in that cannot be used.
    """
    if items not in section.items:
        raise UsageError(
            f"source {section.part_name()} has {' and '.join(section.items)}, not {items}",
            remedy=f"Name a split, or a spec, whose source has {items}.",
        )
    source: Source[Item] = section.build(items)
    require_built(section, source, _MEMBERS)
    require_texts(section, "data_sets", section.data_sets())
    if len(source):
        _check_item(source, source.item(0))
    return source


def _check_item(source: Source[Item], item: Item) -> None:
    """Check an item of a source, before all of them are read."""
    require_members(source, "item", item, _ITEM_MEMBERS)
    for name in ("image_keys", "texts", "outputs"):
        require_texts(item, name, getattr(item, name))


def images_of(source: Source[Item], index: int) -> tuple[Image.Image, ...]:
    """Decode the images of item `index`; raises what `Source.images` raises.

    Raises:
        PartError: the source is of a plug-in and does not return a tuple.
    """
    images = source.images(index)
    require_type(source, "images", images, tuple)
    return images


def source_of_file(path: Path, items: ItemKind) -> SourceSection:
    """Find the source that reads a file of this kind of items, with the images in the file's folder.

    Sources of other distributions are asked first.

    Raises:
        UsageError: no source reads such a file, or those of several distributions do.
        PartError: `of_file` of a source returns something else than a section.
    """
    found: list[SourceSection] = []
    for section in usable(SOURCES).values():
        read = cast(type[SourceSection], section).of_file(path, items)
        if read is not None:
            require_type(section, "of_file", read, SourceSection)
            found.append(read)
    foreign = [section for section in found if origin_of_module(type(section).__module__) is not None]
    if len(foreign) > 1:
        raise UsageError(
            f"{path}: several sources read such a file: {', '.join(describe(type(each)) for each in foreign)}",
            remedy="Describe the file as data.test in a spec, with the source that you mean.",
        )
    if found:
        return (*foreign, *found)[0]
    raise UsageError(
        f"{path}: no source reads {items} from a {path.suffix or 'file without suffix'}",
        remedy="Describe the file as data.test in a spec and evaluate on that split, or convert it to JSON.",
    )


@dataclass(frozen=True)
class Gallery:
    """The candidates of retrieval: each image of a source once, and every caption.

    Args:
        image_entries: (I,) index of the first pair that shows each image.
        captions: T captions.
        caption_image: (T,) position in `image_entries` of the image that each caption belongs to.
        pairs_of_image: (I,) number of pairs that show each image.
    """

    image_entries: IntArray
    captions: tuple[str, ...]
    caption_image: IntArray
    pairs_of_image: IntArray


def gallery(source: Source[Pair]) -> Gallery:
    """Collect the distinct images of a source, in order of appearance, and all its captions."""
    position: dict[int, int] = {}
    first: list[int] = []
    pairs: list[int] = []
    captions: list[str] = []
    owner: list[int] = []
    for index in range(len(source)):
        pair = source.item(index)
        image = position.setdefault(pair.image_id, len(first))
        if image == len(first):
            first.append(index)
            pairs.append(0)
        pairs[image] += 1
        captions.extend(pair.captions)
        owner.extend([image] * len(pair.captions))
    return Gallery(np.array(first, np.int64), tuple(captions), np.array(owner, np.int64), np.array(pairs, np.int64))


def texts_of(source: Source[Item]) -> Iterator[str]:
    """Iterate over all texts of a source, answers and labels included, to train a vocabulary."""
    for index in range(len(source)):
        item = source.item(index)
        yield from item.texts
        yield from item.outputs


def fingerprint(source: Source[Item]) -> str:
    """Hash a source: equal for the same number of items with the same image names and texts, in the same order.

    At most `_FINGERPRINTED` items are read, evenly spaced.
    """
    digest = hashlib.sha256(f"{len(source)}\n".encode())
    for index in range(0, len(source), max(1, -(-len(source) // _FINGERPRINTED))):
        item = source.item(index)
        content = (*item.image_keys, *item.texts, *item.outputs)
        digest.update("\t".join(content).encode("utf-8", "replace") + b"\n")
    return digest.hexdigest()[:16]


def known_target(item: Labelled, source: Source[Labelled]) -> int:
    """Return the class of an item of a source, for training or evaluation.

    Raises:
        DataError: the label is secret.
    """
    if item.target is None:
        raise DataError(
            f"{source.name}: {item.id} has no label",
            remedy="Secret labels of a test set cannot be trained on or evaluated: use a split that has labels.",
        )
    return item.target
