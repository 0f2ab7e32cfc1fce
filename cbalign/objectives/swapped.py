"""Swapped prediction between two views of an image (Caron et al., SwAV, NeurIPS 2020, section 3.1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from torch import Tensor

from cbalign.models.codebook import Codebook
from cbalign.models.transport import Solver, build_solver
from cbalign.objectives.care import average_state
from cbalign.objectives.classification import cross_entropy
from cbalign.objectives.objective import Objective, ObjectiveContext, Term
from cbalign.objectives.sections.swapped import SwappedSection
from cbalign.objectives.step import Step, TextRequest


class Swapped(Objective):
    """SwAV's loss on the images of the batch, with the codebook that both modalities share."""

    def __init__(self, section: SwappedSection, context: ObjectiveContext) -> None:
        super().__init__(section, context)
        self.settings = context.model.codebook
        self.solve = build_solver(self.settings.transport, self.settings.size)

    def texts(self, step: Step) -> Sequence[TextRequest]:
        """Request no text."""
        return ()

    def forward(self, step: Step) -> Term:
        """Compute the loss."""
        codebook = cast(Codebook, step.capability("codebook"))
        frozen = step.progress.step < self.settings.freeze_steps or self.settings.update == "average"
        prototypes = codebook.prototypes.detach() if frozen else codebook.prototypes
        one, two, shared = step.image_embedding, step.second_image_embedding, self.settings.assign_over != "batch"
        with step.full_precision():
            every = (step.world.gather(one.detach()), step.world.gather(two.detach())) if shared else (one, two)
            first = step.first if shared else 0
            loss = swapped_prediction(one, two, *every, prototypes, codebook.temperature, self.solve, first=first)
            if not shared:
                average_state(self.solve, step.world)
        return Term(loss)


def swapped_prediction(
    one: Tensor,
    two: Tensor,
    every_one: Tensor,
    every_two: Tensor,
    prototypes: Tensor,
    temperature: float,
    solver: Solver,
    *,
    first: int = 0,
) -> Tensor:
    """L = (H(q₂, softmax(z₁·C/τ)) + H(q₁, softmax(z₂·C/τ))) / 2.

    q₁ and q₂ are the rows of the plans of the views, constants. Gradients reach both views and the prototypes.

    Args:
        one, two: z₁ and z₂, embeddings (B, d) of the views of this process's batch.
        every_one, every_two: those (N, d) that share a plan.
        prototypes: C (K, d), unit length.
        temperature: τ.
        solver: turns costs into plans.
        first: row of `every_one` where this process's batch begins.
    """
    mine = slice(first, first + len(one))
    q_one, q_two = (solver(1 - z.detach() @ prototypes.detach().T).targets()[mine] for z in (every_one, every_two))
    loss_one = cross_entropy(one @ prototypes.T / temperature, q_two)
    loss_two = cross_entropy(two @ prototypes.T / temperature, q_one)
    return (loss_one + loss_two) / 2
