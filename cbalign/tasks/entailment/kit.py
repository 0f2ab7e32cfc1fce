"""Builds everything of the task `entailment`."""

from __future__ import annotations

from cbalign.data.items import ENTAILMENT_LABELS
from cbalign.data.text import VocabularyInfo
from cbalign.experiment.experiment import Experiment
from cbalign.models.momentum import Distilled
from cbalign.tasks.classification.kit import ClassificationKit
from cbalign.tasks.entailment.network import EntailmentNetwork, build_entailment


class EntailmentKit(ClassificationKit[EntailmentNetwork]):
    """Implements `cbalign.tasks.kit.TaskKit`."""

    labels = ENTAILMENT_LABELS

    def build_model(
        self, experiment: Experiment, vocabulary: VocabularyInfo, *, initialise: bool
    ) -> Distilled[EntailmentNetwork]:
        """Build towers, fusion layers and classifier, with their teacher."""
        return build_entailment(experiment.model, vocabulary.size, initialise=initialise)
