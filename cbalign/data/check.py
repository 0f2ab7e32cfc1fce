"""Is the data of a spec usable? Every image of every split is opened, its content compared with that of all others."""

from __future__ import annotations

import warnings
from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from cbalign.data.caption_length import CaptionRuler, captions_per_image
from cbalign.data.distribution import Distribution
from cbalign.data.pairs import digest
from cbalign.data.progress import Report
from cbalign.data.source import PairSource
from cbalign.data.workers import ordered_map
from cbalign.encoders import IntArray
from cbalign.errors import DataError, MissingImageError

EXAMPLES = 5


@dataclass(frozen=True)
class Found:
    """How many there are of something, and the first few of them."""

    count: int
    examples: tuple[str, ...] = ()


@dataclass(frozen=True)
class CaptionFindings:
    """What was found out about the captions of a split; of tokens nothing (None) without a tokenizer."""

    count: int
    empty: Found
    cut_by_max_words: int
    cut_by_max_tokens: int | None


@dataclass(frozen=True)
class SplitFindings:
    """What was found out about one split.

    `duplicates` counts images that show, pixel by pixel, what an earlier image shows that the lists call another.
    `unreadable_pairs` counts the entries whose image is missing or corrupt.
    """

    source: str
    pairs: int
    images: int
    captions_per_image: Distribution
    captions: CaptionFindings
    missing: Found
    corrupt: Found
    duplicates: Found
    unreadable_pairs: int

    def exceeds(self, corrupt_limit: float) -> bool:
        """Whether training, which counts pairs, or evaluation, which counts images, would stop."""
        unreadable = self.missing.count + self.corrupt.count
        return unreadable > int(corrupt_limit * self.images) or self.unreadable_pairs > int(corrupt_limit * self.pairs)


@dataclass(frozen=True)
class Shared:
    """Images of one split that another split has, too, by their pixels."""

    first: str
    second: str
    images: Found


@dataclass(frozen=True)
class DataFindings:
    """What was found out about all splits of a spec."""

    splits: Mapping[str, SplitFindings]
    shared: tuple[Shared, ...]
    corrupt_limit: float

    @property
    def problems(self) -> tuple[str, ...]:
        """What keeps the data from being used as it is: too much unreadable, or training images in an evaluation."""
        too_many = [
            f"{split}: {found.missing.count:,} images are missing and {found.corrupt.count:,} corrupt, "
            f"more than the share that data.corrupt_limit allows ({self.corrupt_limit:g})"
            for split, found in self.splits.items()
            if found.exceeds(self.corrupt_limit)
        ]
        leaks = [
            f"{shared.second}: {shared.images.count:,} of its images are in {shared.first}, too"
            for shared in self.shared
            if shared.first == "train" and shared.images.count
        ]
        return (*too_many, *leaks)


def check_data(
    sources: Mapping[str, PairSource], ruler: CaptionRuler, *, corrupt_limit: float, workers: int, report: Report
) -> DataFindings:
    """Open everything, with the memory of a few numbers per image.

    Args:
        sources: by the name of their split, `train` first.
        ruler: of captions.
        corrupt_limit: share of the images that may be unreadable.
        workers: processes that open images; 0 is this one.
        report: told of progress.

    Raises:
        DataError: a worker was killed.
    """
    inspected = {split: _inspect(split, source, workers, report) for split, source in sources.items()}
    findings = {split: _findings(sources[split], images, ruler) for split, images in inspected.items()}
    shared = [
        Shared(first, second, _shared(sources, inspected, first, second)) for first, second in combinations(sources, 2)
    ]
    return DataFindings(findings, tuple(shared), corrupt_limit)


@dataclass(frozen=True)
class _Images:
    """The image files of a split: which entry showed each first, and what is in it (0 for nothing readable)."""

    entries: IntArray  # (F,)
    image_ids: IntArray  # (F,)
    contents: NDArray[np.uint64]  # (F,)
    file_of_entry: IntArray  # (entries,)
    missing: Found
    corrupt: Found


@dataclass(frozen=True)
class _Opened:
    """One image: a digest of its pixels, or why there is none."""

    content: int
    message: str = ""
    is_missing: bool = False


class _Open:
    """Opens images of a source, here or in a worker."""

    def __init__(self, source: PairSource) -> None:
        self._source = source

    def __call__(self, entry: int) -> _Opened:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's, about damage that it can live with
            try:
                image = self._source.load(entry)
            except DataError as error:
                return _Opened(0, error.message, isinstance(error, MissingImageError))
        pixels = blake2b(repr(image.size).encode(), digest_size=8)
        pixels.update(image.tobytes())
        return _Opened(int.from_bytes(pixels.digest(), "little") or 1)


