"""How long captions are in words and tokens, which of them the limits of a spec cut, and how many an image has."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from cbalign.data.distribution import Distribution
from cbalign.data.source import PairSource
from cbalign.data.text import TextSettings, Tokenizer, normalise_caption

_REMEMBERED_WORDS = 1 << 18


@dataclass(frozen=True)
class CaptionLength:
    """Of one caption: its normalised words, its tokens before any cut ([CLS] included), and what is cut.

    Of tokens nothing is known (None) without a tokenizer.
    """

    words: tuple[str, ...]
    tokens: int | None
    loses_words: bool  # more than max_words
    loses_tokens: bool | None  # its words, cut already, are more than max_tokens


class CaptionRuler:
    """Measures captions as a tokenizer would cut them; each word is looked up once, as WordPiece sees words alone.

    Args:
        settings: the limits.
        tokenizer: None measures words only.
    """

    def __init__(self, settings: TextSettings, tokenizer: Tokenizer | None) -> None:
        self.settings = settings
        self._frame = 1 + settings.closing_sep
        self.tokenizer = tokenizer
        self._word_ids = None if tokenizer is None else lru_cache(_REMEMBERED_WORDS)(tokenizer.word_ids)

    def measure(self, caption: str) -> CaptionLength:
        """Measure one caption as people write it."""
        normal = normalise_caption(caption, sys.maxsize)
        words = tuple(normal.split(" ")) if normal else ()
        loses_words = len(words) > self.settings.max_words
        if self.tokenizer is None or self._word_ids is None:
            return CaptionLength(words, None, loses_words, None)
        pieces = [self._word_ids(word) for word in words]
        kept = self._frame + sum(map(len, pieces[: self.settings.max_words]))
        return CaptionLength(
            words,
            self._frame + sum(map(len, pieces)),
            loses_words,
            kept > self.settings.max_tokens,
        )


def captions_per_image(source: PairSource) -> Distribution:
    """How many captions each image has, those of all its entries together."""
    ids, captions = np.empty(len(source), np.int64), np.empty(len(source), np.int64)
    for index in range(len(source)):
        entry = source.entry(index)
        ids[index], captions[index] = entry.image_id, len(entry.captions)
    numbers, times = np.unique(np.bincount(ids, captions).astype(np.int64), return_counts=True)
    counted = Distribution.of(Counter(dict(zip(numbers.tolist(), times.tolist()))))
    assert counted is not None, "a source has at least one pair"
    return counted
