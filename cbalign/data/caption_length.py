"""Lengths of captions in words and tokens, and which of them the limits of a spec truncate."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import lru_cache

from cbalign.data.caption_form import normalise_caption
from cbalign.data.text import TextSettings, Tokenizer

_REMEMBERED_WORDS = 1 << 18


@dataclass(frozen=True)
class CaptionLength:
    """Length of one caption before truncation.

    `words` are normalised, `tokens` include [CLS]. What needs a tokenizer is None without one.
    """

    words: tuple[str, ...]
    tokens: int | None
    loses_words: bool  # more than max_words
    loses_tokens: bool | None  # the words that remain have more than max_tokens


class CaptionRuler:
    """Measures captions as a tokenizer would truncate them.

    Each word is tokenized once, since WordPiece treats words separately.

    Args:
        settings: the limits.
        tokenizer: None to measure words only.
    """

    def __init__(self, settings: TextSettings, tokenizer: Tokenizer | None) -> None:
        self.settings = settings
        self._frame = 1 + settings.closing_sep
        self.tokenizer = tokenizer
        self._word_ids = None if tokenizer is None else lru_cache(_REMEMBERED_WORDS)(tokenizer.word_ids)

    def measure(self, caption: str) -> CaptionLength:
        """Measure one raw caption."""
        normal = normalise_caption(caption, sys.maxsize)
        words = tuple(normal.split(" ")) if normal else ()
        loses_words = len(words) > self.settings.max_words
        if self.tokenizer is None or self._word_ids is None:
            return CaptionLength(words, None, loses_words, None)
        if self.tokenizer.form.joins_words:
            tokens = self.tokenizer.length(caption)
            return CaptionLength(words, tokens, loses_words, tokens > self.settings.max_tokens)
        pieces = [self._word_ids(word) for word in words]
        kept = self._frame + sum(map(len, pieces[: self.settings.max_words]))
        return CaptionLength(
            words,
            self._frame + sum(map(len, pieces)),
            loses_words,
            kept > self.settings.max_tokens,
        )
