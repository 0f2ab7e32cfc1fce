"""The networks that the models of all tasks consist of, built from the `model` section of a spec."""

from __future__ import annotations

from dataclasses import dataclass, replace

from cbalign.experiment.model import FusionSection, ModelSection
from cbalign.models.bert import FusionEncoder, MaskedLanguageHead
from cbalign.models.pretrained import PublishedBert, bert_config
from cbalign.models.tower import TextTower, VisionTower, check_towers
from cbalign.models.trained import apply_training
from cbalign.parts.results import require_built

FUSION_PLACE = "model.fusion.architecture"


@dataclass(frozen=True)
class Backbone:
    """Towers and the layers that follow them.

    Args:
        vision, text: the towers.
        fusion, head: fusion layers and masked-language head, where they were asked for.
    """

    vision: VisionTower
    text: TextTower
    fusion: FusionEncoder | None
    head: MaskedLanguageHead | None

    @property
    def fused(self) -> FusionEncoder:
        """The fusion layers of a model that always has them."""
        assert self.fusion is not None
        return self.fusion


def build_backbone(
    section: ModelSection, vocabulary: int, *, initialise: bool, fusion: bool = True, head: bool = False
) -> Backbone:
    """Build towers, fusion layers and head.

    Args:
        section: `model` of a spec.
        vocabulary: number of tokens that the tokenizer knows.
        initialise: whether to load the weights that the sections of the towers name.
        fusion, head: whether to build fusion layers and masked-language head.

    Raises:
        SpecError: sizes that contradict each other.
        CheckpointError: weights do not fit or cannot be read.
        PartError: a tower of an installed distribution cannot be built.
    """
    vision: VisionTower = section.vision.build(initialise)
    text: TextTower = section.text.build(vocabulary, initialise)
    require_built(section.vision, vision, VisionTower)
    require_built(section.text, text, TextTower)
    check_towers(vision, text, section.vision.token_count())
    apply_training(section.vision, vision, "model.vision")
    apply_training(section.text, text, "model.text")
    layers = build_fusion(section.fusion, text, vision.width, initialise) if fusion else None
    words = build_language_head(text, text.width if layers is None else layers.width) if head else None
    text.release_published()
    return Backbone(vision, text, layers, words)


def build_language_head(text: TextTower, fused_width: int) -> MaskedLanguageHead:
    """Build a masked-language head, from the text tower's own if it has one.

    Args:
        text: the text tower, whose word embeddings are the output matrix.
        fused_width: width of the tokens that the head reads.

    Raises:
        CheckpointError: the published weights do not fit or cannot be read.
    """
    head = MaskedLanguageHead(replace(text.layer_config, width=text.word_embeddings.shape[1]), fused_width)
    text.initialise_head(head)
    return head


def build_fusion(section: FusionSection, text: TextTower, image_width: int, initialise: bool) -> FusionEncoder:
    """Build the fusion layers that read a text tower's tokens.

    Args:
        section: `model.fusion`.
        text: the text tower.
        image_width: width of an image token.
        initialise: whether to load published weights.

    Raises:
        SpecError: the BERT that the section names has fewer layers.
        CheckpointError: its weights do not fit or cannot be read.
    """
    config = text.layer_config
    if section.architecture is not None:
        config = replace(bert_config(section.architecture, FUSION_PLACE), vocabulary=config.vocabulary)
    fusion = FusionEncoder(config, section.layers, image_width, text.dropout, text.width)
    if initialise and section.init == "pretrained":
        if section.architecture is None:
            text.initialise_fusion(fusion)
        else:
            PublishedBert(section.architecture, FUSION_PLACE).load_fusion(fusion, section.layers)
    return fusion
