"""Tasks that put a text about images into one of several classes: NLVR2 and SNLI-VE."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Generic, TypeVar

import torch
from torch import Tensor

from cbalign.data.batch import LabelledBatch
from cbalign.data.items import ItemSource, Labelled
from cbalign.engine.task import Progress, StepOutput
from cbalign.evaluation.classification import evaluate_accuracy
from cbalign.evaluation.sections.evaluations import AccuracyEvaluation
from cbalign.models.classifier import TorchClassifier
from cbalign.models.entailment import EntailmentNetwork
from cbalign.models.image_pairs import ImagePairNetwork
from cbalign.objectives.classification import distilled_cross_entropy
from cbalign.tasks.finetune import FineTuning, Setup

N = TypeVar("N", bound=EntailmentNetwork | ImagePairNetwork)


class Classification(FineTuning[N, LabelledBatch], Generic[N]):
    """Learns the classes of statements or premises; keeps `cbalign.engine.task.Task`.

    Args:
        setup: the parts.
        labels: names of the classes, in the order of the logits.
        sources: the items of each split that an evaluation names.
    """

    def __init__(
        self, setup: Setup[N, LabelledBatch], labels: tuple[str, ...], sources: Mapping[str, ItemSource[Labelled]]
    ) -> None:
        super().__init__(setup)
        self._labels = labels
        self._sources = sources
        self._evaluations = [e for e in setup.experiment.evaluate if isinstance(e, AccuracyEvaluation)]
        self._corrupt_limit = setup.experiment.data.corrupt_limit

    def step(self, batch: LabelledBatch, progress: Progress) -> StepOutput:
        """(1-α) CE + α H(softmax(teacher), student), averaged over the batch (ALBEF, models/model_ve.py)."""
        alpha = self.distillation(progress)
        logits = self.model.student(*batch.images.unbind(dim=1), batch.input_ids, batch.attention_mask)
        teacher_logits = self._teacher_logits(batch) if alpha > 0 else None
        loss = distilled_cross_entropy(logits, batch.labels, teacher_logits, alpha).mean()
        right = (logits.detach().argmax(dim=1) == batch.labels).float().mean()
        return StepOutput(loss, {"classification": loss.detach()}, {"accuracy": 100 * right})

    @torch.no_grad()
    def _teacher_logits(self, batch: LabelledBatch) -> Tensor:
        images = batch.images if batch.teacher_images is None else batch.teacher_images
        logits: Tensor = self.model.teacher.network(*images.unbind(dim=1), batch.input_ids, batch.attention_mask)
        return logits

    def evaluate(self, progress: Progress) -> Mapping[str, float]:
        """Accuracies on the splits that the spec lists, without intervals."""
        classifier = TorchClassifier(self.model.student, self.tokenizer, self.world.device, self._labels)
        metrics: dict[str, float] = {}
        for section in self._evaluations:
            result = evaluate_accuracy(
                classifier,
                self._sources[section.on],
                section.model_copy(update={"bootstrap": 0}),
                corrupt_limit=self._corrupt_limit,
                process_group=self.world,
            )
            metrics |= {f"{section.on}/{name}": value for name, value in result.flat().items()}
        return metrics
