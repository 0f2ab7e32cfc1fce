"""The network for statements about two images (NLVR2; ALBEF, models/model_nlvr.py).

Every fusion layer is doubled: its first copy attends to the first image, its second to the second. Both copies share
one projection of images to keys and values, so an image is read the same way wherever it stands.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cbalign.data.items import STATEMENT_LABELS
from cbalign.experiment.model import ModelSection, ProjectionSection
from cbalign.models.backbone import Backbone, build_backbone
from cbalign.models.bert import BertConfig, FusionEncoder
from cbalign.models.bert_layers import BertLayer, KeyValues, initialise, key_mask, text_map
from cbalign.models.image_text import ClassificationHead
from cbalign.models.momentum import Distilled
from cbalign.models.projection import build_projection
from cbalign.models.tower import TextTower, VisionTower
from cbalign.models.towers import unit
from cbalign.tasks.classification.model import ClassifyingNetwork

ASSIGNMENTS = 3  # a text belongs to the first image, the second, or neither


class PairFusionEncoder(nn.Module):
    """Fusion layers in pairs, one of each pair per image.

    Args:
        config: sizes of the text model.
        layers: number of pairs.
        image_width: width of an image token.
        dropout: in attention and feed-forward parts.
        text_width: width of a text token; a linear map precedes the layers where it is not theirs. None: theirs.
    """

    part_name = "fusion layers"

    def __init__(
        self, config: BertConfig, layers: int, image_width: int, dropout: float, text_width: int | None = None
    ) -> None:
        super().__init__()
        self.width = config.width
        self.text_map = text_map(text_width or config.width, config.width)
        self.first = nn.ModuleList(BertLayer(config, dropout, image_width) for _ in range(layers))
        self.second = nn.ModuleList(BertLayer(config, dropout, image_width) for _ in range(layers))
        for layer in self.second:
            # Not shared modules but none at all: a checkpoint then holds each weight once.
            del layer.cross_attention.key, layer.cross_attention.value  # type: ignore[union-attr]
        initialise(self, config.initializer_range)

    @torch.no_grad()
    def start_from(self, fusion: FusionEncoder) -> None:
        """Both copies of every layer become the pretrained one."""
        self.text_map.load_state_dict(fusion.text_map.state_dict())
        for copies in (self.first, self.second):
            for copy, layer in zip(copies, fusion.layers, strict=True):
                weights = layer.state_dict()
                copy.load_state_dict({name: weights[name] for name in copy.state_dict()})

    def read_images(self, image_tokens: Tensor) -> tuple[KeyValues, ...]:
        """Each pair's keys and values of image tokens (B, N, D_image), be it a first or a second image."""
        return tuple(layer.cross_attention.read(image_tokens) for layer in self.first)  # type: ignore[union-attr,operator]

    def forward(
        self,
        text_tokens: Tensor,
        attention_mask: Tensor,
        first_images: tuple[KeyValues, ...],
        second_images: tuple[KeyValues, ...],
    ) -> Tensor:
        """Fused tokens (B, L, D) of texts (B, L, D), each with its two images."""
        hidden, mask = self.text_map(text_tokens), key_mask(attention_mask)
        pairs = zip(self.first, self.second, first_images, second_images, strict=True)
        for on_first, on_second, first, second in pairs:
            hidden = on_second(on_first(hidden, mask, first), mask, second)
        return hidden


class ImagePairNetwork(ClassifyingNetwork):
    """Fused tokens of a text with two images, and a head that classifies them.

    Args:
        vision, text: the towers.
        fusion: the doubled layers.
        head: `ClassificationHead(width, 2)` for NLVR2, or another that takes fused tokens (B, L, D).
    """

    def __init__(self, vision: VisionTower, text: TextTower, fusion: PairFusionEncoder, head: nn.Module) -> None:
        super().__init__()
        self.vision = vision
        self.text = text
        self.fusion = fusion
        self.head = head

    def forward(self, first: Tensor, second: Tensor, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Logits (B, C) of texts (B, L) about two images, each (B, 3, H, W)."""
        # Unflattened rather than cut in two: an export keeps any number of pairs.
        left, right = self.vision(torch.cat([first, second])).unflatten(0, (2, first.shape[0])).unbind(0)
        return self.classify(left, right, input_ids, attention_mask)

    def classify(self, left: Tensor, right: Tensor, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Logits (B, C) of texts (B, L) about two images as tokens, each (B, N, D_image)."""
        fused = self.fusion(
            self.text(input_ids, attention_mask),
            attention_mask,
            self.fusion.read_images(left),
            self.fusion.read_images(right),
        )
        logits: Tensor = self.head(fused)
        return logits


class AssignmentHead(nn.Linear):
    """Classifies from the fused [CLS] whether a text belongs to the first image, the second or neither (`ta_head`)."""

    part_name = "assignment head"

    def __init__(self, width: int) -> None:
        super().__init__(width, ASSIGNMENTS)

    def forward(self, fused_tokens: Tensor) -> Tensor:
        """Logits (B, 3) of fused tokens (B, L, D)."""
        return super().forward(fused_tokens[:, 0])


class TextAssignmentNetwork(ImagePairNetwork):
    """The network for pretraining NLVR2's doubled layers (ALBEF, models/model_pretrain_nlvr.py).

    Args:
        vision, text, fusion: see `ImagePairNetwork`.
        joint_dim: of the pretrained projection, by which images are compared.
        hidden: width of its hidden layer; None for a linear map.
    """

    part_name = "projections"

    def __init__(
        self, vision: VisionTower, text: TextTower, fusion: PairFusionEncoder, joint_dim: int, hidden: int | None = None
    ) -> None:
        super().__init__(vision, text, fusion, AssignmentHead(fusion.width))
        projection = ProjectionSection(hidden=hidden)
        self.image_projection = build_projection(vision.pooled_width, joint_dim, projection).requires_grad_(False)

    @torch.no_grad()
    def embed_images(self, image_tokens: Tensor) -> Tensor:
        """Image tokens (B, N, D) to unit vectors (B, d) in float32."""
        return unit(self.image_projection(self.vision.pool(image_tokens.detach())))


def build_image_pairs(
    section: ModelSection, vocabulary: int, *, initialise: bool = True
) -> Distilled[ImagePairNetwork]:
    """Build the model that judges statements.

    Args:
        section: sizes and initial weights.
        vocabulary: number of tokens that the tokenizer knows.
        initialise: whether to load the weights that the section names.
    """
    parts, fusion = _doubled(section, vocabulary, initialise)
    head = ClassificationHead(fusion.width, len(STATEMENT_LABELS))
    return Distilled(ImagePairNetwork(parts.vision, parts.text, fusion, head), section.teacher.follows)


def build_text_assignment(
    section: ModelSection, vocabulary: int, *, initialise: bool = True
) -> Distilled[TextAssignmentNetwork]:
    """Build the model of the text-assignment stage; see `build_image_pairs`."""
    parts, fusion = _doubled(section, vocabulary, initialise)
    network = TextAssignmentNetwork(parts.vision, parts.text, fusion, section.joint_dim, section.projection.hidden)
    return Distilled(network, section.teacher.follows)


def _doubled(section: ModelSection, vocabulary: int, initialise: bool) -> tuple[Backbone, PairFusionEncoder]:
    """Build towers and doubled fusion layers; both copies take the published weights."""
    parts = build_backbone(section, vocabulary, initialise=initialise)
    fusion = PairFusionEncoder(
        parts.fused.config, section.fusion.layers, parts.vision.width, parts.text.dropout, parts.text.width
    )
    if initialise:
        fusion.start_from(parts.fused)
    return parts, fusion
