"""The networks that have a teacher: image tower, text tower, fusion, projections, masked-language head."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cbalign.models.bert import FusionEncoder, MaskedLanguageHead
from cbalign.models.tower import TextTower, VisionTower


class Towers(nn.Module):
    """Everything between pixels, token ids and features, for student and teacher alike.

    Args:
        vision, text: the towers.
        fusion, masked_language_head: None where no objective uses them.
        joint_dim: dimension d of the joint space.
    """

    part_name = "projections"

    def __init__(
        self,
        vision: VisionTower,
        text: TextTower,
        fusion: FusionEncoder | None,
        masked_language_head: MaskedLanguageHead | None,
        joint_dim: int,
    ) -> None:
        super().__init__()
        self.vision = vision
        self.text = text
        self.fusion = fusion
        self.masked_language_head = masked_language_head
        self.image_projection = nn.Linear(vision.width, joint_dim)
        self.text_projection = nn.Linear(text.width, joint_dim)

    def embed_images(self, image_tokens: Tensor) -> Tensor:
        """Image tokens (B, N, D) to unit vectors (B, d) in float32."""
        return unit(self.image_projection(self.vision.pool(image_tokens)))

    def embed_texts(self, text_tokens: Tensor, attention_mask: Tensor) -> Tensor:
        """Text tokens (B, L, D) to unit vectors (B, d) in float32."""
        return unit(self.text_projection(self.text.pool(text_tokens, attention_mask)))

    def vocabulary_logits(self, fused_tokens: Tensor) -> Tensor:
        """Logits (P, V) of chosen fused tokens (P, D)."""
        assert self.masked_language_head is not None
        return self.masked_language_head(fused_tokens, self.text.word_embeddings)


def unit(vectors: Tensor) -> Tensor:
    """Rows at unit length, in float32 whatever autocast says."""
    with torch.autocast(vectors.device.type, enabled=False):
        return F.normalize(vectors.float(), dim=-1)
