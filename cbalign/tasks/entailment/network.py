"""The network for visual entailment (SNLI-VE; ALBEF, models/model_ve.py)."""

from __future__ import annotations

from torch import Tensor

from cbalign.data.items import ENTAILMENT_LABELS
from cbalign.experiment.model import ModelSection
from cbalign.models.backbone import build_backbone
from cbalign.models.bert import FusionEncoder
from cbalign.models.image_text import ClassificationHead, ImageTextEncoder
from cbalign.models.momentum import Distilled
from cbalign.models.tower import TextTower, VisionTower
from cbalign.tasks.classification.model import ClassifyingNetwork


class EntailmentNetwork(ImageTextEncoder, ClassifyingNetwork):
    """A classifier of texts about images.

    Args:
        vision, text, fusion: the towers.
        classes: 3 for SNLI-VE; ALBEF's order is contradiction, neutral, entailment.
    """

    def __init__(self, vision: VisionTower, text: TextTower, fusion: FusionEncoder, classes: int = 3) -> None:
        super().__init__(vision, text, fusion)
        self.head = ClassificationHead(fusion.width, classes)

    def forward(self, images: Tensor, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Classify texts (B, L) about images (B, 3, H, W): logits (B, C)."""
        logits: Tensor = self.head(self.fuse(images, input_ids, attention_mask))
        return logits


def build_entailment(
    section: ModelSection, vocabulary: int, *, initialise: bool = True
) -> Distilled[EntailmentNetwork]:
    """Build the model.

    Args:
        section: sizes and initial weights.
        vocabulary: number of tokens that the tokenizer knows.
        initialise: whether to load the weights that the section names.
    """
    parts = build_backbone(section, vocabulary, initialise=initialise)
    network = EntailmentNetwork(parts.vision, parts.text, parts.fused, len(ENTAILMENT_LABELS))
    return Distilled(network, section.teacher.follows)
