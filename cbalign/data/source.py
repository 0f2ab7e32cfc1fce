"""Where pairs come from: one protocol, one function that opens a source by its spec section, and its gallery."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from PIL import Image

from cbalign.data.sections.drawings import OpenMojiSource, ScenesSource
from cbalign.data.sections.pairs import CsvSource, JsonSource, KarpathySource, ShardSource
from cbalign.encoders import IntArray
from cbalign.errors import UsageError
from cbalign.experiment.data import Source
from cbalign.parts import ItemKind, SourceSection

_FINGERPRINTED = 100_000  # entries; reading all of many millions would delay every start


@dataclass(frozen=True)
class Entry:
    """One image and what is said of it.

    `image_key` names the image for people and stays the same from run to run; `image_id` is equal exactly for the
    entries of a source that show the same image.
    """

    image_key: str
    captions: tuple[str, ...]
    image_id: int


class PairSource(Protocol):
    """A list of images with captions. Knows nothing of tensors, order or augmentation."""

    @property
    def name(self) -> str:
        """What messages and tables call the source."""

    def __len__(self) -> int:
        """Number of entries."""

    def entry(self, index: int) -> Entry:
        """What entry `index` says; cheap, reads no image."""

    def load(self, index: int) -> Image.Image:
        """The image of entry `index`, RGB.

        Raises:
            MissingImageError: it is not there.
            DataError: it is corrupt; the message names file and entry.
        """

    def describe(self) -> str:
        """One line for logs: the name, how many pairs, from where."""


class StoredSource(PairSource, Protocol):
    """A list of pairs whose images are files."""

    def read(self, index: int) -> bytes:
        """The image file of entry `index`.

        Raises:
            DataError: as `load`, but for what only decoding finds.
        """


@dataclass(frozen=True)
class Gallery:
    """What retrieval ranks: each image of a source once, and every caption.

    `image_entries` (I,) holds the first entry of each image, `caption_image` (T,) the position in it of the image
    that each of the `captions` belongs to.
    """

    image_entries: IntArray
    captions: tuple[str, ...]
    caption_image: IntArray


def gallery(source: PairSource) -> Gallery:
    """The unique images of a source, in order of appearance, and all its captions."""
    position: dict[int, int] = {}
    first: list[int] = []
    captions: list[str] = []
    owner: list[int] = []
    for index in range(len(source)):
        entry = source.entry(index)
        if entry.image_id not in position:
            position[entry.image_id] = len(first)
            first.append(index)
        captions.extend(entry.captions)
        owner.extend([position[entry.image_id]] * len(entry.captions))
    return Gallery(np.array(first, np.int64), tuple(captions), np.array(owner, np.int64))


def captions_of(source: PairSource) -> Iterator[str]:
    """Every caption of every entry."""
    for index in range(len(source)):
        yield from source.entry(index).captions


def source_fingerprint(source: PairSource) -> str:
    """Equal for sources of as many entries with the same image names and captions, in the same order.

    Of a source with more than `_FINGERPRINTED` entries, so many are looked at, evenly spread.
    """

    def told(index: int) -> tuple[str, ...]:
        entry = source.entry(index)
        return (entry.image_key, *entry.captions)

    return fingerprint(len(source), told)


def fingerprint(length: int, told: Callable[[int], tuple[str, ...]]) -> str:
    """Equal for lists of as many entries that tell the same, in the same order."""
    digest = hashlib.sha256(f"{length}\n".encode())
    for index in range(0, length, max(1, -(-length // _FINGERPRINTED))):
        digest.update("\t".join(told(index)).encode("utf-8", "replace") + b"\n")
    return digest.hexdigest()[:16]


def open_source(section: Source) -> StoredSource:
    """Open the source of pairs that a spec section describes.

    Raises:
        DataError: a file is missing, malformed or empty.
        UsageError: the source has no pairs.
        MissingExtraError: the source needs packages that are not installed.
    """
    match section:
        case OpenMojiSource():
            from cbalign.data.openmoji import OpenMoji

            return OpenMoji(split=section.split, render_size=section.render_size)
        case ScenesSource():
            from cbalign.data.scenes.source import Scenes

            return Scenes(section.split, section.size, render_size=section.render_size, seed=section.seed)
        case JsonSource():
            from cbalign.data.json_pairs import open_json

            return open_json(section.files, section.root)
        case CsvSource():
            from cbalign.data.csv_pairs import open_csv

            return open_csv(
                section.files,
                section.root,
                image=section.image,
                caption=section.caption,
                delimiter=section.delimiter,
            )
        case KarpathySource():
            from cbalign.data.karpathy import open_karpathy

            return open_karpathy(section.file, section.root, split=section.split, entries=section.entries)
        case ShardSource():
            from cbalign.data.shards import Shards

            return Shards(section.shards)
        case _:
            raise other_items(section, "pairs")


def other_items(section: SourceSection, wanted: ItemKind) -> UsageError:
    """What to raise where a source has other items than are wanted."""
    name = getattr(section, "source", type(section).__name__)
    return UsageError(
        f"source {name} has {' and '.join(section.items)}, not {wanted}",
        remedy=f"This works on {wanted}: name a split or a spec whose source has them.",
    )


class FirstEntries:
    """The beginning of a source; keeps `PairSource`.

    Args:
        source: the whole.
        limit: number of entries.
    """

    def __init__(self, source: PairSource, limit: int) -> None:
        self._source = source
        self._length = min(limit, len(source))
        self.name = source.name if self._length == len(source) else f"{source.name}, first {limit} entries"

    def __len__(self) -> int:
        return self._length

    def entry(self, index: int) -> Entry:
        """What entry `index` says."""
        return self._source.entry(index)

    def load(self, index: int) -> Image.Image:
        """The image of entry `index`."""
        return self._source.load(index)

    def describe(self) -> str:
        """One line for logs."""
        return self.name
