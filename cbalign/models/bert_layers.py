"""BERT's layers as ALBEF uses them: attention to the text itself and to an image, feed-forward, embeddings.

Post-layer-norm transformer blocks (Devlin et al., 2019). Keys and values of an image are computed once and passed to
every text that meets the image.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from cbalign.experiment.architectures import BertConfig
from cbalign.models.attention import attend
from cbalign.models.padding import PADDED, Layout


@dataclass(frozen=True)
class KeyValues:
    """Attention keys and values (B, heads, N, D / heads) of one layer."""

    keys: Tensor
    values: Tensor

    def select(self, index: Tensor) -> KeyValues:
        """Rows `index` (T,) of the batch, with repetition."""
        return KeyValues(self.keys[index], self.values[index])


class Attention(nn.Module):
    """Multi-head attention with its output projection, residual and layer norm."""

    def __init__(self, config: BertConfig, source_width: int, dropout: float) -> None:
        super().__init__()
        self.heads = config.heads
        self.query = nn.Linear(config.width, config.width)
        self.key = nn.Linear(source_width, config.width)
        self.value = nn.Linear(source_width, config.width)
        self.output = nn.Linear(config.width, config.width)
        self.norm = nn.LayerNorm(config.width, eps=config.norm_eps)
        self.dropout = dropout

    def read(self, source: Tensor, layout: Layout = PADDED) -> KeyValues:
        """Keys and values of `source`, (B, N, source_width) in its layout."""
        return KeyValues(self._split(layout.pad(self.key(source))), self._split(layout.pad(self.value(source))))

    def forward(
        self,
        hidden: Tensor,
        attended: KeyValues,
        mask: Tensor | None = None,
        texts_per_image: int = 1,
        layout: Layout = PADDED,
    ) -> Tensor:
        """Attend from `hidden`, (T, L, D) in its layout, where `mask` (T, 1, 1 or L, N) is true.

        With `texts_per_image` G > 1, T = G·B texts in G blocks meet B images: text g·B + i attends to row i, and no
        key or value is copied, because the texts of an image are laid side by side as one longer query.
        """
        queries = self._split(layout.pad(self.query(hidden)))  # (T, heads, L, d)
        length = queries.shape[2]
        if texts_per_image > 1:
            grouped = queries.view(texts_per_image, -1, *queries.shape[1:])  # (G, B, heads, L, d)
            queries = grouped.permute(1, 2, 0, 3, 4).flatten(2, 3)
        context = attend(queries, attended.keys, attended.values, mask, self.dropout if self.training else 0.0)
        if texts_per_image > 1:
            grouped = context.view(*context.shape[:2], texts_per_image, length, -1)
            context = grouped.permute(2, 0, 1, 3, 4).flatten(0, 1)
        merged = layout.pack(context.transpose(1, 2).flatten(2))  # (T, L, D)
        residual = F.dropout(self.output(merged), self.dropout, self.training)
        return self.norm(hidden + residual)

    def _split(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:2], self.heads, -1).transpose(1, 2)  # (B, heads, L, D / heads)


class FeedForward(nn.Module):
    """Expand, GELU, contract, residual, layer norm."""

    def __init__(self, config: BertConfig, dropout: float) -> None:
        super().__init__()
        self.expand = nn.Linear(config.width, config.intermediate)
        self.contract = nn.Linear(config.intermediate, config.width)
        self.norm = nn.LayerNorm(config.width, eps=config.norm_eps)
        self.dropout = dropout

    def forward(self, hidden: Tensor) -> Tensor:
        """(B, L, D) to (B, L, D)."""
        update = self.contract(F.gelu(self.expand(hidden)))
        return self.norm(hidden + F.dropout(update, self.dropout, self.training))


class BertLayer(nn.Module):
    """One BERT layer, with cross-attention where `image_width` is given."""

    def __init__(self, config: BertConfig, dropout: float, image_width: int | None = None) -> None:
        super().__init__()
        self.attention = Attention(config, config.width, dropout)
        self.cross_attention = None if image_width is None else Attention(config, image_width, dropout)
        self.feed_forward = FeedForward(config, dropout)

    def forward(
        self,
        hidden: Tensor,
        mask: Tensor,
        image: KeyValues | None = None,
        texts_per_image: int = 1,
        image_mask: Tensor | None = None,
        layout: Layout = PADDED,
    ) -> Tensor:
        """Token vectors (T, L, D), in their layout, to the same shape.

        `mask` (T, 1, 1 or L, L) is true where a token may be attended to; `image_mask` (T, 1, 1, N) the same for what
        cross-attention reads, None where all of it is there.
        """
        hidden = self.attention(hidden, self.attention.read(hidden, layout), mask, layout=layout)
        if self.cross_attention is not None:
            assert image is not None, "a fusion layer needs the image's keys and values"
            hidden = self.cross_attention(hidden, image, image_mask, texts_per_image, layout)
        return self.feed_forward(hidden)


class BertEmbeddings(nn.Module):
    """Word, position and type embeddings."""

    def __init__(self, config: BertConfig, dropout: float) -> None:
        super().__init__()
        self.words = nn.Embedding(config.vocabulary, config.width)
        self.positions = nn.Embedding(config.positions, config.width)
        self.types = nn.Embedding(config.types, config.width)
        self.norm = nn.LayerNorm(config.width, eps=config.norm_eps)
        self.dropout = dropout

    def forward(self, input_ids: Tensor) -> Tensor:
        """Token ids (B, L) to vectors (B, L, D)."""
        length = input_ids.shape[1]
        summed = self.words(input_ids) + self.positions.weight[:length] + self.types.weight[0]
        return F.dropout(self.norm(summed), self.dropout, self.training)


def text_map(text_width: int, width: int) -> nn.Module:
    """A linear map from text tokens to the width of layers that read them; nothing where it is the same."""
    return nn.Identity() if text_width == width else nn.Linear(text_width, width)


def key_mask(attention_mask: Tensor) -> Tensor:
    """(B, L) of ones and zeros to a boolean mask (B, 1, 1, L) over keys."""
    return attention_mask.bool()[:, None, None, :]


def initialise(module: nn.Module, std: float) -> None:
    """BERT's initial values: normal matrices, zero biases, unit norms."""
    for part in module.modules():
        if isinstance(part, nn.Linear | nn.Embedding):
            nn.init.normal_(part.weight, std=std)
        if isinstance(part, nn.Linear) and part.bias is not None:
            nn.init.zeros_(part.bias)
