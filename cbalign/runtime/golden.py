"""A few real inputs with what the trained model made of them, to check a bundle wherever it is installed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cbalign.encoders import Encoder, FloatArray, ImageFeatures, PixelArray
from cbalign.errors import BundleError, ParityError
from cbalign.runtime.bundle import GOLDEN
from cbalign.runtime.session import Session

TOLERANCE = 1e-3
"""Greatest difference, relative to the largest value: other processors round differently."""


def write_golden(encoder: Encoder, pixels: PixelArray, texts: Sequence[str], path: Path) -> None:
    """Record what a model makes of prepared images (B, H, W, 3) and as many texts."""
    outputs = _compute(encoder, pixels, texts)
    np.savez_compressed(path, pixels=pixels, texts=np.array(texts), **outputs)  # type: ignore[arg-type]


def check_golden(session: Session) -> dict[str, float]:
    """Repeat the recorded computation; the relative difference of each output.

    Raises:
        BundleError: the recording is not there or damaged.
        ParityError: an output differs by more than `TOLERANCE`.
    """
    path = session.bundle.folder / GOLDEN
    if GOLDEN not in session.bundle.manifest.files:
        raise BundleError(f"{session.bundle.folder} has no {GOLDEN}", remedy="Make it anew with `cbalign export`.")
    try:
        with np.load(path, allow_pickle=False) as file:
            recorded = {name: file[name] for name in file.files}
        pixels, texts = recorded.pop("pixels"), recorded.pop("texts")
    except (OSError, ValueError, KeyError) as error:
        raise BundleError(f"{path}: cannot be read ({error})", remedy="Copy the bundle again.") from error
    found = _compute(session, pixels, [str(text) for text in texts])
    differences = {}
    for name, expected in recorded.items():
        same_shape = name in found and found[name].shape == expected.shape
        scale = max(1.0, float(np.abs(expected).max()))
        differences[name] = float(np.abs(found[name] - expected).max()) / scale if same_shape else float("inf")
    wrong = [name for name, difference in differences.items() if not difference <= TOLERANCE]
    if wrong:
        raise ParityError(
            f"{session.bundle.folder} computes {', '.join(wrong)} differently here than where it was exported: "
            f"{differences[wrong[0]]:.2g} instead of at most {TOLERANCE:g}",
            remedy="Try --device cpu, or another version of onnxruntime.",
        )
    return differences


def _compute(encoder: Encoder, pixels: PixelArray, texts: Sequence[str]) -> dict[str, FloatArray]:
    images, words = encoder.encode_images(pixels), encoder.encode_texts(texts)
    outputs = {"image_embedding": images.embedding, "text_embedding": words.embedding}
    if encoder.has_codebook:
        outputs["image_probabilities"] = encoder.assign(images.embedding).probabilities
        outputs["text_probabilities"] = encoder.assign(words.embedding).probabilities
    if encoder.has_matcher:
        index = np.arange(len(texts)) % len(pixels)
        pairs = ImageFeatures(images.tokens, images.embedding)
        outputs["score"] = encoder.match(pairs, words, index)
    return outputs
