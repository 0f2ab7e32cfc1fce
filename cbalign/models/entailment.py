"""Does an image entail a text? (SNLI-VE; ALBEF, models/model_ve.py)"""

from __future__ import annotations

from torch import Tensor

from cbalign.models.bert import FusionEncoder
from cbalign.models.image_text import ClassificationHead, ImageTextEncoder
from cbalign.models.tower import TextTower, VisionTower


class EntailmentNetwork(ImageTextEncoder):
    """A classifier of texts about images.

    Args:
        vision, text, fusion: the towers.
        classes: 3 for SNLI-VE; ALBEF's order is contradiction, neutral, entailment.
    """

    def __init__(self, vision: VisionTower, text: TextTower, fusion: FusionEncoder, classes: int = 3) -> None:
        super().__init__(vision, text, fusion)
        self.head = ClassificationHead(text.width, classes)

    def forward(self, images: Tensor, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Logits (B, C) of texts (B, L) about images (B, 3, H, W)."""
        logits: Tensor = self.head(self.fuse(images, input_ids, attention_mask))
        return logits
