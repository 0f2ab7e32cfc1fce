"""The loss of answers that annotators gave, as language modelling (ALBEF, models/model_vqa.py)."""

from __future__ import annotations

from torch import Tensor

from cbalign.objectives.classification import distilled_cross_entropy


def answer_losses(
    logits: Tensor, answer_ids: Tensor, answer_mask: Tensor, teacher_logits: Tensor | None, distillation: float
) -> Tensor:
    """Compute the loss of each answer (A,), the sum of (1-α) CE + α H(softmax(teacher), student) over its tokens.

    The first token, [CLS], is not predicted.

    With α = 0 this is minus the log-likelihood of the answer.

    Args:
        logits: (A, L - 1, V), at position i of the token that follows tokens 0 … i.
        answer_ids: (A, L), beginning with [CLS].
        answer_mask: (A, L), 1 on tokens, 0 on padding.
        teacher_logits: (A, L - 1, V), or None when α is 0.
        distillation: α. The published code left it at 0 until July 2022, after the published numbers.
    """
    labels = answer_ids[:, 1:]
    losses = distilled_cross_entropy(
        logits.flatten(0, 1),
        labels.flatten(),
        None if teacher_logits is None else teacher_logits.flatten(0, 1),
        distillation,
    ).view(labels.shape)
    return (losses * answer_mask[:, 1:]).sum(dim=1)


def weighted_answers(losses: Tensor, weights: Tensor, questions: int) -> Tensor:
    """Compute the loss of a batch of questions: answers' losses (A,) times `weights` (A,), summed, per question.

    An answer's weight is the share of annotators who gave it, so the weights of one question sum to one at most.
    """
    return (losses * weights).sum() / questions
