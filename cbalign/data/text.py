"""Tokenization of captions: ALBEF's normalisation and a WordPiece tokenizer. No torch.

A caption becomes `[CLS] words`, by default without a closing [SEP], as in the training of ALBEF's weights.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import tokenizers
from tokenizers.processors import TemplateProcessing

from cbalign.data.arrays import IntArray
from cbalign.data.wordpiece import train_wordpiece, wordpiece_from_folder
from cbalign.errors import DataError

TOKENIZER_FILE = "tokenizer.json"
SETTINGS_FILE = "text.json"

_REMOVED = re.compile(r"[,.'!?\"()*#:;~]")
_RUNS = re.compile(r"\s{2,}")
_SPACED = str.maketrans("-/", "  ")
# BERT's tokenizer drops these like control characters; the `tokenizers` library turns them into [UNK].
_PRIVATE_USE = re.compile("[\ue000-\uf8ff\U000f0000-\U0010ffff]")


def normalise_caption(text: str, max_words: int = 30) -> str:
    """Normalise a caption like ALBEF's `pre_caption`.

    Converts to lower case, removes `,.'!?"()*#:;~`, replaces `-` and `/` by spaces and `<person>` by person, collapses
    white space, and truncates to `max_words` words.
    """
    text = _REMOVED.sub("", text.lower()).translate(_SPACED).replace("<person>", "person")
    text = _RUNS.sub(" ", text).rstrip("\n").strip(" ")
    return " ".join(text.split(" ")[:max_words])


@dataclass(frozen=True)
class Tokens:
    """Encoded captions, padded to the longest: `input_ids` and `attention_mask` (1 on tokens), both (B, L)."""

    input_ids: IntArray
    attention_mask: IntArray


@dataclass(frozen=True)
class TextSettings:
    """Truncation and special tokens of captions.

    Args:
        max_tokens: longest caption in tokens, [CLS] (and [SEP]) included.
        max_words: longest caption in words.
        closing_sep: end a caption with [SEP].
    """

    max_tokens: int
    max_words: int = 30
    closing_sep: bool = False


@dataclass(frozen=True)
class VocabularyInfo:
    """What a model has to know of its tokenizer."""

    size: int  # rows that an embedding table needs
    cls_id: int
    mask_id: int | None  # None: the tokenizer has no such token


class Tokenizer:
    """A tokenizer of captions with a BERT vocabulary.

    Lower-casing and accents are treated as in the vocabulary's source. `vocabulary_size` is the number of rows that an
    embedding table needs, `info` all that a model has to know.

    Args:
        vocabulary: the `tokenizers` object; its padding, truncation and special tokens are replaced.
        settings: truncation and special tokens.
    """

    def __init__(self, vocabulary: tokenizers.Tokenizer, settings: TextSettings) -> None:
        self.settings = settings
        self.pad_id = _special(vocabulary, "[PAD]")
        self.unk_id = _special(vocabulary, "[UNK]")
        self.cls_id = _special(vocabulary, "[CLS]")
        self.sep_id = _special(vocabulary, "[SEP]")
        self.mask_id = _special(vocabulary, "[MASK]")
        self.vocabulary_size = max(vocabulary.get_vocab(with_added_tokens=True).values()) + 1
        self.info = VocabularyInfo(self.vocabulary_size, self.cls_id, self.mask_id)
        self._vocabulary = vocabulary
        vocabulary.no_padding()
        vocabulary.no_truncation()
        frame = "[CLS] $A [SEP]" if settings.closing_sep else "[CLS] $A"
        vocabulary.post_processor = TemplateProcessing(
            single=frame, special_tokens=[("[CLS]", self.cls_id), ("[SEP]", self.sep_id)]
        )

    @classmethod
    def from_folder(cls, folder: str | Path, settings: TextSettings) -> Tokenizer:
        """Read the tokenizer of a BERT: `tokenizer.json`, else `vocab.txt` with `tokenizer_config.json`.

        Raises:
            DataError: neither file exists, or it is damaged or not a BERT vocabulary.
        """
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
        path = Path(folder) / SETTINGS_FILE
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            settings = TextSettings(**values)
            integers = (settings.max_tokens, settings.max_words)
            if any(type(v) is not int or v < 1 for v in integers) or type(settings.closing_sep) is not bool:
                raise ValueError(f"unexpected values {values}")
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror})") from error
        except (ValueError, TypeError) as error:
            raise DataError(f"{path}: not the settings of a tokenizer ({error})") from error
        return cls.from_folder(folder, settings)

    def save(self, folder: str | Path) -> None:
        """Write `tokenizer.json` (with truncation and special tokens, for any reader) and `text.json` into a folder."""
        copy = tokenizers.Tokenizer.from_str(self._vocabulary.to_str())
        copy.enable_truncation(self.settings.max_tokens)
        copy.enable_padding(pad_id=self.pad_id, pad_token="[PAD]")
        folder = Path(folder)
        (folder / TOKENIZER_FILE).write_text(copy.to_str(pretty=True), encoding="utf-8")
        (folder / SETTINGS_FILE).write_text(json.dumps(asdict(self.settings), indent=2) + "\n", encoding="utf-8")

    def encode(self, texts: Sequence[str], max_tokens: int | None = None) -> Tokens:
        """Normalise and tokenize raw captions.

        Args:
            texts: raw captions.
            max_tokens: truncate to this many tokens instead of the settings' `max_tokens`.
        """
        limit = max_tokens or self.settings.max_tokens
        closing = [self.sep_id] if self.settings.closing_sep else []
        room = max(0, limit - 1 - len(closing))
        normal = (normalise_caption(text, self.settings.max_words) for text in texts)
        return self._padded([[self.cls_id, *self.word_ids(words)[:room], *closing] for words in normal])

    def encode_answers(self, answers: Sequence[str]) -> Tokens:
        """Tokenize answers for a decoder: `[CLS] words [SEP]`, neither normalised nor truncated (ALBEF)."""
        return self._padded([[self.cls_id, *self.word_ids(answer), self.sep_id] for answer in answers])

    def decode(self, ids: Sequence[int]) -> str:
        """Return the words of one caption, to display them."""
        return str(self._vocabulary.decode([int(i) for i in ids], skip_special_tokens=True))

    def _padded(self, rows: Sequence[Sequence[int]]) -> Tokens:
        length = max(map(len, rows), default=0)
        input_ids = np.full((len(rows), length), self.pad_id, np.int64)
        attention_mask = np.zeros((len(rows), length), np.int64)
        for row, ids in enumerate(rows):
            input_ids[row, : len(ids)] = ids
            attention_mask[row, : len(ids)] = 1
        return Tokens(input_ids, attention_mask)

    def word_ids(self, words: str) -> list[int]:
        """Return the tokens of normalised words, without special tokens or truncation."""
        # One text at a time: encode_batch starts threads, which do not survive the fork of data workers.
        text = _PRIVATE_USE.sub("", words.encode("utf-8", "replace").decode())
        ids: list[int] = self._vocabulary.encode(text, add_special_tokens=False).ids
        return ids


def _special(vocabulary: tokenizers.Tokenizer, token: str) -> int:
    token_id = vocabulary.token_to_id(token)
    if token_id is None:
        raise DataError(
            f"the tokenizer has no {token}; cbalign needs a BERT vocabulary",
            remedy="Set model.text.architecture to a BERT, or train a vocabulary with model.text.tokenizer: captions.",
        )
    return int(token_id)
