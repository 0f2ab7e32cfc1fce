"""The features of captions, as a training reads them in place of the text tower's output."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np

from cbalign.data.batches import in_batches
from cbalign.data.feature_store import FeatureStore, HalfArray
from cbalign.data.items import Item
from cbalign.data.source import Source
from cbalign.data.text import Tokenizer, Tokens

_CHUNK = 512


@dataclass(frozen=True)
class KeptTexts:
    """The features of all captions of a source: tokens padded to the maximum length, or pooled vectors."""

    store: FeatureStore

    def of(self, tokens: Tokens) -> HalfArray:
        """Return the features of encoded captions (B, L): (B, L, D), or pooled (B, D)."""
        found = np.stack([self.store[digest, 0] for digest in text_digests(tokens)])
        return found if found.ndim == 2 else found[:, : tokens.input_ids.shape[1]]


def text_digests(tokens: Tokens) -> list[bytes]:
    """Hash the token ids of each text, without padding."""
    lengths = tokens.attention_mask.sum(axis=1)
    rows = zip(tokens.input_ids.astype("<i8", copy=False), lengths)
    return [blake2b(row[:length].tobytes(), digest_size=16).digest() for row, length in rows]


def encoded_captions(source: Source[Item], tokenizer: Tokenizer, indices: Sequence[int]) -> Iterator[Tokens]:
    """Tokenize the captions of some items, several at a time."""
    captions = (text for index in indices for text in source.item(index).texts)
    for chunk in in_batches(captions, _CHUNK):
        yield tokenizer.encode(chunk)
