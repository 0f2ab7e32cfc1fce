"""Cross-entropy with distillation: the loss of every classifier here, and of every predicted token."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """H(targets, softmax(logits)) averaged over rows (B, M)."""
    return -(targets * logits.log_softmax(dim=1)).sum(dim=1).mean()


def distilled_cross_entropy(
    logits: Tensor, labels: Tensor, teacher_logits: Tensor | None, distillation: float
) -> Tensor:
    """(1-α) CE(labels) + α H(softmax(teacher), softmax(student)) of each row, (P,), in float32.

    ALBEF, models/model_ve.py and models/model_nlvr.py average it over the batch. Gradients reach the student only.

    Args:
        logits: (P, V) of the student.
        labels: (P,).
        teacher_logits: (P, V), or None when α is 0.
        distillation: α.
    """
    logits = logits.float()
    hard = F.cross_entropy(logits, labels, reduction="none")
    if teacher_logits is None or distillation == 0:
        return hard
    targets = teacher_logits.detach().float().softmax(dim=1)
    soft = -(targets * logits.log_softmax(dim=1)).sum(dim=1)
    return (1 - distillation) * hard + distillation * soft
