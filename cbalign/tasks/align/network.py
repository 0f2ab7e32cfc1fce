"""The model of pretraining and retrieval: towers with a teacher, queues, and the modules of its objectives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from torch import Tensor, nn

from cbalign.data.text import VocabularyInfo
from cbalign.errors import PartError
from cbalign.experiment.legacy import LegacySection
from cbalign.experiment.model import ModelSection
from cbalign.models.build import build_towers
from cbalign.models.momentum import Distilled
from cbalign.models.queue import FeatureQueue
from cbalign.models.temperature import LogTemperature, Temperature, build_temperature
from cbalign.models.towers import Towers
from cbalign.objectives.features import Embeddings
from cbalign.objectives.objective import Objective, ObjectiveContext
from cbalign.parts import ObjectiveSection
from cbalign.parts.part import describe
from cbalign.parts.results import require_built


class AlignmentModel(Distilled[Towers]):
    """What a checkpoint holds: the networks, state that several objectives use, and what each objective owns.

    Args:
        student: the networks that are trained.
        momentum: m of the teacher that follows them; None for a model without one.
        queue_length: capacity M of each modality's queue.
        joint_dim: dimension d of the joint space.
        temperature: the contrastive temperature.
        objectives: the active objectives by their names in the spec.
    """

    def __init__(
        self,
        student: Towers,
        *,
        momentum: float | None,
        queue_length: int,
        joint_dim: int,
        temperature: Temperature | LogTemperature,
        objectives: Mapping[str, Objective],
    ) -> None:
        super().__init__(student, momentum)
        self.image_queue = FeatureQueue(queue_length, joint_dim)
        self.text_queue = FeatureQueue(queue_length, joint_dim)
        self.temperature = temperature
        self.objectives = nn.ModuleDict(objectives)

    @property
    def terms(self) -> Mapping[str, Objective]:
        """The objectives by their names in the spec."""
        return cast(Mapping[str, Objective], self.objectives)

    def capability(self, name: str) -> nn.Module | None:
        """Return the module that an objective provides under this name, or None; see `cbalign.models.aligned`."""
        for objective in self.terms.values():
            if name in objective.provided:
                return objective.provided[name]
        return None

    def forward(self, images: Tensor, input_ids: Tensor, attention_mask: Tensor) -> Embeddings:
        """Embed images (B, 3, H, W), uint8, and texts (B, L) with the student."""
        student = self.student
        tokens = student.text(input_ids, attention_mask)
        return Embeddings(
            student.embed_images(student.vision(images)),
            student.embed_texts(tokens, attention_mask),
        )


def build_alignment(
    section: ModelSection,
    objectives: Mapping[str, ObjectiveSection],
    vocabulary: VocabularyInfo,
    *,
    legacy: LegacySection,
    initialise: bool,
) -> AlignmentModel:
    """Build a model with the modules of its objectives.

    Args:
        section: the spec's `model`.
        objectives: the active objectives by name.
        vocabulary: of the tokenizer.
        legacy: quirks of the published code.
        initialise: False skips reading published weights, for a checkpoint that replaces them all.

    Raises:
        PartError: the section of an objective and what it builds disagree.
    """
    fuses = any(each.fuses for each in objectives.values())
    student = build_towers(section, vocabulary.size, fusion=fuses, initialise=initialise)
    context = ObjectiveContext(
        joint_dim=section.joint_dim,
        vision=student.vision,
        text=student.text,
        fused_width=student.text.width if student.fusion is None else student.fusion.width,
        model=section,
        vocabulary=vocabulary,
        legacy=legacy,
        initialise=initialise,
    )
    return AlignmentModel(
        student,
        momentum=section.teacher.follows if any(each.teacher != "unused" for each in objectives.values()) else None,
        queue_length=section.queue.length,
        joint_dim=section.joint_dim,
        temperature=build_temperature(section.temperature),
        objectives={name: _build_objective(each, context) for name, each in objectives.items()},
    )


def _build_objective(section: ObjectiveSection, context: ObjectiveContext) -> Objective:
    objective: object = section.build(context)
    require_built(section, objective, Objective)
    assert isinstance(objective, Objective)
    where = f"{describe(type(section))} builds {section.builds}"
    if objective.provided.keys() != section.provides:
        raise PartError(
            f"{where}: the section provides {sorted(section.provides)}, the module {sorted(objective.provided)}"
        )
    return objective
