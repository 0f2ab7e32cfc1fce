"""From the sections of a spec to a model: the one place that turns sections into modules."""

from __future__ import annotations

from cbalign.data.items import ENTAILMENT_LABELS, STATEMENT_LABELS
from cbalign.experiment.model import ModelSection
from cbalign.models.answering import AnswerDecoder, AnsweringNetwork
from cbalign.models.backbone import Backbone, build_backbone
from cbalign.models.entailment import EntailmentNetwork
from cbalign.models.image_pairs import ImagePairNetwork, PairFusionEncoder, TextAssignmentNetwork
from cbalign.models.image_text import ClassificationHead
from cbalign.models.momentum import Distilled
from cbalign.models.towers import Towers


def build_towers(section: ModelSection, vocabulary: int, *, fusion: bool, initialise: bool) -> Towers:
    """Build the towers of pretraining and retrieval.

    Args:
        section: sizes and initial weights.
        vocabulary: number of tokens that the tokenizer knows.
        fusion: whether an objective reads fused tokens.
        initialise: False skips reading initial weights, for a checkpoint that replaces them all.
    """
    parts = build_backbone(section, vocabulary, initialise=initialise, fusion=fusion)
    return Towers(parts.vision, parts.text, parts.fusion, section.joint_dim)


def build_entailment(
    section: ModelSection, vocabulary: int, *, pretrained: bool = True
) -> Distilled[EntailmentNetwork]:
    """The model of the task `entailment`; see `build_towers` for the arguments."""
    parts = build_backbone(section, vocabulary, initialise=pretrained)
    network = EntailmentNetwork(parts.vision, parts.text, parts.fused, len(ENTAILMENT_LABELS))
    return Distilled(network, section.teacher.momentum)


def build_answering(section: ModelSection, vocabulary: int, *, pretrained: bool = True) -> Distilled[AnsweringNetwork]:
    """The model of the task `vqa`, whose decoder starts as the fusion layers; see `build_towers` for the arguments."""
    parts = build_backbone(section, vocabulary, initialise=pretrained, head=True)
    decoder = AnswerDecoder(parts.text.layer_config, section.fusion.layers, parts.text.dropout)
    decoder.start_from(parts.text, parts.fused, parts.head)
    network = AnsweringNetwork(parts.vision, parts.text, parts.fused, decoder)
    return Distilled(network, section.teacher.momentum)


def build_image_pairs(
    section: ModelSection, vocabulary: int, *, pretrained: bool = True
) -> Distilled[ImagePairNetwork]:
    """The model of the task `nlvr2`; see `build_towers` for the arguments."""
    parts, fusion = _doubled(section, vocabulary, pretrained)
    head = ClassificationHead(parts.text.width, len(STATEMENT_LABELS))
    return Distilled(ImagePairNetwork(parts.vision, parts.text, fusion, head), section.teacher.momentum)


def build_text_assignment(
    section: ModelSection, vocabulary: int, *, pretrained: bool = True
) -> Distilled[TextAssignmentNetwork]:
    """The model of the text-assignment stage of `nlvr2`; see `build_towers` for the arguments."""
    parts, fusion = _doubled(section, vocabulary, pretrained)
    network = TextAssignmentNetwork(parts.vision, parts.text, fusion, section.joint_dim)
    return Distilled(network, section.teacher.momentum)


def _doubled(section: ModelSection, vocabulary: int, pretrained: bool) -> tuple[Backbone, PairFusionEncoder]:
    """Towers, and fusion layers of which both copies are the published ones where these are loaded."""
    parts = build_backbone(section, vocabulary, initialise=pretrained)
    fusion = PairFusionEncoder(parts.text.layer_config, section.fusion.layers, parts.vision.width, parts.text.dropout)
    if pretrained:
        fusion.start_from(parts.fused)
    return parts, fusion
