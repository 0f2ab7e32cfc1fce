"""Image-text matching L_itm with hard negatives (ALBEF, models/model_pretrain.py)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cbalign.objectives.negatives import HardNegatives
from cbalign.objectives.objective import Objective, ObjectiveContext, Term
from cbalign.objectives.sections.matching import MatchingSection
from cbalign.objectives.step import FusionRequest, Step, TextRequest


@dataclass(frozen=True)
class _Pairs:
    """The fused passes of a batch, and the negatives that they pair."""

    negatives: HardNegatives
    fit: FusionRequest  # text i with image i
    other_image: FusionRequest  # text i with a negative image
    other_text: FusionRequest  # a negative text with image i


class Matching(Objective):
    """L_itm of the batch's pairs and of pairs with hard negatives, by a linear head on the fused [CLS]."""

    part_name = "match head"

    def __init__(self, section: MatchingSection, context: ObjectiveContext) -> None:
        super().__init__(section, context)
        self.section = section
        self.head = nn.Linear(context.fused_width, 2)

    @property
    def provided(self) -> Mapping[str, nn.Module]:
        """The head."""
        return {"matching": self.head}

    def texts(self, step: Step) -> Sequence[TextRequest]:
        """Request the captions, of student and teacher."""
        return step.captions, step.teacher_captions

    def fusions(self, step: Step) -> Sequence[FusionRequest]:
        """Draw negatives and request the pairs."""
        pairs = step.once(self._pairs)
        return pairs.fit, pairs.other_text, pairs.other_image

    def forward(self, step: Step) -> Term:
        """Compute L_itm of B positives, B texts with a negative image, B images with a negative text."""
        pairs = step.once(self._pairs)
        images, texts = pairs.negatives.image_of_text, pairs.negatives.text_of_image
        fused = [step.fused(request)[:, 0] for request in (pairs.fit, pairs.other_image, pairs.other_text)]
        size = len(step.batch)
        fits = (torch.arange(3 * size, device=step.device) < size).long()
        valid = torch.cat([torch.ones_like(images.valid), images.valid, texts.valid])
        return Term(image_text_matching(self.head(torch.cat(fused)), fits, valid, step.mean_count(valid)))

    def _pairs(self, step: Step) -> _Pairs:
        hardness = self.section.hardness * step.progress.ramp(self.section.ramp_epochs)
        negatives = step.negatives(hardness, same_image=self.section.positives == "pair")
        return _Pairs(
            negatives,
            FusionRequest(step.captions),
            FusionRequest(step.captions, images=negatives.image_of_text.index),
            FusionRequest(step.captions, texts=negatives.text_of_image.index),
        )


def image_text_matching(logits: Tensor, fits: Tensor, valid: Tensor, count: Tensor | None = None) -> Tensor:
    """Cross-entropy of match logits (P, 2) with labels `fits` (P,), averaged over `valid` pairs.

    The pairs are B positives, B texts with a negative image and B images with a negative text. `count` replaces the
    number of valid pairs that the sum is divided by, because those of other processes count too.
    """
    losses = F.cross_entropy(logits.float(), fits, reduction="none")
    return (losses * valid).sum() / (valid.sum() if count is None else count)
