"""BERT as ALBEF uses it: a text tower, and fusion layers that also attend to image tokens.

A fusion layer has self-attention, then cross-attention onto the image, then the feed-forward part. Keys and values of
an image are computed once (`FusionEncoder.read_images`) and passed to every text that meets the image.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cbalign.experiment.architectures import BertConfig as BertConfig
from cbalign.models.bert_layers import BertEmbeddings, BertLayer, KeyValues, initialise, key_mask, text_map
from cbalign.models.padding import PADDED, PackedLayout
from cbalign.models.pretrained import PublishedBert, text_config
from cbalign.models.sections.bert import TextSection
from cbalign.models.tower import TextTower


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

    def release_published(self) -> None:
        """Forget the published BERT's tensors."""
        if self.published is not None:
            self.published.release()

    def initialise_head(self, head: MaskedLanguageHead) -> None:
        """Load the head of the published BERT, if it has one."""
        if self.published is not None and head.transform.in_features == self.width:
            self.published.load_head(head)

    def initialise_embeddings(self, embeddings: BertEmbeddings) -> None:
        """Copy the tower's embeddings."""
        if embeddings.words.weight.shape == self.embeddings.words.weight.shape:
            embeddings.load_state_dict(self.embeddings.state_dict())


class FusionEncoder(nn.Module):
    """BERT layers in which text tokens attend to image tokens.

    Args:
        config: sizes of the layers.
        layers: how many.
        image_width: width of an image token.
        dropout: in attention and feed-forward parts.
        text_width: width of a text token; a linear map precedes the layers where it is not theirs. None: theirs.
    """

    part_name = "fusion layers"

    def __init__(
        self, config: BertConfig, layers: int, image_width: int, dropout: float, text_width: int | None = None
    ) -> None:
        super().__init__()
        self.config = config
        self.text_map = text_map(text_width or config.width, config.width)
        self.layers = nn.ModuleList(BertLayer(config, dropout, image_width) for _ in range(layers))
        initialise(self, config.initializer_range)

    @property
    def width(self) -> int:
        """Dimension D of a fused token."""
        return self.config.width

    def read_images(self, image_tokens: Tensor) -> tuple[KeyValues, ...]:
        """Each layer's keys and values of image tokens (B, N, D_image)."""
        return tuple(self.read_layers(image_tokens))

    def read_layers(self, image_tokens: Tensor) -> Iterator[KeyValues]:
        """The same one by one, for a `forward` that needs no layer's any more when it reads the next."""
        return (layer.cross_attention.read(image_tokens) for layer in self.layers)  # type: ignore[union-attr,operator]

    def forward(
        self, text_tokens: Tensor, attention_mask: Tensor, images: Iterable[KeyValues], texts_per_image: int = 1
    ) -> Tensor:
        """Fused tokens (T, L, D) of texts (T, L, D_text) with the B images they meet.

        T = G·B for G = `texts_per_image`; text g·B + i meets image i.
        """
        layout = PackedLayout.of(attention_mask) if self.training else PADDED
        hidden, mask = self.text_map(layout.pack(text_tokens)), key_mask(attention_mask)
        for layer, image in zip(self.layers, images, strict=True):
            hidden = layer(hidden, mask, image, texts_per_image, layout=layout)
        return layout.pad(hidden)


class MaskedLanguageHead(nn.Module):
    """BERT's head over the vocabulary; the output matrix is the word embedding itself.

    Args:
        config: sizes; `width` is that of word embeddings.
        fused_width: width of the tokens that it reads; None: that of word embeddings.
    """

    part_name = "masked-language head"

    def __init__(self, config: BertConfig, fused_width: int | None = None) -> None:
        super().__init__()
        self.transform = nn.Linear(fused_width or config.width, config.width)
        self.norm = nn.LayerNorm(config.width, eps=config.norm_eps)
        self.bias = nn.Parameter(torch.zeros(config.vocabulary))
        initialise(self, config.initializer_range)

    def forward(self, tokens: Tensor, word_embeddings: Tensor) -> Tensor:
        """Fused tokens (P, D) and the word matrix (V, D) to logits (P, V)."""
        return F.linear(self.norm(F.gelu(self.transform(tokens))), word_embeddings, self.bias)
