"""How texts become token ids: the special tokens and normalisation of a tokenizer. No torch.

`PublishedForm` keeps everything as the tokenizer's publisher made it; `CaptionForm` (`caption_form.py`) is ALBEF's.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import Literal, Protocol

import tokenizers

from cbalign.errors import DataError


@dataclass(frozen=True)
class SpecialTokens:
    """Ids of special tokens; None where a tokenizer has no such token.

    Args:
        pad: fills up short texts; never read, because the attention mask excludes it.
        unk, cls, mask: of words that are unknown, in front of a text, and in the place of a word to predict.
        start, end: in front of and behind an answer that a decoder writes.
        protected: those that masked language modelling never replaces.
    """

    pad: int
    start: int
    end: int
    unk: int | None = None
    cls: int | None = None
    mask: int | None = None
    protected: tuple[int, ...] = ()


@dataclass(frozen=True)
class PublishedText:
    """Special tokens and padding of a published tokenizer; its own file has normalisation and truncation.

    Args:
        pad, unk, cls, end, mask: special tokens as texts; None where the tokenizer has no such token.
        special: all special tokens.
        pad_to: pad every text to this many tokens, which the model reads as well (SigLIP); None pads a batch to its
            longest text.
        padding_side: where `pad_to` adds tokens.
    """

    pad: str | None = None
    unk: str | None = None
    cls: str | None = None
    end: str | None = None
    mask: str | None = None
    special: tuple[str, ...] = ()
    pad_to: int | None = None
    padding_side: Literal["left", "right"] = "right"

    @classmethod
    def of_values(cls, values: dict[str, object]) -> PublishedText:
        """Read the values that `dataclasses.asdict` gave.

        Raises:
            ValueError, TypeError: they are something else.
        """
        special, pad_to = values.get("special", ()), values.get("pad_to")
        texts = [values.get(name) for name in ("pad", "unk", "cls", "end", "mask")]
        if not isinstance(special, list | tuple) or any(not isinstance(x, str) for x in special):
            raise ValueError(f"unexpected special tokens {special!r}")
        if any(not isinstance(text, str | None) for text in texts):
            raise ValueError(f"unexpected special tokens {texts!r}")
        if pad_to is not None and (type(pad_to) is not int or pad_to < 1):
            raise ValueError(f"unexpected pad_to {pad_to!r}")
        if values.get("padding_side", "right") not in ("left", "right"):
            raise ValueError(f"unexpected padding_side {values['padding_side']!r}")
        return cls(**{**values, "special": tuple(special)})  # type: ignore[arg-type]


class TextForm(Protocol):
    """Turns texts into token ids."""

    tokens: SpecialTokens
    pad_to: int | None
    padding_side: Literal["left", "right"]

    @property
    def joins_words(self) -> bool:
        """Whether the tokens of a text may differ from those of its words, one by one."""

    def normalise(self, text: str, max_words: int) -> str:
        """Return the text that is tokenized, at most `max_words` words of it."""

    def word_ids(self, words: str) -> list[int]:
        """Return the tokens of normalised words, without special tokens."""

    def framed(self, words: str, limit: int | None) -> list[int]:
        """Return the tokens of normalised words with special tokens, at most `limit` in all."""

    def has_words(self, text: str) -> bool:
        """Whether a text says anything."""


class PublishedForm:
    """A tokenizer with its own normalisation and special tokens.

    Args:
        vocabulary: the `tokenizers` object; its padding and truncation are replaced.
        published: its special tokens.

    Raises:
        DataError: a special token is not in the vocabulary.
    """

    joins_words = True

    def __init__(self, vocabulary: tokenizers.Tokenizer, published: PublishedText) -> None:
        self._vocabulary = vocabulary
        self._frame = vocabulary.num_special_tokens_to_add(False)
        self.pad_to = published.pad_to
        self.padding_side = published.padding_side
        pad, unk, cls, end, mask = (
            self._id(token) for token in (published.pad, published.unk, published.cls, published.end, published.mask)
        )
        fill = next((each for each in (pad, end) if each is not None), 0)
        self.tokens = SpecialTokens(
            pad=fill,
            start=fill if cls is None else cls,
            end=fill if end is None else end,
            unk=unk,
            cls=cls,
            mask=mask,
            protected=tuple(sorted({i for i in map(self._id, published.special) if i is not None})),
        )

    def normalise(self, text: str, max_words: int) -> str:
        """The text itself, without characters that no file has: the tokenizer normalises it."""
        return text.encode("utf-8", "replace").decode()

    def word_ids(self, words: str) -> list[int]:
        """Return the tokens of a text, without special tokens."""
        # One text at a time: encode_batch starts threads, which do not survive the fork of data workers.
        ids: list[int] = self._vocabulary.encode(self.normalise(words, 0), add_special_tokens=False).ids
        return ids

    def framed(self, words: str, limit: int | None) -> list[int]:
        """Return the tokens of a text with special tokens: truncation keeps those, as in transformers."""
        encoding = self._vocabulary.encode(words, add_special_tokens=False)
        if limit is not None:
            encoding.truncate(max(0, limit - self._frame))
        ids: list[int] = self._vocabulary.post_process(encoding, add_special_tokens=True).ids
        return ids if limit is None else ids[:limit]

    def has_words(self, text: str) -> bool:
        """Whether the text has more than punctuation and white space, and the tokenizer reads some of it."""
        return any(unicodedata.category(character)[0] not in "PZC" for character in text) and bool(self.word_ids(text))

    def _id(self, token: str | None) -> int | None:
        if token is None:
            return None
        found = self._vocabulary.token_to_id(token)
        if found is None:
            raise DataError(
                f"the tokenizer's special token {token!r} is not in its vocabulary",
                remedy="Use the files of one tokenizer: tokenizer.json and tokenizer_config.json belong together.",
            )
        return int(found)
