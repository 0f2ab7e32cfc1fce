"""Codebook alignment L_code = L_ot + L_t2p + L_i2p (CODIS, section 3.1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from cbalign.models.transport import Solver, TransportPlan
from cbalign.objectives.contrastive import Embeddings, cross_entropy


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
    *,
    target: Literal["cross", "same", "both"],
    first: int = 0,
) -> CodebookAlignment:
    """Assign teacher features to prototypes by transport, then predict the assignment from the student.

    Cost D = 1 - z̄·c; plan T = argmin <T, D> with uniform marginals, constant. L_ot = <T, D> for images plus texts
    moves only the prototypes (the paper's pseudo-code prints the similarity here). P = softmax(z·C/τ) of each
    student modality is held against the plan of the other modality (`cross`, the paper's text), of its own
    (`same`, its pseudo-code), or against both, averaged.

    Args:
        student: embeddings (B, d) of this process's batch.
        teacher: detached embeddings (N, d) that share a plan: the global batch, perhaps with the queue behind it.
        prototypes: (K, d), unit length.
        temperature: τ.
        first: row of the teacher features where this process's batch begins.
    """
    image_costs = 1 - teacher.image @ prototypes.T
    text_costs = 1 - teacher.text @ prototypes.T
    image_plan, text_plan = solver(image_costs.detach()), solver(text_costs.detach())
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
