"""Local terms of TCL (Yang et al., CVPR 2022, section 3.3; models/model_pretrain.py, `in_batch_g2l_loss`)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from cbalign.objectives.objective import Objective, ObjectiveContext, Term
from cbalign.objectives.sections.local import LocalSection
from cbalign.objectives.step import Step, TextRequest
from cbalign.objectives.tokens import require_projectable_tokens


class Local(Objective):
    """The mean of the image's and the text's local term; the parts are the teacher's, without gradient."""

    def __init__(self, section: LocalSection, context: ObjectiveContext) -> None:
        super().__init__(section, context)
        require_projectable_tokens("local", context)
        self.section = section

    def texts(self, step: Step) -> Sequence[TextRequest]:
        """Request the captions, of student and teacher."""
        return step.captions, step.teacher_captions

    def forward(self, step: Step) -> Term:
        """Compute the loss; logs its parts."""
        with torch.no_grad():
            towers, teacher = step.teacher.towers, step.teacher
            patches, words = towers.embed_patches(teacher.image_tokens), towers.embed_words(teacher.text_tokens)[:, 1:]
        student, ids = step.embeddings, step.batch.image_ids
        by_image = self.section.positives == "image"
        own = ids[:, None] == ids if by_image else torch.eye(len(ids), dtype=torch.bool, device=ids.device)
        with step.full_precision():
            if self.section.pool_patches:
                patches = pooled_patches(patches)
            everywhere = torch.ones(patches.shape[:2], dtype=torch.bool, device=patches.device)
            image = local_contrast(student.image, patches, everywhere, own, step.temperature)
            inside = step.batch.attention_mask[:, 1:].bool()
            text = local_contrast(student.text, words, inside, own, step.temperature)
        return Term((image + text) / 2, {"local/image": image, "local/text": text})


def local_contrast(whole: Tensor, parts: Tensor, inside: Tensor, own: Tensor, temperature: Tensor) -> Tensor:
    """L = mean_i mean_j -log( e^{s_ij} / (e^{s_ij} + Σ_{i' not own, j'} e^{z_i·l_{i'j'}/γ}) ), s_ij = z_i·l_ij/γ.

    Each part of an item is told from the parts of all other items. Padding is no part and no negative: where TCL
    adds 10,000 to the logit of a padded positive, so that its loss is 0, it is left out (a minus there, as proposed in
    TCL's issue 22, would make the loss of each padded position 20,000). Items without parts do not count.

    Args:
        whole: z (B, d), unit length.
        parts: l (B, P, d), constants.
        inside: (B, P) true where a part exists.
        own: (B, B) true where item i' is no negative of item i.
        temperature: γ, a scalar.
    """
    similarity = torch.einsum("id,kpd->ikp", whole, parts) / temperature  # (B, B, P)
    hidden = own[:, :, None] | ~inside[None]
    negatives = similarity.masked_fill(hidden, -torch.inf).flatten(1).logsumexp(dim=1)  # (B,)
    positive = torch.einsum("id,ipd->ip", whole, parts) / temperature
    losses = torch.logaddexp(positive, negatives[:, None]) - positive
    counts = inside.sum(dim=1)
    means = (losses * inside).sum(dim=1) / counts.clamp(min=1)
    return means.sum() / (counts > 0).sum().clamp(min=1)


def pooled_patches(patches: Tensor) -> Tensor:
    """Average squares of a grid of patches (B, g·g, d) of side ⌊√g⌋; other numbers of patches stay as they are."""
    side = math.isqrt(patches.shape[1])
    if side * side != patches.shape[1]:
        return patches
    grid = patches.transpose(1, 2).reshape(len(patches), -1, side, side)
    return F.avg_pool2d(grid, math.isqrt(side)).flatten(2).transpose(1, 2)
