"""The common base of kits for tasks that classify texts about images."""

from __future__ import annotations

from typing import ClassVar, Generic, TypeVar

import torch

from cbalign.data.batch import LabelledBatch, LabelledCollation
from cbalign.data.items import Labelled
from cbalign.data.source import Source
from cbalign.data.text import Tokenizer, VocabularyInfo
from cbalign.engine.distribution import World
from cbalign.experiment.experiment import Experiment
from cbalign.models.momentum import Distilled
from cbalign.parts import TaskSection
from cbalign.tasks.classification.learner import ClassificationLearner
from cbalign.tasks.classification.model import ClassifyingNetwork, TorchClassifier
from cbalign.tasks.classification.parity import ClassifyingExportable
from cbalign.tasks.standard import TokenizerKit, example_fields
from cbalign.tasks.training import TokenizerAssets

N = TypeVar("N", bound=ClassifyingNetwork)


class ClassificationKit(TokenizerKit[Distilled[N]], Generic[N]):
    """Implements `cbalign.tasks.kit.TaskKit`, except for `build_model`.

    Args:
        section: the task in a spec.
    """

    labels: ClassVar[tuple[str, ...]]
    """Names of the classes, in the order of the logits."""

    images: ClassVar[int] = 1
    """Number of images of an item."""

    def __init__(self, section: TaskSection) -> None:
        self._section = section

    def learner(
        self, experiment: Experiment, model: Distilled[N], vocabulary: VocabularyInfo, world: World
    ) -> ClassificationLearner[N]:
        """Wrap the model with its training step."""
        return ClassificationLearner(model, experiment.model.teacher, experiment.train.optimizer)

    def collation(self, source: Source[Labelled], tokenizer: Tokenizer) -> LabelledCollation:
        """Return the collation of texts with their classes."""
        return LabelledCollation(source, tokenizer)

    def evaluable(self, model: Distilled[N], assets: TokenizerAssets, device: torch.device) -> TorchClassifier:
        """Return the student as a classifier."""
        return TorchClassifier(model.student, assets.tokenizer, device, self.labels)

    def example_batch(self, experiment: Experiment, text_length: int) -> LabelledBatch:
        """Return texts about `images` images each."""
        labels = torch.zeros(experiment.train.batch_size, dtype=torch.int64)
        return LabelledBatch(**example_fields(experiment, text_length, self.images), labels=labels)

    def exportable(self, model: TorchClassifier, source: Source[Labelled]) -> ClassifyingExportable:
        """Prepare the model for export."""
        return ClassifyingExportable.of(model, source)
