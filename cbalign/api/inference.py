"""Check that images and texts belong together, and run a model on them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from cbalign.api.pictures import load_pixels
from cbalign.data.arrays import FloatArray, IntArray, PixelArray
from cbalign.data.image import Preprocessing
from cbalign.encoders import Classifier, Encoder
from cbalign.errors import UsageError
from cbalign.runtime.images import Picture

_BATCH = 32


def embed_images(encoder: Encoder, batches: Iterable[PixelArray]) -> FloatArray:
    """Embed batches of pixels (B, H, W, 3) as unit vectors (n, d), also if there are none."""
    vectors = [encoder.embed_images(each) for each in batches]
    return np.concatenate(vectors) if vectors else encoder.embed_texts(["x"])[:0]  # (0, d)


def embed_texts(encoder: Encoder, texts: Sequence[str], batch_size: int) -> FloatArray:
    """Embed texts as unit vectors (n, d), also if there are none."""
    starts = range(0, max(1, len(texts)), batch_size)
    parts = [encoder.embed_texts(texts[start : start + batch_size] or ["x"]) for start in starts]
    return np.concatenate(parts)[: len(texts)]


def match_pairs(
    encoder: Encoder, images: Sequence[Picture], texts: Sequence[str], preprocessing: Preprocessing
) -> FloatArray:
    """Match image i with text i, or one image or text with all, in batches: scores (n,).

    Raises:
        UsageError: the encoder has no match head, or the numbers of images and texts differ.
    """
    count = 0 if not images or not texts else max(len(images), len(texts))
    if {len(images), len(texts)} - {1, count}:
        raise UsageError(
            f"{len(images)} images and {len(texts)} texts are not pairs",
            remedy="Pass as many texts as images, or one of either.",
        )
    scores = []
    for start in range(0, count, _BATCH):
        stop = min(start + _BATCH, count)
        chosen = images if len(images) == 1 else images[start:stop]
        words = list(texts) * (stop - start) if len(texts) == 1 else texts[start:stop]
        features = encoder.encode_images(load_pixels(chosen, preprocessing))
        scores.append(encoder.match(features, encoder.encode_texts(words), _image_index(len(chosen), len(words))))
    return np.concatenate(scores) if scores else np.empty(0, np.float32)


def classify_texts(
    model: Classifier,
    images: Sequence[Sequence[Picture]],
    texts: Sequence[str],
    preprocessing: Preprocessing,
    *,
    images_per_text: int,
) -> list[dict[str, float]]:
    """Return the probability of each class, by name, for each text about its images.

    Raises:
        UsageError: a text has no images, or not as many as the model needs.
    """
    if len(images) != len(texts):
        raise UsageError(f"{len(texts)} texts and {len(images)} entries of images: each text needs its own")
    if wrong := next((each for each in images if len(each) != images_per_text), None):
        raise UsageError(f"a text needs {images_per_text} images, not {len(wrong)}")
    pixels = np.stack([load_pixels(each, preprocessing) for each in images])  # (n, images, H, W, 3)
    logits = model.classify(pixels, texts)
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares = powers / powers.sum(axis=1, keepdims=True)
    return [dict(zip(model.labels, row)) for row in shares.tolist()]


def answer_questions(
    model: Any, images: Sequence[Picture], questions: Sequence[str], preprocessing: Preprocessing, candidates: int
) -> list[str]:
    """Return the likeliest answer to question i about image i, or about the only image.

    Args:
        model: has `rank` and `answers`.
        images, questions: n images, or one for all n questions.
        image_size: side of the model's images in pixels.
        candidates: answers that are scored as a whole.

    Raises:
        UsageError: the numbers of images and questions differ.
    """
    if len(images) not in (1, len(questions)):
        raise UsageError(f"{len(images)} images and {len(questions)} questions: pass one image for all, or one each")
    pixels = load_pixels(images, preprocessing)
    ranked = model.rank(pixels, questions, _image_index(len(images), len(questions)), candidates)
    return [model.answers[i] for i in ranked.index[:, 0].tolist()]


def _image_index(images: int, texts: int) -> IntArray:
    """Return the image of each text: its own, or the only one."""
    return np.zeros(texts, np.int64) if images == 1 else np.arange(texts, dtype=np.int64)
