"""Builds everything of the task `caption-check`."""

from __future__ import annotations

from cbalign.data.batch import LabelledCollation
from cbalign.data.items import Pair
from cbalign.data.source import Source
from cbalign.data.text import Tokenizer, VocabularyInfo
from cbalign.experiment.experiment import Experiment
from cbalign.models.backbone import build_backbone
from cbalign.models.momentum import Distilled
from cbalign.tasks.classification.kit import ClassificationKit
from cbalign.tasks.classification.model import TorchClassifier
from cbalign.tasks.classification.parity import ClassifyingExportable
from cbalign.tasks.entailment.network import EntailmentNetwork
from cbalign_example.caption_check.items import LABELS, Captions


class Kit(ClassificationKit[EntailmentNetwork]):
    """Implements `cbalign.tasks.kit.TaskKit`: a classifier whose items are made from pairs."""

    labels = LABELS

    def build_model(
        self, experiment: Experiment, vocabulary: VocabularyInfo, *, initialise: bool
    ) -> Distilled[EntailmentNetwork]:
        """Build towers, fusion layers and a head of two classes, with their teacher."""
        parts = build_backbone(experiment.model, vocabulary.size, initialise=initialise)
        network = EntailmentNetwork(parts.vision, parts.text, parts.fused, len(LABELS))
        return Distilled(network, experiment.model.teacher.momentum)

    def collation(self, source: Source[Pair], tokenizer: Tokenizer) -> LabelledCollation:
        """Return the collation of images with right and wrong captions."""
        return LabelledCollation(Captions(source), tokenizer)

    def exportable(self, model: TorchClassifier, source: Source[Pair]) -> ClassifyingExportable:
        """Prepare the model for export."""
        return ClassifyingExportable.of(model, Captions(source))
