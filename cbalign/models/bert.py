"""BERT's layers as ALBEF uses them: a text tower, and fusion layers that also attend to image tokens.

Post-layer-norm transformer blocks (Devlin et al., 2019). A fusion layer has self-attention, then cross-attention
onto the image, then the feed-forward part. Keys and values of an image are computed once (`FusionEncoder.read_images`)
and passed to every text that meets the image.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cbalign.experiment.architectures import BertConfig as BertConfig
from cbalign.models.attention import attend
from cbalign.models.padding import PADDED, Layout, PackedLayout
from cbalign.models.pretrained import PublishedBert, text_config
from cbalign.models.sections.bert import TextSection
from cbalign.models.tower import TextTower


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


class BertTextTower(TextTower):
    """Embeddings and the first layers of a BERT.

    Args:
        config: sizes of the whole BERT.
        layers: how many of its layers form the tower.
        dropout: in all its layers.
        pooling: which token vector stands for a text, [CLS] or the mean over its tokens.
        published: where the weights of the layers that follow the tower come from; None if they start at random.
    """

    def __init__(
        self,
        config: BertConfig,
        layers: int,
        dropout: float,
        pooling: Literal["cls", "mean"] = "cls",
        published: PublishedBert | None = None,
    ) -> None:
        super().__init__(config.width, config.vocabulary, dropout)
        self.config = config
        self.pooling = pooling
        self.published = published
        self.embeddings = BertEmbeddings(config, dropout)
        self.layers = nn.ModuleList(BertLayer(config, dropout) for _ in range(layers))
        initialise(self, config.initializer_range)

    @classmethod
    def from_section(cls, section: TextSection, vocabulary: int, initialise: bool) -> BertTextTower:
        """Build the tower of a spec.

        Args:
            section: `model.text`.
            vocabulary: number of tokens that the tokenizer knows.
            initialise: whether to load the published weights that the section names.

        Raises:
            SpecError: sizes that contradict each other or the architecture.
            CheckpointError: the weights do not fit or cannot be read.
        """
        published = PublishedBert(section.architecture) if initialise and section.starts_from_weights else None
        config = text_config(section, vocabulary)
        tower = cls(config, section.layers, section.dropout, section.pooling, published)
        if published is not None:
            published.load_tower(tower, section.layers)
        return tower

    @property
    def blocks(self) -> Iterable[nn.Module]:
        """The layers, first to last."""
        return self.layers

    @property
    def word_embeddings(self) -> Tensor:
        """The word matrix (V, D)."""
        return self.embeddings.words.weight

    @property
    def layer_config(self) -> BertConfig:
        """The sizes of this BERT."""
        return self.config

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Token ids and mask (B, L) to tokens (B, L, D); in training those of padding are zero."""
        layout = PackedLayout.of(attention_mask) if self.training else PADDED
        hidden = layout.pack(self.embeddings(input_ids))
        mask = key_mask(attention_mask)
        for layer in self.layers:
            hidden = layer(hidden, mask, layout=layout)
        return layout.pad(hidden)

    def pool(self, tokens: Tensor, attention_mask: Tensor) -> Tensor:
        """One vector (B, D) per text."""
        return tokens[:, 0] if self.pooling == "cls" else super().pool(tokens, attention_mask)

    def initialise_fusion(self, fusion: FusionEncoder) -> None:
        """Load the last layers of the published BERT, if the tower has its first."""
        if self.published is not None:
            self.published.load_fusion(fusion, len(fusion.layers))

    def initialise_head(self, head: MaskedLanguageHead) -> None:
        """Load the head of the published BERT, if it has one."""
        if self.published is not None:
            self.published.load_head(head)

    def initialise_embeddings(self, embeddings: BertEmbeddings) -> None:
        """Copy the tower's embeddings."""
        embeddings.load_state_dict(self.embeddings.state_dict())


class FusionEncoder(nn.Module):
    """BERT layers in which text tokens attend to image tokens."""

    part_name = "fusion layers"

    def __init__(self, config: BertConfig, layers: int, image_width: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.ModuleList(BertLayer(config, dropout, image_width) for _ in range(layers))
        initialise(self, config.initializer_range)

    def read_images(self, image_tokens: Tensor) -> tuple[KeyValues, ...]:
        """Each layer's keys and values of image tokens (B, N, D_image)."""
        return tuple(self.read_layers(image_tokens))

    def read_layers(self, image_tokens: Tensor) -> Iterator[KeyValues]:
        """The same one by one, for a `forward` that needs no layer's any more when it reads the next."""
        return (layer.cross_attention.read(image_tokens) for layer in self.layers)  # type: ignore[union-attr,operator]

    def forward(
        self, text_tokens: Tensor, attention_mask: Tensor, images: Iterable[KeyValues], texts_per_image: int = 1
    ) -> Tensor:
        """Fused tokens (T, L, D) of texts (T, L, D) with the B images they meet.

        T = G·B for G = `texts_per_image`; text g·B + i meets image i.
        """
        layout = PackedLayout.of(attention_mask) if self.training else PADDED
        hidden, mask = layout.pack(text_tokens), key_mask(attention_mask)
        for layer, image in zip(self.layers, images, strict=True):
            hidden = layer(hidden, mask, image, texts_per_image, layout=layout)
        return layout.pad(hidden)


class MaskedLanguageHead(nn.Module):
    """BERT's head over the vocabulary; the output matrix is the word embedding itself."""

    part_name = "masked-language head"

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.transform = nn.Linear(config.width, config.width)
        self.norm = nn.LayerNorm(config.width, eps=config.norm_eps)
        self.bias = nn.Parameter(torch.zeros(config.vocabulary))
        initialise(self, config.initializer_range)

    def forward(self, tokens: Tensor, word_embeddings: Tensor) -> Tensor:
        """Fused tokens (P, D) and the word matrix (V, D) to logits (P, V)."""
        return F.linear(self.norm(F.gelu(self.transform(tokens))), word_embeddings, self.bias)


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
