"""Tokenization of texts: a tokenizer, its settings and its files. No torch.

The normalisation and the special tokens are those of a form: ALBEF's (`cbalign.data.caption_form`), or a published
tokenizer's own (`cbalign.data.text_form`).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers

from cbalign.data.arrays import IntArray
from cbalign.data.caption_form import CaptionForm, normalise_caption
from cbalign.data.text_form import PublishedForm, PublishedText, TextForm
from cbalign.data.wordpiece import train_wordpiece, wordpiece_from_folder
from cbalign.errors import DataError

TOKENIZER_FILE = "tokenizer.json"
SETTINGS_FILE = "text.json"

_PROBE = "a red car, 1 ☃"


@dataclass(frozen=True)
class Tokens:
    """Encoded captions, padded to the longest: `input_ids` and `attention_mask` (1 on tokens), both (B, L)."""

    input_ids: IntArray
    attention_mask: IntArray


@dataclass(frozen=True)
class TextSettings:
    """Truncation and special tokens of texts.

    Args:
        max_tokens: longest text in tokens, special tokens included.
        max_words: longest caption in words.
        closing_sep: end a caption with [SEP].
        published: special tokens of a published tokenizer; None for a BERT vocabulary in ALBEF's form, which alone
            reads `max_words` and `closing_sep`.
    """

    max_tokens: int
    max_words: int = 30
    closing_sep: bool = False
    published: PublishedText | None = None

    @classmethod
    def of_values(cls, values: dict[str, Any]) -> TextSettings:
        """Read the values of a `text.json`.

        Raises:
            ValueError, TypeError: they are something else.
        """
        published = values.get("published")
        own = None if published is None else PublishedText.of_values(published)
        settings = cls(**{**values, "published": own})
        integers = (settings.max_tokens, settings.max_words)
        if any(type(v) is not int or v < 1 for v in integers) or type(settings.closing_sep) is not bool:
            raise ValueError(f"unexpected values {values}")
        return settings

    def as_values(self) -> dict[str, Any]:
        """Return the values of a `text.json`, without what a BERT vocabulary does not have."""
        values = asdict(self)
        return values if self.published is not None else {k: v for k, v in values.items() if k != "published"}


@dataclass(frozen=True)
class VocabularyInfo:
    """What a model has to know of its tokenizer."""

    size: int  # rows that an embedding table needs
    cls_id: int | None  # None: texts do not begin with such a token
    mask_id: int | None  # None: the tokenizer has no such token
    special_ids: tuple[int, ...] = ()  # further tokens that are never masked
    encode: Callable[[Sequence[str]], Tokens] | None = field(default=None, compare=False, repr=False)  # None: unknown


class Tokenizer:
    """A tokenizer of texts, torch-free.

    `vocabulary_size` is the number of rows that an embedding table needs, `info` all that a model has to know.

    Args:
        vocabulary: the `tokenizers` object; its padding and truncation are replaced, and with a BERT vocabulary in
            ALBEF's form its special tokens. Lower-casing and accents are treated as in its source.
        settings: truncation and special tokens.
    """

    def __init__(self, vocabulary: tokenizers.Tokenizer, settings: TextSettings) -> None:
        vocabulary.no_padding()
        vocabulary.no_truncation()
        self.settings = settings
        self.form: TextForm = (
            CaptionForm(vocabulary, settings.closing_sep)
            if settings.published is None
            else PublishedForm(vocabulary, settings.published)
        )
        tokens = self.form.tokens
        self.pad_id, self.unk_id, self.cls_id, self.mask_id = tokens.pad, tokens.unk, tokens.cls, tokens.mask
        self.start_id, self.sep_id = tokens.start, tokens.end
        self.vocabulary_size = max(vocabulary.get_vocab(with_added_tokens=True).values()) + 1
        self.info = VocabularyInfo(self.vocabulary_size, tokens.cls, tokens.mask, tokens.protected, self.encode)
        self._vocabulary = vocabulary

    @classmethod
    def from_folder(cls, folder: str | Path, settings: TextSettings) -> Tokenizer:
        """Read the tokenizer of a BERT: `tokenizer.json`, else `vocab.txt` with `tokenizer_config.json`.

        A folder that `save` wrote for a published tokenizer gives that tokenizer with other limits.

        Raises:
            DataError: neither file exists, or it is damaged or not a BERT vocabulary.
        """
        saved = Path(folder) / SETTINGS_FILE
        if settings.published is None and saved.is_file():
            settings = replace(settings, published=_saved_settings(saved).published)
        return cls(wordpiece_from_folder(Path(folder)), settings)

    @classmethod
    def train(cls, captions: Iterable[str], vocabulary: int, settings: TextSettings) -> Tokenizer:
        """Train a WordPiece vocabulary of at most `vocabulary` tokens on captions; the same on every machine."""
        words = (normalise_caption(caption, settings.max_words) for caption in captions)
        return cls(train_wordpiece(words, vocabulary), settings)

    @classmethod
    def load(cls, folder: str | Path) -> Tokenizer:
        """Read the files that `save` wrote.

        Raises:
            DataError: a file is missing or damaged.
        """
        settings = _saved_settings(Path(folder) / SETTINGS_FILE)
        try:
            tokenizer = cls.from_folder(folder, settings)
            tokenizer.encode([_PROBE])  # a vocabulary without tokens fails here, not when it is read
        except DataError as error:
            if str(folder) in error.message:
                raise
            raise DataError(f"{Path(folder) / TOKENIZER_FILE}: {error.message}", remedy=error.remedy) from error
        except Exception as error:  # the library raises plain Exception
            reason = " ".join(str(error).split())[:300]
            raise DataError(f"{Path(folder) / TOKENIZER_FILE}: cannot tokenize a text ({reason})") from error
        return tokenizer

    def save(self, folder: str | Path) -> None:
        """Write `tokenizer.json` (with truncation and special tokens, for any reader) and `text.json` into a folder."""
        copy = tokenizers.Tokenizer.from_str(self._vocabulary.to_str())
        copy.enable_truncation(self.settings.max_tokens)
        copy.enable_padding(
            pad_id=self.pad_id,
            pad_token=copy.id_to_token(self.pad_id) or "[PAD]",
            length=self.form.pad_to,
            direction=self.form.padding_side,
        )
        folder = Path(folder)
        (folder / TOKENIZER_FILE).write_text(copy.to_str(pretty=True), encoding="utf-8")
        (folder / SETTINGS_FILE).write_text(json.dumps(self.settings.as_values(), indent=2) + "\n", encoding="utf-8")

    def encode(self, texts: Sequence[str], max_tokens: int | None = None) -> Tokens:
        """Normalise and tokenize raw texts.

        Args:
            texts: raw texts.
            max_tokens: truncate to this many tokens instead of the settings' `max_tokens`.
        """
        limit = min(max_tokens or self.settings.max_tokens, self.form.pad_to or sys.maxsize)
        normal = (self.form.normalise(text, self.settings.max_words) for text in texts)
        rows = [self.form.framed(words, limit) for words in normal]
        return self._padded(rows) if self.form.pad_to is None else self._filled(rows, self.form.pad_to)

    def encode_answers(self, answers: Sequence[str]) -> Tokens:
        """Tokenize answers for a decoder: `[CLS] words [SEP]`, neither normalised nor truncated (ALBEF)."""
        return self._padded([[self.start_id, *self.form.word_ids(answer), self.sep_id] for answer in answers])

    def decode(self, ids: Sequence[int]) -> str:
        """Return the words of one text, to display them."""
        text = str(self._vocabulary.decode([int(i) for i in ids], skip_special_tokens=True))
        suffix = getattr(self._vocabulary.model, "end_of_word_suffix", None)  # CLIP's, which its decoder leaves
        return text.replace(suffix, " ").strip() if suffix else text

    def word_ids(self, words: str) -> list[int]:
        """Return the tokens of normalised words, without special tokens or truncation."""
        return self.form.word_ids(words)

    def length(self, text: str) -> int:
        """Return the number of tokens of a raw text before truncation, special tokens included."""
        return len(self.form.framed(self.form.normalise(text, len(text) + 1), None))

    def truncates(self, text: str) -> bool:
        """Whether the model reads only the beginning of a raw text."""
        if self.length(text) > self.settings.max_tokens:
            return True
        every = self.form.normalise(text, len(text) + 1)
        return self.form.normalise(text, self.settings.max_words) != every

    def _padded(self, rows: Sequence[Sequence[int]]) -> Tokens:
        length = max(map(len, rows), default=0)
        input_ids = np.full((len(rows), length), self.pad_id, np.int64)
        attention_mask = np.zeros((len(rows), length), np.int64)
        for row, ids in enumerate(rows):
            input_ids[row, : len(ids)] = ids
            attention_mask[row, : len(ids)] = 1
        return Tokens(input_ids, attention_mask)

    def _filled(self, rows: Sequence[Sequence[int]], length: int) -> Tokens:
        """Pad to a fixed length with tokens that the model reads: the mask is 1 everywhere."""
        input_ids = np.full((len(rows), length), self.pad_id, np.int64)
        left = self.form.padding_side == "left"
        for row, ids in enumerate(rows):
            start = length - len(ids) if left else 0
            input_ids[row, start : start + len(ids)] = ids
        return Tokens(input_ids, np.ones_like(input_ids))


def _saved_settings(path: Path) -> TextSettings:
    try:
        return TextSettings.of_values(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(f"{path}: not the settings of a tokenizer ({str(error)[:300]})") from error
