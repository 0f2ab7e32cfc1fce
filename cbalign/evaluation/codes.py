"""Evaluation of the codebook: how many codes are used, and whether pairs share a code."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cbalign.data.arrays import FloatArray, IntArray
from cbalign.encoders import CodeAssignment, Encoder


@dataclass(frozen=True)
class CodebookUse:
    """Usage of K codes by I images and T texts, by the most probable code of each."""

    size: int  # K
    used: int  # codes of some image or text
    used_by_images: int
    used_by_texts: int
    perplexity_images: float  # exp of the entropy of the codes' histogram: codes in effective use
    perplexity_texts: float
    entropy_images: float  # mean entropy of one image's distribution in nats, at most ln K
    entropy_texts: float
    agreement: float  # per cent of the texts whose code is their image's

    @classmethod
    def of(cls, images: CodeAssignment, texts: CodeAssignment, caption_image: IntArray) -> CodebookUse:
        """Statistics of a gallery; `caption_image` (T,) is the image that each text belongs to."""
        size = images.probabilities.shape[1]
        image_counts = np.bincount(images.code, minlength=size)
        text_counts = np.bincount(texts.code, minlength=size)
        return cls(
            size=size,
            used=int(((image_counts + text_counts) > 0).sum()),
            used_by_images=int((image_counts > 0).sum()),
            used_by_texts=int((text_counts > 0).sum()),
            perplexity_images=_perplexity(image_counts),
            perplexity_texts=_perplexity(text_counts),
            entropy_images=_mean_entropy(images.probabilities),
            entropy_texts=_mean_entropy(texts.probabilities),
            agreement=100 * float((images.code[caption_image] == texts.code).mean()),
        )


def assign_all(encoder: Encoder, embeddings: FloatArray, batch_size: int) -> CodeAssignment:
    """`encoder.assign` over vectors (B, d) of any number."""
    parts = [encoder.assign(embeddings[i : i + batch_size]) for i in range(0, len(embeddings), batch_size)]
    return CodeAssignment(
        np.concatenate([part.probabilities for part in parts]),
        np.concatenate([part.code for part in parts]),
        np.concatenate([part.prototype for part in parts]),
    )


def _perplexity(counts: IntArray) -> float:
    share = counts[counts > 0] / counts.sum()
    return float(np.exp(-(share * np.log(share)).sum()))


def _mean_entropy(probabilities: FloatArray) -> float:
    safe = np.maximum(probabilities, np.finfo(np.float32).tiny)
    return max(0.0, float(-(probabilities * np.log(safe)).sum(axis=1, dtype=np.float64).mean()))
