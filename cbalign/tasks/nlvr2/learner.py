"""Training of the text-assignment stage: the pretraining of NLVR2's doubled layers (ALBEF, NLVR.py).

The statements themselves are learned by `cbalign.tasks.classification.learner`.
"""

from __future__ import annotations

from cbalign.data.batch import Batch
from cbalign.engine.distribution import World
from cbalign.engine.task import Progress, StepOutput
from cbalign.experiment.model import TeacherSection
from cbalign.experiment.training import AdamWSection
from cbalign.models.momentum import Distilled
from cbalign.tasks.learner import DistilledLearner
from cbalign.tasks.nlvr2.loss import draw_assignments, text_assignment
from cbalign.tasks.nlvr2.network import TextAssignmentNetwork


class TextAssignmentLearner(DistilledLearner[TextAssignmentNetwork, Batch]):
    """Learns to which of two images a caption belongs; implements `cbalign.engine.task.Learner`."""

    def __init__(
        self, model: Distilled[TextAssignmentNetwork], teacher: TeacherSection, optimizer: AdamWSection, world: World
    ) -> None:
        super().__init__(model, teacher, optimizer)
        self._world = world

    def step(self, batch: Batch, progress: Progress) -> StepOutput:
        """Cross-entropy over first, second and neither; the images are encoded once."""
        network = self.model.student
        tokens = network.vision(batch.images)
        same_image = batch.image_ids[:, None] == batch.image_ids[None, :]
        drawn = draw_assignments(network.embed_images(tokens), same_image)
        logits = network.classify(tokens[drawn.first], tokens[drawn.second], batch.input_ids, batch.attention_mask)
        count = self._world.mean(drawn.valid.sum().float())
        loss = text_assignment(logits, drawn, count)
        right = ((logits.detach().argmax(dim=1) == drawn.label) & drawn.valid).sum() / count.clamp(min=1)
        return StepOutput(loss, {"text_assignment": loss.detach()}, {"accuracy": 100 * right})
