"""Measure the lengths of captions, which determine the cost of padding."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice

from cbalign.data.text import Tokenizer

SAMPLE = 2048


@dataclass(frozen=True)
class CaptionLengths:
    """Mean number of tokens of a caption, and of the longest caption of a batch, including [CLS]."""

    mean: float
    longest: int
    measured: bool

    @classmethod
    def assumed(cls, max_tokens: int) -> CaptionLengths:
        """Assume the longest captions that the spec allows, an upper bound of the cost."""
        return cls(float(max_tokens), max_tokens, measured=False)


def measure_captions(count: int, text: Callable[[int], str], tokenizer: Tokenizer, batch_size: int) -> CaptionLengths:
    """Measure `SAMPLE` texts, evenly spaced among the `count` texts of a source."""
    captions = [text(index) for index in islice(range(0, count, max(1, count // SAMPLE)), SAMPLE)]
    lengths = tokenizer.encode(captions).attention_mask.sum(axis=1)
    batches = [lengths[i : i + batch_size].max() for i in range(0, len(lengths), batch_size)]
    return CaptionLengths(float(lengths.mean()), round(sum(batches) / len(batches)), measured=True)
