"""Pairwise sigmoid contrast (Zhai et al., Sigmoid loss for language image pre-training, ICCV 2023, algorithm 1)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cbalign.objectives.clip import batch_positives
from cbalign.objectives.objective import Objective, ObjectiveContext, Term
from cbalign.objectives.sections.siglip import SiglipSection
from cbalign.objectives.step import Step, TextRequest


class Siglip(Objective):
    """The loss of SigLIP over the global batch, with its temperature and bias."""

    def __init__(self, section: SiglipSection, context: ObjectiveContext) -> None:
        super().__init__(section, context)
        self.positives = section.positives
        self.log_scale = nn.Parameter(torch.tensor(-math.log(section.temperature)))  # log t
        self.bias = nn.Parameter(torch.tensor(section.bias))  # b

    def texts(self, step: Step) -> Sequence[TextRequest]:
        """Request the captions of the student."""
        return (step.captions,)

    def forward(self, step: Step) -> Term:
        """Compute the loss; logs temperature and bias."""
        scale = self.log_scale.exp()
        with step.full_precision():
            positive = batch_positives(step, self.positives) > 0
            loss = sigmoid_contrast(step.image_embedding, step.gathered.text, positive, scale, self.bias)
        return Term(loss, {"siglip/temperature": 1 / scale, "siglip/bias": self.bias})


def sigmoid_contrast(images: Tensor, texts: Tensor, positive: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    """L = -1/B Σ_i Σ_j log σ(z_ij (t v_i·t_j + b)), z_ij = 1 for positives and -1 for all other pairs.

    Gradients reach both towers on all processes, t and b.

    Args:
        images: (B, d) of this process, unit length.
        texts: (M, d) of the global batch, unit length.
        positive: (B, M) bool.
        scale: t, a scalar.
        bias: b, a scalar.
    """
    signs = positive.to(images.dtype) * 2 - 1
    return -F.logsigmoid(signs * (scale * images @ texts.T + bias)).sum() / len(images)
