"""Embedding and matching of images and texts with an exported bundle; without torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from cbalign.data.arrays import FloatArray, PixelArray
from cbalign.encoders import Encoder, ImageFeatures
from cbalign.evaluation.sections.evaluations import RetrievalEvaluation, RetrievalProtocol
from cbalign.parts import EvaluationSection, TaskSection
from cbalign.parts.kinds import Split
from cbalign.runtime.session import Session
from cbalign.runtime.signatures import Port, Signature

SIGNATURES: Mapping[str, Signature] = {
    "image": Signature(
        (Port("pixels", "uint8", ("batch", None, None, None)),),  # (B, H, W, 3) RGB
        (
            Port("tokens", "float32", ("batch", None, None)),  # (B, N, D)
            Port("embedding", "float32", ("batch", None)),  # (B, d)
        ),
    ),
    "text": Signature(
        (
            Port("input_ids", "int64", ("batch", "length")),
            Port("attention_mask", "int64", ("batch", "length")),
        ),
        (
            Port("tokens", "float32", ("batch", "length", None)),  # (B, L, D)
            Port("embedding", "float32", ("batch", None)),
        ),
    ),
    "codebook": Signature(
        (Port("embedding", "float32", ("batch", None)),),
        (
            Port("probabilities", "float32", ("batch", None)),  # (B, K)
            Port("code", "int64", ("batch",)),
            Port("prototype", "float32", ("batch", None)),  # (B, d)
        ),
        is_optional=True,
    ),
    "match": Signature(
        (
            Port("image_tokens", "float32", ("images", None, None)),  # (I, N, D)
            Port("text_tokens", "float32", ("texts", "length", None)),  # (T, L, D)
            Port("attention_mask", "int64", ("texts", "length")),
            Port("image_index", "int64", ("texts",)),
        ),
        (Port("score", "float32", ("texts",)),),
        is_optional=True,
    ),
}
"""The graphs of a bundle, in the order of the manifest."""


class AlignmentRuntime:
    """Implements `cbalign.runtime.task.TaskRuntime`.

    Args:
        section: the task in a spec.
    """

    def __init__(self, section: TaskSection) -> None:
        self._section = section

    @property
    def signatures(self) -> Mapping[str, Signature]:
        """Inputs and outputs of the graphs by name."""
        return SIGNATURES

    def open(self, session: Session) -> Session:
        """Return the session itself, which implements `cbalign.encoders.Encoder`.

        Raises:
            UsageError: the bundle has no image graph.
        """
        session.bundle.require_alignment()
        return session

    def default_evaluation(self, model: Encoder, split: Split) -> EvaluationSection:
        """Return retrieval by all protocols that the model supports."""
        supported: dict[RetrievalProtocol, bool] = {
            "dual": True,
            "rerank": model.has_matcher,
            "code": model.has_codebook,
        }
        return RetrievalEvaluation(on=split, protocols=tuple(name for name, has in supported.items() if has))

    def golden_outputs(self, model: Encoder, pixels: PixelArray, texts: Sequence[str]) -> dict[str, FloatArray]:
        """Encode prepared images (B, H, W, 3) and as many texts."""
        return alignment_outputs(model, pixels, texts)

    def usage(self) -> str:
        """Return example code that compares an image with a text."""
        return _USAGE


def alignment_outputs(encoder: Encoder, pixels: PixelArray, texts: Sequence[str]) -> dict[str, FloatArray]:
    """Encode, assign and match prepared images (B, H, W, 3) and as many texts."""
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


_USAGE = """\
from cbalign.runtime.session import Session

session = Session.open(".")
images = session.embed_images(["picture.png"])
texts = session.embed_texts(["a red car"])
similarity = images @ texts.T
"""
