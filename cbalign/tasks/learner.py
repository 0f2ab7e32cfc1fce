"""The base of learners whose model is a student and a momentum teacher that follows it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Generic, TypeVar

from torch import Tensor, nn

from cbalign.data.batch import TensorBatch
from cbalign.engine.task import ParameterGroup, Progress, StepOutput, no_decay_for_vectors
from cbalign.experiment.model import TeacherSection
from cbalign.experiment.training import AdamWSection
from cbalign.models.momentum import Distilled
from cbalign.models.tower import Tower, VisionTower
from cbalign.models.trained import layers

B = TypeVar("B", bound=TensorBatch)
N = TypeVar("N", bound=nn.Module)


class DistilledLearner(ABC, Generic[N, B]):
    """Implements `cbalign.engine.task.Learner`, except for `step`.

    Args:
        model: the student and its teacher, on their device.
        teacher: weight and ramp of the teacher's soft targets.
        optimizer: learning rates of the towers, weight decay.
    """

    def __init__(self, model: Distilled[N], teacher: TeacherSection, optimizer: AdamWSection) -> None:
        self.model = model
        self._teacher = teacher
        self._optimizer = optimizer

    def parameter_groups(self) -> Sequence[ParameterGroup]:
        """Return the parameter groups of `tower_groups`."""
        return tower_groups(self.model, self.model.student, self._optimizer)

    def before_step(self, progress: Progress) -> None:
        """Move the teacher towards the student."""
        self.model.update_teacher()

    def read_images(self, images: Tensor, second: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return what student and teacher read: pixels, or features where both share a frozen tower.

        Args:
            images: of the student, (B, 3, H, W) or (B, n, 3, H, W).
            second: of the teacher; None for the same view.
        """
        vision = dict(self.model.student.named_children()).get("vision")
        if second is not None or not isinstance(vision, VisionTower) or not vision.frozen:
            return images, images if second is None else second
        if images.is_floating_point():
            return images, images
        features: Tensor = vision(images.flatten(0, -4))
        whole = features.view(*images.shape[:-3], *features.shape[1:])
        return whole, whole

    @abstractmethod
    def step(self, batch: B, progress: Progress) -> StepOutput:
        """Compute the losses of one micro-batch."""

    def after_step(self, progress: Progress) -> None:
        """Leave the parameters as they are: none is constrained."""

    def distillation(self, progress: Progress) -> float:
        """Return α, which rises linearly from 0 over the first epochs (ALBEF, NLVR.py, VE.py, VQA.py)."""
        return self._teacher.weight * progress.ramp(self._teacher.ramp_epochs)


def tower_groups(model: nn.Module, student: nn.Module, optimizer: AdamWSection) -> list[ParameterGroup]:
    """Split the parameters of a model into groups: matrices decay, vectors do not, towers have their own rates.

    Args:
        model: whose parameters are trained.
        student: a part of it; its submodules `vision` and `text` are the towers.
        optimizer: weight decay and learning-rate factors.
    """
    decay = optimizer.weight_decay
    children = dict(student.named_children())
    scales = {"vision": optimizer.vision_lr_scale, "text": optimizer.text_lr_scale}
    towers = [(children[name], scale) for name, scale in scales.items() if name in children]
    in_towers = {id(p) for tower, _ in towers for p in tower.parameters()}
    groups = no_decay_for_vectors((p for p in model.parameters() if id(p) not in in_towers), decay)
    for tower, scale in towers:
        groups += _layer_groups(tower, decay, scale)
    return groups


def _layer_groups(tower: nn.Module, decay: float, scale: float) -> list[ParameterGroup]:
    """The groups of a tower; with layer decay, one layer behind the other, the lowest rate first."""
    if not isinstance(tower, Tower) or tower.layer_decay == 1:
        return no_decay_for_vectors(tower.parameters(), decay, scale)
    by_layer: dict[int, list[nn.Parameter]] = {}
    for parameter, layer in layers(tower):
        by_layer.setdefault(layer, []).append(parameter)
    top = len(list(tower.blocks)) + 1
    return [
        group
        for layer in sorted(by_layer)
        for group in no_decay_for_vectors(by_layer[layer], decay, scale * tower.layer_decay ** (top - layer))
    ]
