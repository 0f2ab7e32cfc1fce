"""What the data of a spec is like: lengths of captions, sizes of images, words and how the vocabulary covers them."""

from __future__ import annotations

import io
import warnings
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from PIL import Image

from cbalign.data.caption_length import CaptionRuler, captions_per_image
from cbalign.data.distribution import Distribution
from cbalign.data.progress import Report
from cbalign.data.source import StoredSource
from cbalign.data.text import Tokenizer
from cbalign.data.workers import ordered_map
from cbalign.encoders import IntArray

_SIDES_SWAPPED = (5, 6, 7, 8)  # EXIF orientations that turn by a quarter
_ORIENTATION = 0x0112


@dataclass(frozen=True)
class ImageSizes:
    """Sides in pixels of the images that were looked at, and how many of these could not be read."""

    looked_at: int
    unreadable: int
    width: Distribution | None
    height: Distribution | None
    smaller: int  # whose shorter side is less than the image size of the spec


@dataclass(frozen=True)
class Words:
    """The distinct normalised words of a split, and how the vocabulary and the training captions cover them.

    Shares are of all words, each counted as often as it occurs. What needs a tokenizer is None without one.
    """

    occurrences: int
    distinct: int
    one_token: float | None  # share of the words that are one token
    unknown: float | None  # share of the words with an [UNK] in them
    vocabulary: int | None  # size
    vocabulary_used: int | None  # how many of its tokens occur
    unseen: float | None  # share of the words that no training caption has; None for train itself


@dataclass(frozen=True)
class SplitStatistics:
    """What one split is like."""

    source: str
    pairs: int
    captions: int
    captions_per_image: Distribution
    words: Distribution
    tokens: Distribution | None
    vocabulary: Words
    sizes: ImageSizes


def describe_data(
    sources: Mapping[str, StoredSource],
    ruler: CaptionRuler,
    *,
    image_size: int,
    sample: int,
    workers: int,
    report: Report,
) -> dict[str, SplitStatistics]:
    """Describe each split.

    Args:
        sources: by the name of their split, `train` first.
        ruler: of captions.
        image_size: of the spec, in pixels.
        sample: how many images to look at, spread evenly; 0 looks at all.
        workers: processes that look at images; 0 is this one.
        report: told of progress.

    Raises:
        DataError: a worker was killed.
    """
    found: dict[str, SplitStatistics] = {}
    trained: set[str] | None = None
    for split, source in sources.items():
        words, lengths, tokens = _read_captions(split, source, ruler, report)
        measured = Distribution.of(lengths)
        assert measured is not None, "a source has at least one caption"
        found[split] = SplitStatistics(
            source=source.describe(),
            pairs=len(source),
            captions=measured.count,
            captions_per_image=captions_per_image(source),
            words=measured,
            tokens=Distribution.of(tokens),
            vocabulary=_cover(words, ruler.tokenizer, trained if split != "train" else None),
            sizes=_sizes(split, source, image_size, sample, workers, report),
        )
        if split == "train":
            trained = set(words)
    return found


def _read_captions(
    split: str, source: StoredSource, ruler: CaptionRuler, report: Report
) -> tuple[Counter[str], Counter[int], Counter[int]]:
    """How often each word occurs, and how many captions have how many words and tokens."""
    words: Counter[str] = Counter()
    lengths: Counter[int] = Counter()
    tokens: Counter[int] = Counter()
    for index in range(len(source)):
        for caption in source.entry(index).captions:
            length = ruler.measure(caption)
            words.update(length.words)
            lengths[len(length.words)] += 1
            if length.tokens is not None:
                tokens[length.tokens] += 1
        report(f"{split} captions", index + 1, len(source))
    return words, lengths, tokens


def _cover(words: Counter[str], tokenizer: Tokenizer | None, trained: set[str] | None) -> Words:
    total = words.total()
    unseen = None
    if trained is not None:
        unseen = _share(sum(times for word, times in words.items() if word not in trained), total)
    if tokenizer is None:
        return Words(total, len(words), None, None, None, None, unseen)
    one_token = unknown = 0
    used: set[int] = set()
    for word, times in words.items():
        ids = tokenizer.word_ids(word)
        used.update(ids)
        one_token += times * (len(ids) == 1 and ids[0] != tokenizer.unk_id)
        unknown += times * (tokenizer.unk_id in ids)
    return Words(
        occurrences=total,
        distinct=len(words),
        one_token=_share(one_token, total),
        unknown=_share(unknown, total),
        vocabulary=tokenizer.vocabulary_size,
        vocabulary_used=len(used - {tokenizer.unk_id}),
        unseen=unseen,
    )


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def _sizes(split: str, source: StoredSource, image_size: int, sample: int, workers: int, report: Report) -> ImageSizes:
    first = _first_entries(source)
    if sample and sample < len(first):
        first = first[np.linspace(0, len(first) - 1, sample).round().astype(int)]
    widths: Counter[int] = Counter()
    heights: Counter[int] = Counter()
    unreadable = smaller = 0
    for done, size in enumerate(ordered_map(_Measure(source), map(int, first), workers)):
        if size is None:
            unreadable += 1
        else:
            widths[size[0]] += 1
            heights[size[1]] += 1
            smaller += min(size) < image_size
        report(f"{split} images", done + 1, len(first))
    return ImageSizes(len(first), unreadable, Distribution.of(widths), Distribution.of(heights), smaller)


def _first_entries(source: StoredSource) -> IntArray:
    ids = np.fromiter((source.entry(index).image_id for index in range(len(source))), np.int64, len(source))
    return np.sort(np.unique(ids, return_index=True)[1])


class _Measure:
    """Width and height of images from their headers alone, here or in a worker; None where there is none."""

    def __init__(self, source: StoredSource) -> None:
        self._source = source

    def __call__(self, entry: int) -> tuple[int, int] | None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's, about damage that it can live with
            try:
                with Image.open(io.BytesIO(self._source.read(entry))) as image:
                    width, height = image.size
                    turned = image.getexif().get(_ORIENTATION) in _SIDES_SWAPPED
            except Exception:  # Pillow's decoders raise nearly anything on damaged files
                return None
        return (height, width) if turned else (width, height)
