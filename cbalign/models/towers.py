"""The networks that images and texts pass through: image tower, text tower, fusion, projections."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cbalign.models.bert import FusionEncoder
from cbalign.models.tower import TextTower, VisionTower


class Towers(nn.Module):
    """Everything between pixels or token ids and features; student and teacher have one each.

    Args:
        vision, text: the towers.
        fusion: None where no objective reads fused tokens.
        joint_dim: dimension d of the joint space.
    """

    part_name = "projections"

    def __init__(
        self,
        vision: VisionTower,
        text: TextTower,
        fusion: FusionEncoder | None,
        joint_dim: int,
    ) -> None:
        super().__init__()
        self.vision = vision
        self.text = text
        self.fusion = fusion
        self.image_projection = nn.Linear(vision.pooled_width, joint_dim)
        self.text_projection = nn.Linear(text.pooled_width, joint_dim)

    @property
    def word_embeddings(self) -> Tensor:
        """The word embeddings (V, D) of the text tower."""
        return self.text.word_embeddings

    def embed_images(self, image_tokens: Tensor) -> Tensor:
        """Project image tokens (B, N, D) to unit vectors (B, d) in float32."""
        return unit(self.image_projection(self.vision.pool(image_tokens)))

    def embed_texts(self, text_tokens: Tensor, attention_mask: Tensor) -> Tensor:
        """Project text tokens (B, L, D) to unit vectors (B, d) in float32."""
        return unit(self.text_projection(self.text.pool(text_tokens, attention_mask)))


def unit(vectors: Tensor) -> Tensor:
    """Normalise rows to unit length, in float32 even under autocast."""
    with torch.autocast(vectors.device.type, enabled=False):
        return F.normalize(vectors.float(), dim=-1)
