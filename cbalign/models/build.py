"""Build the towers of pretraining and retrieval from a spec."""

from __future__ import annotations

from cbalign.experiment.model import ModelSection
from cbalign.models.backbone import build_backbone
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
    return Towers(parts.vision, parts.text, parts.fusion, section.joint_dim, section.projection)
