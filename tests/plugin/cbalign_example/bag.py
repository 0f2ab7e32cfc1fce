"""A text tower that ignores the order of words."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cbalign.models.tower import TextTower
from cbalign_example.sections import BagSection


class Bag(TextTower):
    """A learned vector per token and a residual layer; texts are pooled by their mean.

    Args:
        width: dimension D of a token.
        vocabulary: number of tokens that the tokenizer knows.
    """

    def __init__(self, width: int, vocabulary: int) -> None:
        super().__init__(width, vocabulary)
        self.words = nn.Parameter(0.02 * torch.randn(vocabulary, width))
        self.layer = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))

    @classmethod
    def from_section(cls, section: BagSection, vocabulary: int, initialise: bool) -> Bag:
        """Build the tower that a spec describes; it has no published weights to load."""
        return cls(section.width, vocabulary)

    @property
    def word_embeddings(self) -> Tensor:
        """The word matrix (V, D)."""
        return self.words

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Turn token ids (B, L) into tokens (B, L, D)."""
        tokens = self.words[input_ids]
        return tokens + self.layer(tokens)
