"""Masked language modelling L_mlm with distillation (ALBEF, models/model_pretrain.py and models/xbert.py)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from cbalign.objectives.classification import distilled_cross_entropy


@dataclass(frozen=True)
class MaskedTokens:
    """Token ids to predict from, and what to predict."""

    input_ids: Tensor  # (B, L), some replaced
    chosen: Tensor  # (B, L) bool: the positions to predict
    labels: Tensor  # (P,) original ids at the chosen positions, row by row


@torch.no_grad()
def mask_tokens(
    input_ids: Tensor, protected: Tensor, probability: float, *, mask_id: int, vocabulary: int
) -> MaskedTokens:
    """Choose tokens at random; of these 80 % become [MASK], 10 % a random token, 10 % stay.

    Args:
        input_ids: (B, L).
        protected: (B, L) true where a token may not be chosen: [CLS] and padding.
        probability: of a token to be chosen.
    """
    # Drawn on the CPU, so that a GPU run and a CPU run of one seed mask the same words.
    draw = torch.rand(3, *input_ids.shape)
    words = torch.randint(vocabulary, input_ids.shape).to(input_ids.device)
    draw = draw.to(input_ids.device)
    chosen = (draw[0] < probability) & ~protected
    masked = torch.where(chosen & (draw[1] < 0.8), mask_id, input_ids)
    masked = torch.where(chosen & (draw[1] >= 0.8) & (draw[2] < 0.5), words, masked)
    return MaskedTokens(masked, chosen, input_ids[chosen])


def masked_language(
    logits: Tensor, labels: Tensor, teacher_logits: Tensor | None, distillation: float, count: Tensor | None = None
) -> Tensor:
    """(1-α) CE(labels) + α H(softmax(teacher), student), averaged over the P predicted tokens; 0 when P is 0.

    The published code took the teacher's softmax over the wrong axis until March 2022; this one is over the vocabulary.

    Args:
        logits: (P, V) of the student at the chosen positions only.
        labels: (P,).
        teacher_logits: (P, V), or None when α is 0.
        distillation: α.
        count: what the sum is divided by, where that is not P: the P of the other processes counts too.
    """
    if len(labels) == 0:
        return logits.sum()
    losses = distilled_cross_entropy(logits, labels, teacher_logits, distillation)
    return losses.mean() if count is None else losses.sum() / count
