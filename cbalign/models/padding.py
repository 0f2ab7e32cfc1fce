"""Layouts of batches of texts with different lengths."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor


class Layout(Protocol):
    """A layout of token vectors, with conversion between the forms for linear layers and for attention."""

    def pad(self, tokens: Tensor) -> Tensor:
        """To (B, L, D), a text per row."""

    def pack(self, tokens: Tensor) -> Tensor:
        """From (B, L, D) to the form that matrices work on."""


class PaddedLayout:
    """Linear layers also process padding. Shapes are static, as export requires."""

    def pad(self, tokens: Tensor) -> Tensor:
        """The same."""
        return tokens

    def pack(self, tokens: Tensor) -> Tensor:
        """The same."""
        return tokens


@dataclass(frozen=True)
class PackedLayout:
    """Linear layers process only the P real tokens, (P, D). Half of a training batch or more may be padding."""

    index: Tensor  # (P,) place of each token in the flattened batch
    texts: int
    length: int

    @classmethod
    def of(cls, attention_mask: Tensor) -> PackedLayout:
        """The layout of a batch with mask (B, L)."""
        return cls(attention_mask.flatten().nonzero().squeeze(1), *attention_mask.shape)

    def pad(self, tokens: Tensor) -> Tensor:
        """(P, D) to (B, L, D), with zeros for padding."""
        padded = tokens.new_zeros(self.texts * self.length, tokens.shape[-1]).index_copy(0, self.index, tokens)
        return padded.view(self.texts, self.length, -1)

    def pack(self, tokens: Tensor) -> Tensor:
        """(B, L, D) to (P, D)."""
        return tokens.flatten(0, 1)[self.index]


PADDED = PaddedLayout()
