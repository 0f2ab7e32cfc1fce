"""The networks that the models of all tasks consist of, built from the `model` section of a spec."""

from __future__ import annotations

from dataclasses import dataclass

from cbalign.experiment.model import ModelSection
from cbalign.models.bert import FusionEncoder, MaskedLanguageHead
from cbalign.models.tower import TextTower, VisionTower, check_towers
from cbalign.parts.results import require_built


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
    config = text.layer_config
    layers = FusionEncoder(config, section.fusion.layers, vision.width, text.dropout) if fusion else None
    words = MaskedLanguageHead(config) if head else None
    if layers is not None:
        text.initialise_fusion(layers)
    if words is not None:
        text.initialise_head(words)
    return Backbone(vision, text, layers, words)
