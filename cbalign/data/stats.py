"""Statistics of the data of a spec: lengths of texts, sizes of images, words and how the vocabulary covers them."""

from __future__ import annotations

import io
import warnings
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from PIL import Image

from cbalign.data.caption_length import CaptionRuler
from cbalign.data.distribution import Distribution
from cbalign.data.items import Item
from cbalign.data.progress import ProgressCallback
from cbalign.data.source import Source
from cbalign.data.source_images import SourceImages
from cbalign.data.text import Tokenizer
from cbalign.data.workers import ordered_map

_SIDES_SWAPPED = (5, 6, 7, 8)  # EXIF orientations that rotate by a quarter turn
_ORIENTATION = 0x0112


@dataclass(frozen=True)
class ImageSizes:
    """Sides in pixels of the images that were sampled, and how many of these cannot be read."""

    looked_at: int
    unreadable: int
    width: Distribution | None
    height: Distribution | None
    smaller: int  # whose shorter side is less than the image size of the spec


@dataclass(frozen=True)
class Words:
    """The distinct normalised words of a split, and how the vocabulary and the training texts cover them.

    Shares are of all occurrences. What needs a tokenizer is None without one.
    """

    occurrences: int
    distinct: int
    one_token: float | None  # share of the words that are one token
    unknown: float | None  # share of the words with an [UNK] in them
    vocabulary: int | None  # size
    vocabulary_used: int | None  # number of its tokens that occur
    unseen: float | None  # share of the words that no training text has; None for train itself


@dataclass(frozen=True)
class SplitStatistics:
    """Statistics of one split."""

    source: str
    items: int
    captions: int
    captions_per_image: Distribution
    words: Distribution
    tokens: Distribution | None
    vocabulary: Words
    sizes: ImageSizes


def describe_data(
    sources: Mapping[str, Source[Item]],
    ruler: CaptionRuler,
    *,
    image_size: int,
    sample: int,
    workers: int,
    report: ProgressCallback,
) -> dict[str, SplitStatistics]:
    """Measure each split.

    Args:
        sources: by split, `train` first.
        ruler: measures texts.
        image_size: of the spec, in pixels.
        sample: number of images to measure, evenly spaced; 0 for all.
        workers: processes that read images; 0 for this one.
        report: progress callback.

    Raises:
        DataError: a worker was killed.
    """
    found: dict[str, SplitStatistics] = {}
    trained: set[str] | None = None
    for split, source in sources.items():
        words, lengths, tokens = _read_captions(split, source, ruler, report)
        measured = Distribution.of(lengths)
        assert measured is not None, "a source has at least one text"
        images = SourceImages.of(source)
        found[split] = SplitStatistics(
            source=source.describe(),
            items=len(source),
            captions=measured.count,
            captions_per_image=images.texts_per_image(),
            words=measured,
            tokens=Distribution.of(tokens),
            vocabulary=_cover(words, ruler.tokenizer, trained if split != "train" else None),
            sizes=_sizes(split, images, image_size, sample, workers, report),
        )
        if split == "train":
            trained = set(words)
    return found


def _read_captions(
    split: str, source: Source[Item], ruler: CaptionRuler, report: ProgressCallback
) -> tuple[Counter[str], Counter[int], Counter[int]]:
    """Count words, and texts by their number of words and of tokens."""
    words: Counter[str] = Counter()
    lengths: Counter[int] = Counter()
    tokens: Counter[int] = Counter()
    for index in range(len(source)):
        for caption in source.item(index).texts:
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


def _sizes(
    split: str, images: SourceImages, image_size: int, sample: int, workers: int, report: ProgressCallback
) -> ImageSizes:
    first = np.sort(np.unique(images.image_ids, return_index=True)[1])
    if sample and sample < len(first):
        first = first[np.linspace(0, len(first) - 1, sample).round().astype(int)]
    widths: Counter[int] = Counter()
    heights: Counter[int] = Counter()
    unreadable = smaller = 0
    for done, size in enumerate(ordered_map(_Measure(images), map(int, first), workers)):
        if size is None:
            unreadable += 1
        else:
            widths[size[0]] += 1
            heights[size[1]] += 1
            smaller += min(size) < image_size
        report(f"{split} images", done + 1, len(first))
    return ImageSizes(len(first), unreadable, Distribution.of(widths), Distribution.of(heights), smaller)


class _Measure:
    """Reads width and height of images from their headers, here or in a worker; None if unreadable."""

    def __init__(self, images: SourceImages) -> None:
        self._images = images

    def __call__(self, number: int) -> tuple[int, int] | None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's, about damage that it tolerates
            try:
                with Image.open(io.BytesIO(self._images.read(number))) as image:
                    width, height = image.size
                    turned = image.getexif().get(_ORIENTATION) in _SIDES_SWAPPED
            except Exception:  # Pillow's decoders raise nearly anything on damaged files
                return None
        return (height, width) if turned else (width, height)
