"""Metrics of codebook usage during training."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


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


def _perplexity(codes: Tensor, size: int) -> Tensor:
    share = torch.bincount(codes, minlength=size) / len(codes)
    return _entropy(share).exp()


def _entropy(probabilities: Tensor) -> Tensor:
    return -torch.xlogy(probabilities, probabilities).sum(dim=-1)