def _inspect(split: str, source: PairSource, workers: int, report: Report) -> _Images:
    """Open every image file of a source once."""
    keys, ids = array("Q"), array("q")
    for index in range(len(source)):
        entry = source.entry(index)
        keys.append(digest(f"{entry.image_id} {entry.image_key}"))
        ids.append(entry.image_id)
    _, first, file_of_entry = np.unique(np.frombuffer(keys, np.uint64), return_index=True, return_inverse=True)
    contents = np.zeros(len(first), np.uint64)
    missing, corrupt = _Collected(), _Collected()
    # In the order of the list, in which disks and shards have them.
    order = np.argsort(first)
    for done, opened in enumerate(ordered_map(_Open(source), map(int, first[order]), workers)):
        contents[order[done]] = opened.content
        if not opened.content:
            (missing if opened.is_missing else corrupt).add(opened.message)
        report(f"{split} images", done + 1, len(first))
    image_ids = np.frombuffer(ids, np.int64)[first]
    return _Images(first, image_ids, contents, file_of_entry, missing.found(), corrupt.found())


class _Collected:
    """Counts things and keeps the first few."""

    def __init__(self) -> None:
        self._count = 0
        self._examples: list[str] = []

    def add(self, example: str) -> None:
        self._count += 1
        if len(self._examples) < EXAMPLES:
            self._examples.append(example)

    def found(self) -> Found:
        return Found(self._count, tuple(self._examples))


def _findings(source: PairSource, images: _Images, ruler: CaptionRuler) -> SplitFindings:
    empty = _Collected()
    captions = too_many_words = too_many_tokens = 0
    for index in range(len(source)):
        entry = source.entry(index)
        for caption in entry.captions:
            length = ruler.measure(caption)
            captions += 1
            too_many_words += length.loses_words
            too_many_tokens += length.loses_tokens or False
            if not length.words:
                empty.add(f"{entry.image_key}: {caption!r}")
    per_image = captions_per_image(source)
    return SplitFindings(
        source=source.describe(),
        pairs=len(source),
        images=per_image.count,
        captions_per_image=per_image,
        captions=CaptionFindings(
            captions, empty.found(), too_many_words, None if ruler.tokenizer is None else too_many_tokens
        ),
        missing=images.missing,
        corrupt=images.corrupt,
        duplicates=_duplicates(source, images),
        unreadable_pairs=int((images.contents[images.file_of_entry] == 0).sum()),
    )


def _duplicates(source: PairSource, images: _Images) -> Found:
    """Images with the pixels of an earlier image of another number."""
    readable = np.flatnonzero(images.contents)
    order = readable[np.lexsort((images.entries[readable], images.contents[readable]))]
    contents, ids = images.contents[order], images.image_ids[order]
    starts = np.flatnonzero(np.r_[True, contents[1:] != contents[:-1]]) if len(order) else np.empty(0, np.int64)
    sizes = np.diff(np.r_[starts, len(order)])
    collected = _Collected()
    for start, size in zip(starts[sizes > 1], sizes[sizes > 1]):
        seen = {int(ids[start])}
        original = source.entry(int(images.entries[order[start]])).image_key
        for at in range(start + 1, start + size):
            if int(ids[at]) not in seen:
                seen.add(int(ids[at]))
                collected.add(f"{source.entry(int(images.entries[order[at]])).image_key} is {original}")
    return collected.found()


def _shared(sources: Mapping[str, PairSource], images: Mapping[str, _Images], first: str, second: str) -> Found:
    ours, theirs = images[first], images[second]
    common = np.flatnonzero((theirs.contents != 0) & np.isin(theirs.contents, ours.contents))
    examples = []
    for position in common[np.argsort(theirs.entries[common])][:EXAMPLES]:
        twin = int(np.flatnonzero(ours.contents == theirs.contents[position])[0])
        names = (_name(sources[second], theirs, int(position)), _name(sources[first], ours, twin))
        examples.append(f"{second} {names[0]} is {first} {names[1]}")
    return Found(len(np.unique(theirs.image_ids[common])), tuple(examples))


def _name(source: PairSource, images: _Images, position: int) -> str:
    return source.entry(int(images.entries[position])).image_key
