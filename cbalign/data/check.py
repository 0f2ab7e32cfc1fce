"""Check that the data of a spec can be used: decode every image of every split, and find equal ones."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from cbalign.data.arrays import IntArray
from cbalign.data.caption_length import CaptionRuler
from cbalign.data.corruption import allowed_items
from cbalign.data.distribution import Distribution
from cbalign.data.items import Item
from cbalign.data.progress import ProgressCallback
from cbalign.data.source import Source
from cbalign.data.source_images import SourceImages
from cbalign.data.workers import ordered_map
from cbalign.errors import DataError, MissingImageError

EXAMPLES = 5


@dataclass(frozen=True)
class Found:
    """A number of findings, and the first few of them."""

    count: int
    examples: tuple[str, ...] = ()


@dataclass(frozen=True)
class CaptionFindings:
    """Findings about the texts of a split; None for tokens without a tokenizer."""

    count: int
    empty: Found
    cut_by_max_words: int
    cut_by_max_tokens: int | None


@dataclass(frozen=True)
class SplitFindings:
    """Findings about one split.

    `duplicates` counts images with the pixels of an earlier, different image of the lists. `unreadable_items` counts
    the items with a missing or corrupt image.
    """

    source: str
    items: int
    images: int
    captions_per_image: Distribution
    captions: CaptionFindings
    missing: Found
    corrupt: Found
    duplicates: Found
    unreadable_items: int

    def exceeds(self, corrupt_limit: float) -> bool:
        """Check whether training and evaluation would stop."""
        return self.unreadable_items > allowed_items(corrupt_limit, self.items)


@dataclass(frozen=True)
class Shared:
    """Images of one split that are also in another, by their pixels."""

    first: str
    second: str
    images: Found


@dataclass(frozen=True)
class DataFindings:
    """Findings about all splits of a spec."""

    splits: Mapping[str, SplitFindings]
    shared: tuple[Shared, ...]
    corrupt_limit: float

    @property
    def problems(self) -> tuple[str, ...]:
        """Reasons why the data cannot be used: too many unreadable images, or training images in another split."""
        too_many = [
            f"{split}: {found.unreadable_items:,} of {found.items:,} items have unreadable images "
            f"({found.missing.count:,} missing, {found.corrupt.count:,} corrupt), "
            f"{allowed_items(self.corrupt_limit, found.items):,} are allowed "
            f"(data.corrupt_limit: {self.corrupt_limit:g})"
            for split, found in self.splits.items()
            if found.exceeds(self.corrupt_limit)
        ]
        leaks = [
            f"{shared.second}: {shared.images.count:,} of its images are also in {shared.first}"
            for shared in self.shared
            if shared.first == "train" and shared.images.count
        ]
        return (*too_many, *leaks)


def check_data(
    sources: Mapping[str, Source[Item]],
    ruler: CaptionRuler,
    *,
    corrupt_limit: float,
    workers: int,
    report: ProgressCallback,
) -> DataFindings:
    """Decode all images and measure all texts; stores a few numbers per image.

    Args:
        sources: by split, `train` first.
        ruler: measures texts.
        corrupt_limit: share of the items that may have an unreadable image.
        workers: processes that decode images; 0 for this one.
        report: progress callback.

    Raises:
        DataError: a worker was killed.
    """
    inspected = {split: _inspect(split, source, workers, report) for split, source in sources.items()}
    findings = {split: _findings(images, ruler) for split, images in inspected.items()}
    shared = [Shared(first, second, _shared(inspected, first, second)) for first, second in combinations(sources, 2)]
    return DataFindings(findings, tuple(shared), corrupt_limit)


@dataclass(frozen=True)
class _Images:
    """The image files of a split, in order of their hashes; `contents` are hashes of pixels, 0 if unreadable."""

    all: SourceImages
    first: IntArray  # (F,) the number in `all` at which each file appears first
    contents: NDArray[np.uint64]  # (F,)
    file_of_image: IntArray  # (N,)
    missing: Found
    corrupt: Found

    @property
    def ids(self) -> IntArray:
        """Identities (F,) of the images."""
        return self.all.image_ids[self.first]

    def name(self, file: int) -> str:
        """Return the name of a file."""
        return self.all.key(int(self.first[file]))


@dataclass(frozen=True)
class _Opened:
    """A hash of the pixels of an image, or the reason why it cannot be read."""

    content: int
    message: str = ""
    is_missing: bool = False


class _Open:
    """Decodes images of a source, here or in a worker."""

    def __init__(self, images: SourceImages) -> None:
        self._images = images

    def __call__(self, number: int) -> _Opened:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's, about damage that it tolerates
            try:
                image = self._images.open(number)
            except DataError as error:
                return _Opened(0, error.message, isinstance(error, MissingImageError))
        pixels = blake2b(repr(image.size).encode(), digest_size=8)
        pixels.update(image.tobytes())
        return _Opened(int.from_bytes(pixels.digest(), "little") or 1)


def _inspect(split: str, source: Source[Item], workers: int, report: ProgressCallback) -> _Images:
    """Decode every image file of a source once."""
    images = SourceImages.of(source)
    _, first, file_of_image = np.unique(images.files, return_index=True, return_inverse=True)
    contents = np.zeros(len(first), np.uint64)
    missing, corrupt = _Collected(), _Collected()
    # In the order of the list, which is that on disks and in shards.
    order = np.argsort(first)
    for done, opened in enumerate(ordered_map(_Open(images), map(int, first[order]), workers)):
        contents[order[done]] = opened.content
        if not opened.content:
            (missing if opened.is_missing else corrupt).add(opened.message)
        report(f"{split} images", done + 1, len(first))
    return _Images(images, first, contents, file_of_image, missing.found(), corrupt.found())


class _Collected:
    """Counts findings and stores the first few."""

    def __init__(self) -> None:
        self._count = 0
        self._examples: list[str] = []

    def add(self, example: str) -> None:
        self._count += 1
        if len(self._examples) < EXAMPLES:
            self._examples.append(example)

    def found(self) -> Found:
        return Found(self._count, tuple(self._examples))


def _findings(images: _Images, ruler: CaptionRuler) -> SplitFindings:
    source = images.all.source
    per_image = images.all.texts_per_image()
    unreadable = images.contents[images.file_of_image] == 0
    return SplitFindings(
        source=source.describe(),
        items=len(source),
        images=per_image.count,
        captions_per_image=per_image,
        captions=_captions(source, ruler),
        missing=images.missing,
        corrupt=images.corrupt,
        duplicates=_duplicates(images),
        unreadable_items=len(np.unique(images.all.items[unreadable])),
    )


def _captions(source: Source[Item], ruler: CaptionRuler) -> CaptionFindings:
    empty = _Collected()
    captions = too_many_words = too_many_tokens = 0
    for index in range(len(source)):
        item = source.item(index)
        for caption in item.texts:
            length = ruler.measure(caption)
            captions += 1
            too_many_words += length.loses_words
            too_many_tokens += length.loses_tokens or False
            if not length.words:
                empty.add(f"{item.image_keys[0]}: {caption!r}")
    return CaptionFindings(
        captions, empty.found(), too_many_words, None if ruler.tokenizer is None else too_many_tokens
    )


def _duplicates(images: _Images) -> Found:
    """Find images with the pixels of an earlier image of another identity."""
    readable = np.flatnonzero(images.contents)
    order = readable[np.lexsort((images.first[readable], images.contents[readable]))]
    contents, ids = images.contents[order], images.ids[order]
    starts = np.flatnonzero(np.r_[True, contents[1:] != contents[:-1]]) if len(order) else np.empty(0, np.int64)
    sizes = np.diff(np.r_[starts, len(order)])
    collected = _Collected()
    for start, size in zip(starts[sizes > 1], sizes[sizes > 1]):
        seen = {int(ids[start])}
        original = images.name(order[start])
        for at in range(start + 1, start + size):
            if int(ids[at]) not in seen:
                seen.add(int(ids[at]))
                collected.add(f"{images.name(order[at])} is {original}")
    return collected.found()


def _shared(images: Mapping[str, _Images], first: str, second: str) -> Found:
    ours, theirs = images[first], images[second]
    common = np.flatnonzero((theirs.contents != 0) & np.isin(theirs.contents, ours.contents))
    examples = []
    for file in common[np.argsort(theirs.first[common])][:EXAMPLES]:
        twin = int(np.flatnonzero(ours.contents == theirs.contents[file])[0])
        examples.append(f"{second} {theirs.name(file)} is {first} {ours.name(twin)}")
    return Found(len(np.unique(theirs.ids[common])), tuple(examples))
