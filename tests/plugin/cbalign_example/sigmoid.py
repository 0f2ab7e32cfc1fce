"""Sigmoid loss between the student's image and text embeddings."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import nn

from cbalign.engine.task import Progress
from cbalign.objectives.objective import Objective, ObjectiveContext, Term
from cbalign.objectives.step import Step
from cbalign_example.sections import SigmoidSection


class Sigmoid(Objective):
    """L = -1/B Σ_ij log σ(y_ij (z_i·z_j / γ + b)), y_ij = 1 for a pair, -1 otherwise (Zhai et al., 2023, eq. 1).

    γ and b are parameters; gradients reach both embeddings.
    """

    def __init__(self, section: SigmoidSection, context: ObjectiveContext) -> None:
        super().__init__(section, context)
        self.log_scale = nn.Parameter(torch.tensor(math.log(1 / section.temperature)))
        self.bias = nn.Parameter(torch.tensor(section.bias))

    def forward(self, step: Step) -> Term:
        """Compute the loss of a micro-batch; logs the bias."""
        images, texts = step.image_embedding, step.text_embedding  # (B, d)
        with step.full_precision():
            logits = images.float() @ texts.float().T * self.log_scale.exp() + self.bias  # (B, B)
            signs = 2 * torch.eye(len(logits), device=logits.device) - 1
            loss = -F.logsigmoid(signs * logits).sum(dim=1).mean()
        return Term(loss, {"sigmoid/bias": self.bias.detach()})

    def after_step(self, progress: Progress) -> None:
        """Keep 1/γ at 100 at most."""
        with torch.no_grad():
            self.log_scale.clamp_(max=math.log(100))
