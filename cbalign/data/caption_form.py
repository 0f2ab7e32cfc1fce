"""ALBEF's form of captions: how it normalises them, and where its special tokens are. No torch.

A caption becomes `[CLS] words`, by default without a closing [SEP], as in the training of ALBEF's weights.
"""

from __future__ import annotations

import re
from typing import Literal

import tokenizers
from tokenizers.processors import TemplateProcessing

from cbalign.data.text_form import SpecialTokens
from cbalign.errors import DataError

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


class CaptionForm:
    """ALBEF's form: a normalised caption in a BERT vocabulary as `[CLS] words`, or `[CLS] words [SEP]`.

    Args:
        vocabulary: the `tokenizers` object; its special tokens are replaced.
        closing_sep: whether captions end with [SEP].

    Raises:
        DataError: it is not a BERT vocabulary.
    """

    joins_words = False
    pad_to: int | None = None
    padding_side: Literal["left", "right"] = "right"

    def __init__(self, vocabulary: tokenizers.Tokenizer, closing_sep: bool) -> None:
        pad, unk, cls, sep, mask = (_special(vocabulary, f"[{name}]") for name in ("PAD", "UNK", "CLS", "SEP", "MASK"))
        self.tokens = SpecialTokens(pad, start=cls, end=sep, unk=unk, cls=cls, mask=mask)
        self._cls, self._closing = cls, [sep] if closing_sep else []
        self._vocabulary = vocabulary
        frame = "[CLS] $A [SEP]" if closing_sep else "[CLS] $A"
        vocabulary.post_processor = TemplateProcessing(single=frame, special_tokens=[("[CLS]", cls), ("[SEP]", sep)])

    def normalise(self, text: str, max_words: int) -> str:
        """Normalise like ALBEF's `pre_caption`."""
        return normalise_caption(text, max_words)

    def framed(self, words: str, limit: int | None) -> list[int]:
        """Return `[CLS] words`, or `[CLS] words [SEP]`."""
        room = None if limit is None else max(0, limit - 1 - len(self._closing))
        return [self._cls, *self.word_ids(words)[:room], *self._closing]

    def word_ids(self, words: str) -> list[int]:
        """Return the tokens of normalised words, without special tokens."""
        # One text at a time: encode_batch starts threads, which do not survive the fork of data workers.
        text = _PRIVATE_USE.sub("", words.encode("utf-8", "replace").decode())
        ids: list[int] = self._vocabulary.encode(text, add_special_tokens=False).ids
        return ids

    def has_words(self, text: str) -> bool:
        """Whether anything of the caption remains."""
        return bool(self.word_ids(normalise_caption(text, len(text))))


def _special(vocabulary: tokenizers.Tokenizer, token: str) -> int:
    token_id = vocabulary.token_to_id(token)
    if token_id is None:
        raise DataError(
            f"the tokenizer has no {token}; cbalign needs a BERT vocabulary",
            remedy="Set model.text.architecture to a BERT, or train a vocabulary with model.text.tokenizer: captions.",
        )
    return int(token_id)
