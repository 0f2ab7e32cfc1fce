"""Hard codes with straight-through gradients: vector quantisation and finite scalar quantisation.

VQ: van den Oord et al., Neural discrete representation learning, NeurIPS 2017, equation 3. FSQ: Mentzer et al., Finite
scalar quantization, ICLR 2024, section 3.1. Across modalities, the quantised feature of one is contrasted with the
features of the other, which takes the place of the reconstruction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cbalign.engine.task import Progress
from cbalign.models.codebook import Codebook
from cbalign.models.transport import TransportPlan
from cbalign.objectives.care import CodebookCare
from cbalign.objectives.clip import batch_positives, symmetric_contrast
from cbalign.objectives.codebook_health import codebook_use
from cbalign.objectives.features import Embeddings
from cbalign.objectives.objective import Objective, ObjectiveContext, Term
from cbalign.objectives.sections.vq import FSQSection, VQSection
from cbalign.objectives.step import Step, TextRequest


class VQ(Objective):
    """Contrast of nearest codes with the features of the other modality; owns the prototypes."""

    def __init__(self, section: VQSection, context: ObjectiveContext) -> None:
        super().__init__(section, context)
        settings = context.model.codebook
        self.commitment = section.commitment
        self.codebook = Codebook(settings.size, context.joint_dim, settings.temperature)
        self.codebook.prototypes.no_weight_decay = True  # type: ignore[attr-defined]
        self.care = CodebookCare(self.codebook, settings)

    @property
    def provided(self) -> Mapping[str, nn.Module]:
        """The codebook."""
        return {"codebook": self.codebook}

    def texts(self, step: Step) -> Sequence[TextRequest]:
        """Request the captions of the student."""
        return (step.captions,)

    def forward(self, step: Step) -> Term:
        """Compute the loss; logs its parts, and the health of the codebook in steps that are logged."""
        student, every, prototypes = (
            step.embeddings,
            step.gathered,
            self.care.trained(self.codebook, step.progress.step),
        )
        with step.full_precision():
            image, text = quantise(student.image, prototypes), quantise(student.text, prototypes)
            targets = batch_positives(step, "image")
            contrast = symmetric_contrast(Embeddings(image, text), every, targets, step.temperature)
            losses = [quantisation_loss(z, prototypes, self.commitment) for z in (student.image, student.text)]
            distances = torch.stack(losses).mean()
            teacher = Embeddings(every.image.detach(), every.text.detach())
            plans = _hard_plan(teacher.image, prototypes), _hard_plan(teacher.text, prototypes)
            self.care.note(teacher, plans, step.world)
            use = codebook_use(self.codebook, student, step)
        parts = {"vq/contrast": contrast, "vq/distance": distances}
        return Term(contrast + distances, {**parts, **use, **self.care.metrics()})

    def after_step(self, progress: Progress) -> None:
        """Move the prototypes as the spec asks, and bring them back to unit length."""
        self.care.move(self.codebook, progress)
        self.codebook.renormalise()


class FSQ(Objective):
    """Contrast of features rounded on a grid with the features of the other modality; owns the maps to the grid."""

    def __init__(self, section: FSQSection, context: ObjectiveContext) -> None:
        super().__init__(section, context)
        self.levels = section.levels
        self.inwards = nn.Linear(context.joint_dim, len(section.levels))
        self.outwards = nn.Linear(len(section.levels), context.joint_dim)

    def texts(self, step: Step) -> Sequence[TextRequest]:
        """Request the captions of the student."""
        return (step.captions,)

    def forward(self, step: Step) -> Term:
        """Compute the loss; logs how many codes are in effective use in the batch."""
        student = step.embeddings
        with step.full_precision():
            grid = [round_to_levels(self.inwards(z), self.levels) for z in (student.image, student.text)]
            image, text = (F.normalize(self.outwards(numbers), dim=1) for numbers in grid)
            targets = batch_positives(step, "image")
            loss = symmetric_contrast(Embeddings(image, text), step.gathered, targets, step.temperature)
        if not step.progress.logged:
            return Term(loss)
        codes = [step.world.gather(grid_codes(numbers.detach(), self.levels)) for numbers in grid]
        return Term(loss, {"fsq/perplexity_image": _perplexity(codes[0]), "fsq/perplexity_text": _perplexity(codes[1])})


def quantise(features: Tensor, prototypes: Tensor) -> Tensor:
    """z + sg(c - z) (B, d), c the nearest prototype: its value is the code's, its gradient the feature's."""
    nearest = prototypes.detach()[(features.detach() @ prototypes.detach().T).argmax(dim=1)]
    return features + (nearest - features.detach())


def quantisation_loss(features: Tensor, prototypes: Tensor, commitment: float) -> Tensor:
    """|sg(z) - c|² + β |z - sg(c)|² of nearest prototypes c, averaged over the batch.

    Args:
        features: z (B, d), unit length.
        prototypes: (K, d), unit length.
        commitment: β.
    """
    nearest = prototypes[(features.detach() @ prototypes.detach().T).argmax(dim=1)]
    codes = (features.detach() - nearest).square().sum(dim=1)
    drawn = (features - nearest.detach()).square().sum(dim=1)
    return (codes + commitment * drawn).mean()


def round_to_levels(numbers: Tensor, levels: Sequence[int]) -> Tensor:
    """Round numbers (B, m) to levels, in [-1, 1], with straight-through gradients (FSQ, appendix A.1).

    b(z) = h tanh(z + atanh(o/h)) - o with h = (L - 1)(1 + 0.001)/2 and o = 1/2 for even L, 0 for odd L; the result is
    round(b(z)) / ⌊L/2⌋.
    """
    counts = torch.tensor(levels, dtype=numbers.dtype, device=numbers.device)
    half, offset = (counts - 1) * (1 + 1e-3) / 2, (counts.remainder(2) == 0).to(numbers.dtype) / 2
    bounded = torch.tanh(numbers + torch.atanh(offset / half)) * half - offset
    rounded = bounded + (bounded.round() - bounded).detach()
    return rounded / torch.div(counts, 2, rounding_mode="floor")


def grid_codes(rounded: Tensor, levels: Sequence[int]) -> Tensor:
    """The number (B,) of each rounded vector (B, m), below the product of the levels."""
    code = torch.zeros(len(rounded), dtype=torch.int64, device=rounded.device)
    for column, count in zip(rounded.T, levels, strict=True):
        code = code * count + (column * (count // 2)).round().long() + count // 2
    return code


def _hard_plan(features: Tensor, prototypes: Tensor) -> TransportPlan:
    nearest = (features @ prototypes.detach().T).argmax(dim=1)
    return TransportPlan(F.one_hot(nearest, len(prototypes)).to(features) / len(features))


def _perplexity(codes: Tensor) -> Tensor:
    share = torch.unique(codes, return_counts=True)[1] / len(codes)
    return torch.exp(-torch.xlogy(share, share).sum())
