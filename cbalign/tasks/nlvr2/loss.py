"""Text assignment: which of two images a text belongs to, or neither (ALBEF, models/model_pretrain_nlvr.py)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from cbalign.objectives.negatives import draw_negatives

FIRST, SECOND, NEITHER = 0, 1, 2
TEMPERATURE = 0.07  # of the similarities that negatives are drawn by


@dataclass(frozen=True)
class Assignments:
    """Two images for each of B texts: rows of the batch, and which of them is the text's own."""

    first: Tensor  # (B,)
    second: Tensor  # (B,)
    label: Tensor  # (B,) FIRST, SECOND or NEITHER
    valid: Tensor  # (B,) false where the batch has no other image


@torch.no_grad()
def draw_assignments(image_embeddings: Tensor, same_image: Tensor) -> Assignments:
    """Two of three texts get their own image and a hard negative, in either order; the third gets two negatives.

    Negatives resemble the text's own image. Where the batch has only one other image, the text gets its own as well;
    where it has none, the text does not count.

    Args:
        image_embeddings: (B, d), unit length.
        same_image: (B, B) true where two texts belong to one image.
    """
    size, device = len(same_image), same_image.device
    similarity = image_embeddings @ image_embeddings.T / TEMPERATURE
    negative = draw_negatives(similarity, same_image)
    other = draw_negatives(similarity, same_image | same_image[negative.index])
    own = torch.arange(size, device=device)
    neither = (torch.rand(size, device=device) < 1 / 3) & other.valid
    second = (torch.rand(size, device=device) < 0.5) & ~neither
    return Assignments(
        first=torch.where(neither, other.index, torch.where(second, negative.index, own)),
        second=torch.where(second, own, negative.index),
        label=torch.where(neither, NEITHER, torch.where(second, SECOND, FIRST)),
        valid=negative.valid,
    )


def text_assignment(logits: Tensor, assignments: Assignments, count: Tensor | None = None) -> Tensor:
    """Cross-entropy of logits (B, 3), averaged over texts that count.

    `count` replaces their number, because those of other processes count too.
    """
    losses = F.cross_entropy(logits.float(), assignments.label, reduction="none")
    valid = assignments.valid
    return (losses * valid).sum() / (valid.sum() if count is None else count).clamp(min=1)
