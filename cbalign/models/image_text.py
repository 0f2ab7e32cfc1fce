"""Common modules of fine-tuned models: the image-text encoder and the classification head."""

from __future__ import annotations

from torch import Tensor, nn

from cbalign.models.bert import FusionEncoder
from cbalign.models.tower import TextTower, VisionTower


class ImageTextEncoder(nn.Module):
    """Image tower, text tower and fusion layers, under the names they have in a pretrained `Towers`."""

    def __init__(self, vision: VisionTower, text: TextTower, fusion: FusionEncoder) -> None:
        super().__init__()
        self.vision = vision
        self.text = text
        self.fusion = fusion

    def fuse(self, images: Tensor, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Fused tokens (B, L, D) of texts (B, L) with images (B, 3, H, W), row by row."""
        read = self.fusion.read_images(self.vision(images))
        fused: Tensor = self.fusion(self.text(input_ids, attention_mask), attention_mask, read)
        return fused


class ClassificationHead(nn.Module):
    """Linear, ReLU, Linear on the fused [CLS] (ALBEF, `cls_head`)."""

    part_name = "classification head"

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(width, width)
        self.output = nn.Linear(width, classes)

    def forward(self, fused_tokens: Tensor) -> Tensor:
        """Logits (B, C) of fused tokens (B, L, D)."""
        logits: Tensor = self.output(self.hidden(fused_tokens[:, 0]).relu())
        return logits
