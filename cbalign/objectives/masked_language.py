"""Masked language modelling L_mlm with distillation (ALBEF, models/model_pretrain.py and models/xbert.py)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cbalign.data.batch import Batch
from cbalign.engine.task import Progress
from cbalign.errors import SpecError
from cbalign.models.backbone import build_language_head
from cbalign.models.momentum import Distilled
from cbalign.objectives.classification import distilled_cross_entropy
from cbalign.objectives.objective import Objective, ObjectiveContext, Term
from cbalign.objectives.sections.masked_language import MaskedLanguageSection
from cbalign.objectives.step import FusionRequest, Step, TextRequest


@dataclass(frozen=True)
class _Reading:
    """The masked texts of a batch, and the fused passes that read them."""

    masked: MaskedTokens
    student: FusionRequest
    teacher: FusionRequest | None  # None while α is 0


class MaskedLanguage(Objective):
    """L_mlm by BERT's head, tied to the text tower's word embeddings; the head has a momentum teacher."""

    def __init__(self, section: MaskedLanguageSection, context: ObjectiveContext) -> None:
        super().__init__(section, context)
        self.probability = section.probability
        self.vocabulary = context.vocabulary
        self.over_positions = context.legacy.soft_labels_over_positions
        if self.vocabulary.mask_id is None:
            raise SpecError(
                "objectives.masked_language: the tokenizer of model.text has no mask token",
                remedy="Set objectives.masked_language.weight: 0, or choose a text tower with one, such as a BERT.",
            )
        head = build_language_head(context.text, context.fused_width)
        self.head = Distilled(head, context.model.teacher.follows)

    @property
    def provided(self) -> Mapping[str, nn.Module]:
        """The head."""
        return {"masked_language": self.head.student}

    def before_step(self, progress: Progress) -> None:
        """Move the head's teacher towards it."""
        self.head.update_teacher()

    def texts(self, step: Step) -> Sequence[TextRequest]:
        """Mask words and request the masked texts, of the teacher too if it counts."""
        return [request.text for request in self.fusions(step)]

    def fusions(self, step: Step) -> Sequence[FusionRequest]:
        """Request the masked texts with their images."""
        reading = step.once(self._reading)
        return (reading.student,) if reading.teacher is None else (reading.student, reading.teacher)

    def forward(self, step: Step) -> Term:
        """Compute L_mlm over the masked positions."""
        reading, alpha = step.once(self._reading), step.distillation
        masked, words = reading.masked, step.student.towers.word_embeddings
        fused = step.fused(reading.student)
        taught = None if reading.teacher is None else self._teacher_logits(step, reading.teacher, masked)
        count = step.mean_count(masked.chosen)
        if taught is not None and self.over_positions:
            logits, inside = self.head.student(fused, words), step.batch.attention_mask.bool()
            return Term(masked_language_over_positions(logits, inside, masked, taught, alpha, count))
        logits = self.head.student(fused[masked.chosen], words)
        return Term(masked_language(logits, masked.labels, taught, alpha, count))

    def mask(self, batch: Batch) -> MaskedTokens:
        """Mask words of the captions; never [CLS] or another special token of a published tokenizer, never padding."""
        assert self.vocabulary.mask_id is not None, "checked when the objective is built"
        protected = batch.attention_mask == 0
        if self.vocabulary.cls_id is not None:
            protected = protected | (batch.input_ids == self.vocabulary.cls_id)
        if self.vocabulary.special_ids:
            special = torch.tensor(self.vocabulary.special_ids, device=protected.device)
            protected = protected | torch.isin(batch.input_ids, special)
        return mask_tokens(
            batch.input_ids,
            protected,
            self.probability,
            mask_id=self.vocabulary.mask_id,
            vocabulary=self.vocabulary.size,
        )

    def _reading(self, step: Step) -> _Reading:
        masked, attention_mask = self.mask(step.batch), step.batch.attention_mask
        student = FusionRequest(TextRequest(masked.input_ids, attention_mask))
        if step.distillation == 0:
            return _Reading(masked, student, None)
        return _Reading(masked, student, FusionRequest(TextRequest(masked.input_ids, attention_mask, teacher=True)))

    @torch.no_grad()
    def _teacher_logits(self, step: Step, request: FusionRequest, masked: MaskedTokens) -> Tensor:
        fused = step.fused(request)[masked.chosen]
        return self.head.teacher.network(fused, step.teacher.towers.word_embeddings)


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
        count: see `masked_language`.
    """
    chosen = logits[masked.chosen]
    if len(masked.labels) == 0:
        return chosen.sum()
    logits = logits.float()
    over_positions = logits.masked_fill(~inside[:, :, None], -torch.inf).logsumexp(dim=1)  # (B, V)
    texts = torch.arange(len(logits), device=logits.device)[:, None].expand_as(masked.chosen)
    text = texts[masked.chosen]  # (P,)
    soft = -(teacher_logits.detach().float().softmax(dim=1) * (chosen.float() - over_positions[text])).sum(dim=1)
    hard = distilled_cross_entropy(chosen, masked.labels, None, 0.0)
    losses = (1 - distillation) * hard + distillation * soft
    return losses.mean() if count is None else losses.sum() / count
