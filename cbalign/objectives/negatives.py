"""Hard negatives: drawn by similarity among what does not belong to the anchor's image."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Negatives:
    """One hard negative per anchor. `index` (B,) into the candidates; `valid` (B,) is false where none exists."""

    index: Tensor
    valid: Tensor


@dataclass(frozen=True)
class HardNegatives:
    """For each image of a batch a text, and for each text an image, that do not belong to it."""

    text_of_image: Negatives
    image_of_text: Negatives


@torch.no_grad()
def draw_negatives(similarity: Tensor, positive: Tensor, hardness: float = 1.0) -> Negatives:
    """Draw each anchor's negative with probability softmax(hardness · similarity) over what is not a positive.

    Positives are masked before the softmax: zeroing them afterwards, as published, can leave a row of zeros
    that `multinomial` refuses. A row without any negative is marked instead of failing.

    Args:
        similarity: (B, M) logits of anchors with candidates.
        positive: (B, M) true where the candidate belongs to the anchor's image.
        hardness: 1 as published, 0 draws all alike.
    """
    valid = (~positive).any(dim=1)
    allowed = torch.where(valid[:, None], ~positive, True)
    weights = (hardness * similarity.float()).masked_fill(~allowed, -torch.inf).softmax(dim=1)
    # When the similarities are not finite, the loss will say so; `multinomial` would fail before it can.
    weights = weights.nan_to_num(nan=1.0)
    return Negatives(torch.multinomial(weights, 1).squeeze(1), valid)
