"""Metrics of codebook usage during training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from cbalign.models.codebook import Codebook
from cbalign.objectives.features import Embeddings
from cbalign.objectives.step import Step


@dataclass(frozen=True)
class CodebookHealth:
    """Scalars of one batch, from the prototype distributions of its images and texts."""

    image_perplexity: Tensor  # exp of the entropy of the codes' histogram: codes in effective use, at most min(B, K)
    text_perplexity: Tensor
    image_entropy: Tensor  # mean entropy of one image's distribution in nats, at most ln K
    text_entropy: Tensor
    agreement: Tensor  # share of pairs whose image and text have the same nearest code

    def metrics(self) -> dict[str, Tensor]:
        """Return the scalars under the names that they are logged by."""
        return {
            "codebook/perplexity_image": self.image_perplexity,
            "codebook/perplexity_text": self.text_perplexity,
            "codebook/entropy_image": self.image_entropy,
            "codebook/entropy_text": self.text_entropy,
            "codebook/agreement": self.agreement,
        }


@torch.no_grad()
def codebook_health(image_logits: Tensor, text_logits: Tensor) -> CodebookHealth:
    """Health of a batch with prototype logits (B, K) per modality, row i of both being one pair."""
    image_codes, text_codes = image_logits.argmax(dim=1), text_logits.argmax(dim=1)
    size = image_logits.shape[1]
    return CodebookHealth(
        image_perplexity=_perplexity(image_codes, size),
        text_perplexity=_perplexity(text_codes, size),
        image_entropy=_entropy(image_logits.softmax(dim=1)).mean(),
        text_entropy=_entropy(text_logits.softmax(dim=1)).mean(),
        agreement=(image_codes == text_codes).float().mean(),
    )


@torch.no_grad()
def codebook_use(codebook: Codebook, student: Embeddings, step: Step) -> Mapping[str, Tensor]:
    """Note which codes are nearest in this step, and return the health of the codebook in steps that are logged.

    A code counts as used if it was nearest to an image or a text of any process within the last epoch.

    Args:
        codebook: the prototypes, with the step of their last use.
        student: embeddings (B, d) of this process's batch.
        step: the step.
    """
    gather, progress = step.world.gather, step.progress
    image_logits, text_logits = codebook.logits(student.image), codebook.logits(student.text)
    codebook.note_use(gather(image_logits.argmax(dim=1)), gather(text_logits.argmax(dim=1)), progress.step)
    if not progress.logged:
        return {}
    used = codebook.used_since(progress.step - progress.steps_per_epoch)
    return {
        "codebook/used": used.float(),
        "codebook/dead": (codebook.size - used).float(),
        **codebook_health(gather(image_logits), gather(text_logits)).metrics(),
    }


def _perplexity(codes: Tensor, size: int) -> Tensor:
    share = torch.bincount(codes, minlength=size) / len(codes)
    return _entropy(share).exp()


def _entropy(probabilities: Tensor) -> Tensor:
    return -torch.xlogy(probabilities, probabilities).sum(dim=-1)
