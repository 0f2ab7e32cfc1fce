"""The networks that images and texts pass through: image tower, text tower, fusion, projections."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cbalign.experiment.model import ProjectionSection
from cbalign.models.bert import FusionEncoder
from cbalign.models.projection import build_projection
from cbalign.models.tower import TextTower, VisionTower


class Towers(nn.Module):
    """Everything between pixels or token ids and features; student and teacher have one each.

    Args:
        vision, text: the towers.
        fusion: None where no objective reads fused tokens.
        joint_dim: dimension d of the joint space.
        projection: of pooled vectors into it.
    """

    part_name = "projections"

    def __init__(
        self,
        vision: VisionTower,
        text: TextTower,
        fusion: FusionEncoder | None,
        joint_dim: int,
        projection: ProjectionSection | None = None,
    ) -> None:
        super().__init__()
        self.vision = vision
        self.text = text
        self.fusion = fusion
        section = projection or ProjectionSection()
        self.image_projection = build_projection(vision.pooled_width, joint_dim, section)
        self.text_projection = build_projection(text.pooled_width, joint_dim, section)

    @property
    def word_embeddings(self) -> Tensor:
        """The word embeddings (V, D) of the text tower."""
        return self.text.word_embeddings

    def embed_images(self, image_tokens: Tensor) -> Tensor:
        """Project image tokens (B, N, D), or pooled vectors (B, D), to unit vectors (B, d) in float32."""
        pooled = image_tokens if image_tokens.ndim == 2 else self.vision.pool(image_tokens)
        return unit(self.image_projection(pooled))

    def embed_patches(self, image_tokens: Tensor) -> Tensor:
        """Project the patches among image tokens (B, N, D) to unit vectors (B, P, d) in float32."""
        return unit(self.image_projection(image_tokens[:, self.vision.prefix_tokens :]))

    def embed_words(self, text_tokens: Tensor) -> Tensor:
        """Project text tokens (B, L, D) to unit vectors (B, L, d) in float32."""
        return unit(self.text_projection(text_tokens))

    def embed_texts(self, text_tokens: Tensor, attention_mask: Tensor) -> Tensor:
        """Project text tokens (B, L, D), or pooled vectors (B, D), to unit vectors (B, d) in float32."""
        pooled = text_tokens if text_tokens.ndim == 2 else self.text.pool(text_tokens, attention_mask)
        return unit(self.text_projection(pooled))


def unit(vectors: Tensor) -> Tensor:
    """Normalise rows to unit length, in float32 even under autocast."""
    with torch.autocast(vectors.device.type, enabled=False):
        return F.normalize(vectors.float(), dim=-1)
