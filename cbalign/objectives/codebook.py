"""Codebook alignment L_code = L_ot + L_t2p + L_i2p (CODIS, section 3.1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from cbalign.engine.task import Progress
from cbalign.models.codebook import Codebook
from cbalign.models.transport import Solver, TransportPlan, build_solver
from cbalign.objectives.care import CodebookCare, average_state
from cbalign.objectives.classification import cross_entropy
from cbalign.objectives.codebook_health import codebook_use
from cbalign.objectives.features import Embeddings
from cbalign.objectives.objective import Objective, ObjectiveContext, Term
from cbalign.objectives.sections.codebook import CodebookObjectiveSection
from cbalign.objectives.step import Step, TextRequest


class CodebookObjective(Objective):
    """L_code; owns the prototypes and logs how well they are used."""

    def __init__(self, section: CodebookObjectiveSection, context: ObjectiveContext) -> None:
        super().__init__(section, context)
        self.target, self.transport_weight = section.target, section.transport_weight
        self.settings = context.model.codebook
        self.codebook = Codebook(self.settings.size, context.joint_dim, self.settings.temperature)
        self.codebook.prototypes.no_weight_decay = True  # type: ignore[attr-defined]
        self.care = CodebookCare(self.codebook, self.settings)
        # One for each modality: their state differs, if they have any.
        self.solvers = nn.ModuleDict(
            {each: build_solver(self.settings.transport, self.settings.size) for each in ("image", "text")}
        )

    @property
    def provided(self) -> Mapping[str, nn.Module]:
        """The codebook."""
        return {"codebook": self.codebook}

    def texts(self, step: Step) -> Sequence[TextRequest]:
        """Request the captions, of student and teacher."""
        return step.captions, step.teacher_captions

    def forward(self, step: Step) -> Term:
        """Compute L_code; logs its parts, and the health of the codebook in steps that are logged."""
        student, assigned = step.embeddings, self._assigned(step)
        with step.full_precision():
            found = codebook_alignment(
                student,
                assigned,
                self.care.trained(self.codebook, step.progress.step),
                self.codebook.temperature,
                self.solvers["image"],
                self.solvers["text"],
                target=self.target,
                first=0 if self.settings.assign_over == "batch" else step.first,
            )
            if self.settings.assign_over == "batch":
                average_state(self.solvers, step.world)
            self.care.note(assigned, (found.image_plan, found.text_plan), step.world)
            use = codebook_use(self.codebook, student, step)
        parts = {"codebook/transport": found.transport, "codebook/prediction": found.prediction}
        loss = found.loss if self.transport_weight == 1 else found.prediction + self.transport_weight * found.transport
        return Term(loss, {**parts, **use, **self.care.metrics()})

    def after_step(self, progress: Progress) -> None:
        """Move the prototypes as the spec asks, and bring them back to unit length."""
        self.care.move(self.codebook, progress)
        self.codebook.renormalise()

    def _assigned(self, step: Step) -> Embeddings:
        """The teacher features that share one plan."""
        if self.settings.assign_over == "batch":
            return step.teacher_embeddings
        if self.settings.assign_over == "global_batch":
            return step.global_batch
        return Embeddings(step.keys.images.features, step.keys.texts.features)


@dataclass(frozen=True)
class CodebookAlignment:
    """The terms of L_code, scalars, and the plans they rest on."""

    transport: Tensor  # L_ot
    prediction: Tensor  # L_t2p + L_i2p
    image_plan: TransportPlan
    text_plan: TransportPlan

    @property
    def loss(self) -> Tensor:
        """L_code."""
        return self.transport + self.prediction


def codebook_alignment(
    student: Embeddings,
    teacher: Embeddings,
    prototypes: Tensor,
    temperature: float,
    solver: Solver,
    text_solver: Solver | None = None,
    *,
    target: Literal["cross", "same", "both"],
    first: int = 0,
) -> CodebookAlignment:
    """Assign teacher features to prototypes by transport, then predict the assignment from the student.

    Cost D = 1 - z̄·c; plan T = argmin <T, D> with the solver's marginals, constant. L_ot = <T, D> for images plus texts
    moves only the prototypes (the paper's pseudo-code prints the similarity here). P = softmax(z·C/τ) of each
    student modality is held against the plan of the other modality (`cross`, the paper's text), of its own
    (`same`, its pseudo-code), or against both, averaged.

    Args:
        student: embeddings (B, d) of this process's batch.
        teacher: detached embeddings (N, d) that share a plan: the global batch, perhaps with the queue behind it.
        prototypes: (K, d), unit length.
        temperature: τ.
        solver: of the images, and of the texts too unless `text_solver` is given.
        text_solver: of the texts.
        first: row of the teacher features where this process's batch begins.
    """
    image_costs = 1 - teacher.image @ prototypes.T
    text_costs = 1 - teacher.text @ prototypes.T
    image_plan, text_plan = solver(image_costs.detach()), (text_solver or solver)(text_costs.detach())
    mine = slice(first, first + len(student.image))
    image_targets, text_targets = image_plan.targets()[mine], text_plan.targets()[mine]
    image_logits = student.image @ prototypes.T / temperature
    text_logits = student.text @ prototypes.T / temperature
    if target == "cross":
        image_targets, text_targets = text_targets, image_targets
    elif target == "both":
        image_targets = text_targets = (image_targets + text_targets) / 2
    return CodebookAlignment(
        transport=image_plan.cost(image_costs) + text_plan.cost(text_costs),
        prediction=cross_entropy(text_logits, text_targets) + cross_entropy(image_logits, image_targets),
        image_plan=image_plan,
        text_plan=text_plan,
    )
