"""The networks that images and texts pass through: image tower, text tower, fusion, projections."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cbalign.models.bert import FusionEncoder, TextTower
from cbalign.models.vision import VisionTower


class Towers(nn.Module):
    """Everything between pixels or token ids and features; student and teacher have one each.

    Args:
        vision, text: the towers.
        fusion: None where no objective reads fused tokens.
        joint_dim: dimension d of the joint space.
        pooling: which token vector of a text is projected, [CLS] or the mean over its tokens.
    """

    def __init__(
        self,
        vision: VisionTower,
        text: TextTower,
        fusion: FusionEncoder | None,
        joint_dim: int,
        pooling: Literal["cls", "mean"],
    ) -> None:
        super().__init__()
        self.vision = vision
        self.text = text
        self.fusion = fusion
        self.image_projection = nn.Linear(vision.width, joint_dim)
        self.text_projection = nn.Linear(text.width, joint_dim)
        self.pooling = pooling

    @property
    def word_embeddings(self) -> Tensor:
        """The word embeddings (V, D) of the text tower."""
        return self.text.embeddings.words.weight

    def embed_images(self, image_tokens: Tensor) -> Tensor:
        """Project image tokens (B, N, D) to unit vectors (B, d) in float32."""
        return unit(self.image_projection(image_tokens[:, 0]))

    def embed_texts(self, text_tokens: Tensor, attention_mask: Tensor) -> Tensor:
        """Project text tokens (B, L, D) to unit vectors (B, d) in float32."""
        return unit(self.text_projection(self.pool(text_tokens, attention_mask)))

    def pool(self, text_tokens: Tensor, attention_mask: Tensor) -> Tensor:
        """Pool the tokens of each text to one vector (B, D)."""
        if self.pooling == "cls":
            return text_tokens[:, 0]
        weights = attention_mask.to(text_tokens.dtype)[:, :, None]
        return (text_tokens * weights).sum(dim=1) / weights.sum(dim=1)


def unit(vectors: Tensor) -> Tensor:
    """Normalise rows to unit length, in float32 even under autocast."""
    with torch.autocast(vectors.device.type, enabled=False):
        return F.normalize(vectors.float(), dim=-1)
