"""The whole model: student, teacher, queues, codebook, match head, temperature."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cbalign.models.bert import KeyValues
from cbalign.models.codebook import Codebook
from cbalign.models.momentum import Distilled
from cbalign.models.queue import FeatureQueue
from cbalign.models.towers import Towers


class Temperature(nn.Module):
    """The contrastive temperature γ, a parameter or a constant, kept within [minimum, maximum]."""

    part_name = "temperature"
    value: Tensor

    def __init__(self, initial: float, minimum: float, maximum: float, learned: bool) -> None:
        super().__init__()
        self.minimum, self.maximum = minimum, maximum
        value = torch.tensor(initial)
        if learned:
            self.value = nn.Parameter(value)
        else:
            self.register_buffer("value", value)

    @torch.no_grad()
    def clamp(self) -> None:
        """Bring γ back into its range, after an optimiser step."""
        self.value.clamp_(self.minimum, self.maximum)


@dataclass(frozen=True)
class PairFeatures:
    """What one batch of B pairs looks like to student and teacher, computed once for all objectives."""

    image_tokens: Tensor  # (B, N, D_image)
    image_embedding: Tensor  # (B, d)
    text_tokens: Tensor  # (B, L, D)
    attention_mask: Tensor  # (B, L)
    text_embedding: Tensor  # (B, d)
    masked_text_tokens: Tensor | None  # (B, L, D) of the text whose words are to be predicted
    images: tuple[KeyValues, ...]  # per fusion layer: what every text that meets these images attends to
    teacher_image_tokens: Tensor  # (B, N, D_image)
    teacher_image_embedding: Tensor  # (B, d)
    teacher_text_embedding: Tensor  # (B, d)
    teacher_masked_text_tokens: Tensor | None  # (B, L, D)


class AlignmentModel(Distilled[Towers]):
    """What a checkpoint holds. Parts that no objective uses are None.

    Args:
        student: the networks that are trained.
        momentum: m of the teacher that follows them.
        queue_length: capacity M of each modality's queue.
        joint_dim: dimension d of the joint space.
        temperature: the contrastive temperature.
        codebook: the prototypes, or None.
        match_head: whether a text and an image fit is decided by a linear head on the fused [CLS].
    """

    def __init__(
        self,
        student: Towers,
        *,
        momentum: float,
        queue_length: int,
        joint_dim: int,
        temperature: Temperature,
        codebook: Codebook | None,
        match_head: bool,
    ) -> None:
        super().__init__(student, momentum)
        self.image_queue = FeatureQueue(queue_length, joint_dim)
        self.text_queue = FeatureQueue(queue_length, joint_dim)
        self.temperature = temperature
        self.codebook = codebook
        self.match_head = nn.Linear(student.text.width, 2) if match_head else None

    def forward(
        self,
        images: Tensor,
        teacher_images: Tensor | None,
        input_ids: Tensor,
        attention_mask: Tensor,
        masked_ids: Tensor | None = None,
        teach_masked: bool = True,
    ) -> PairFeatures:
        """Features of a batch.

        Args:
            images: (B, 3, H, W) uint8, the student's view.
            teacher_images: the teacher's view, or None for the same.
            input_ids, attention_mask: (B, L).
            masked_ids: (B, L) the same texts with words masked, where they are to be predicted.
            teach_masked: whether the teacher reads the masked texts too.
        """
        student, teacher = self.student, self.teacher.network
        image_tokens = student.vision(images)
        text_tokens, masked_tokens = _read_texts(student, input_ids, masked_ids, attention_mask)
        with torch.no_grad():
            teacher_image_tokens = teacher.vision(images if teacher_images is None else teacher_images)
            teacher_text_tokens, teacher_masked_tokens = _read_texts(
                teacher, input_ids, masked_ids if teach_masked else None, attention_mask
            )
            teacher_image_embedding = teacher.embed_images(teacher_image_tokens)
            teacher_text_embedding = teacher.embed_texts(teacher_text_tokens, attention_mask)
        return PairFeatures(
            image_tokens=image_tokens,
            image_embedding=student.embed_images(image_tokens),
            text_tokens=text_tokens,
            attention_mask=attention_mask,
            text_embedding=student.embed_texts(text_tokens, attention_mask),
            masked_text_tokens=masked_tokens,
            images=() if student.fusion is None else student.fusion.read_images(image_tokens),
            teacher_image_tokens=teacher_image_tokens,
            teacher_image_embedding=teacher_image_embedding,
            teacher_text_embedding=teacher_text_embedding,
            teacher_masked_text_tokens=teacher_masked_tokens,
        )

    def match_logits(self, fused_tokens: Tensor) -> Tensor:
        """Logits (B, 2), class 1 is "fits", of fused tokens (B, L, D)."""
        assert self.match_head is not None
        return self.match_head(fused_tokens[:, 0])


def _read_texts(
    towers: Towers, input_ids: Tensor, masked_ids: Tensor | None, attention_mask: Tensor
) -> tuple[Tensor, Tensor | None]:
    """Tokens of the texts and of their masked versions, in one pass: embedding gradients are made once."""
    if masked_ids is None:
        return towers.text(input_ids, attention_mask), None
    both = towers.text(torch.cat([input_ids, masked_ids]), torch.cat([attention_mask, attention_mask]))
    tokens, masked = both.chunk(2)
    return tokens, masked
