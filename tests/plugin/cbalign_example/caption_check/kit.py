"""Builds everything of the task `caption-check`."""

from __future__ import annotations

from cbalign.data.text import VocabularyInfo
from cbalign.experiment.experiment import Experiment
from cbalign.models.backbone import build_backbone
from cbalign.models.momentum import Distilled
from cbalign.tasks.classification.kit import ClassificationKit
from cbalign.tasks.entailment.network import EntailmentNetwork
from cbalign_example.caption_check.items import LABELS


class Kit(ClassificationKit[EntailmentNetwork]):
    """Implements `cbalign.tasks.kit.TaskKit`: a classifier of one image with one text."""

    labels = LABELS

    def build_model(
        self, experiment: Experiment, vocabulary: VocabularyInfo, *, initialise: bool
    ) -> Distilled[EntailmentNetwork]:
        """Build towers, fusion layers and a head of two classes, with their teacher."""
        parts = build_backbone(experiment.model, vocabulary.size, initialise=initialise)
        network = EntailmentNetwork(parts.vision, parts.text, parts.fused, len(LABELS))
        return Distilled(network, experiment.model.teacher.momentum)
