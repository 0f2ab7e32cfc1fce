"""One training step of pretraining and retrieval: a weighted sum over the objectives that the spec names.

With the built-in objectives this is CODIS; without its codebook and intra-modal terms it is ALBEF.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from cbalign.data.batch import Batch
from cbalign.engine.distribution import World
from cbalign.engine.task import Progress, StepOutput
from cbalign.experiment.model import TeacherSection
from cbalign.experiment.training import AdamWSection
from cbalign.models.towers import Towers
from cbalign.objectives.objective import Objective, compute_terms
from cbalign.objectives.step import Step
from cbalign.parts import ObjectiveSection
from cbalign.tasks.align.network import AlignmentModel
from cbalign.tasks.learner import DistilledLearner


class AlignmentLearner(DistilledLearner[Towers, Batch]):
    """Implements `Learner`: a model and how one batch moves it. See `Step` for the order of a step.

    Args:
        model: on its device.
        objectives: the active objectives by name, as the model was built with.
        teacher: weight and ramp of the teacher's soft targets.
        optimizer: learning rates of the towers, weight decay.
        world: the processes that train together.
    """

    model: AlignmentModel

    def __init__(
        self,
        model: AlignmentModel,
        objectives: Mapping[str, ObjectiveSection],
        teacher: TeacherSection,
        optimizer: AdamWSection,
        world: World,
    ) -> None:
        super().__init__(model, teacher, optimizer)
        self._sections = objectives
        self._world = world

    def before_step(self, progress: Progress) -> None:
        """Move the teachers towards the student."""
        super().before_step(progress)
        for objective in self.model.terms.values():
            objective.before_step(progress)

    def step(self, batch: Batch, progress: Progress) -> StepOutput:
        """Compute the loss of one micro-batch."""
        step = self.begin(batch, progress)
        terms = compute_terms(self._active(progress), step)
        step.push_queues()
        total = torch.stack([self._sections[name].weight * term.loss for name, term in terms.items()]).sum()
        metrics: dict[str, Tensor] = {}
        for term in terms.values():
            metrics |= {name: value.detach() for name, value in term.metrics.items()}
        return StepOutput(total, {name: term.loss.detach() for name, term in terms.items()}, metrics)

    def after_step(self, progress: Progress) -> None:
        """Clamp the temperature and let objectives restore their constraints."""
        self.model.temperature.clamp()
        for objective in self.model.terms.values():
            objective.after_step(progress)

    def _active(self, progress: Progress) -> dict[str, Objective]:
        """Return the objectives of this step."""
        terms = self.model.terms.items()
        return {name: term for name, term in terms if progress.step % self._sections[name].every == 0}

    def begin(self, batch: Batch, progress: Progress) -> Step:
        """Return the step of a micro-batch, with α growing linearly from 0 over the first epochs."""
        return Step(self.model, batch, progress, self._world, self.distillation(progress))
