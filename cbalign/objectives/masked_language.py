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

    The published code took the student's softmax over the wrong axis until March 2022, for the teacher's part; this
    one is over the vocabulary. `masked_language_over_positions` is the other.

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


def masked_language_over_positions(
    logits: Tensor,
    inside: Tensor,
    masked: MaskedTokens,
    teacher_logits: Tensor,
    distillation: float,
    count: Tensor | None = None,
) -> Tensor:
    """L_mlm as published before March 2022: the student's softmax in the soft part runs over positions.

    (1-α) CE(labels) - α Σ_v softmax_v(teacher) log softmax_l(student), averaged over the P predicted tokens. ALBEF,
    models/xbert.py before commit b726f8e: `F.log_softmax(prediction_scores, dim=1)` of scores (B, L, V). Padding does
    not take part here.

    Args:
        logits: (B, L, V) of the student at all positions.
        inside: (B, L) true on tokens, false on padding.
        masked: what is predicted.
        teacher_logits: (P, V).
        distillation: α.
        count: as of `masked_language`.
    """
    chosen = logits[masked.chosen]
    if len(masked.labels) == 0:
        return chosen.sum()
    logits = logits.float()
    over_positions = logits.masked_fill(~inside[:, :, None], -torch.inf).logsumexp(dim=1)  # (B, V)
    text = masked.chosen.nonzero()[:, 0]  # (P,)
    soft = -(teacher_logits.detach().float().softmax(dim=1) * (chosen.float() - over_positions[text])).sum(dim=1)
    hard = distilled_cross_entropy(chosen, masked.labels, None, 0.0)
    losses = (1 - distillation) * hard + distillation * soft
    return losses.mean() if count is None else losses.sum() / count
