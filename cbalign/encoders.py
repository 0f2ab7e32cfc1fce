"""Interfaces of models for evaluation, implemented by PyTorch models and ONNX bundles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from cbalign.data.arrays import FloatArray, IntArray, PixelArray
from cbalign.data.image import Preprocessing
from cbalign.errors import UsageError


@dataclass(frozen=True)
class ImageFeatures:
    """Encoded images. `tokens` (B, N, D) feed the matcher, `embedding` (B, d) has unit length."""

    tokens: FloatArray
    embedding: FloatArray


@dataclass(frozen=True)
class TextFeatures:
    """Encoded texts. `tokens` (B, L, D), `attention_mask` (B, L) is 1 at tokens, `embedding` (B, d) has unit length."""

    tokens: FloatArray
    attention_mask: IntArray
    embedding: FloatArray


@dataclass(frozen=True)
class CodeAssignment:
    """Assignment of vectors to the codebook.

    `probabilities` (B, K) is softmax(z C / τ), `code` (B,) its argmax, `prototype` (B, d) the code's unit vector.
    """

    probabilities: FloatArray
    code: IntArray
    prototype: FloatArray


@runtime_checkable
class Encoder(Protocol):
    """A model that embeds images and texts. Methods of missing parts raise `UsageError`."""

    @property
    def image_size(self) -> int:
        """Side length of the square input images of `encode_images`, in pixels."""

    @property
    def preprocessing(self) -> Preprocessing:
        """How images become the input of `encode_images`."""

    @property
    def has_codebook(self) -> bool:
        """Whether the model has a codebook, so that `assign` works."""

    @property
    def has_matcher(self) -> bool:
        """Whether the model has a match head, so that `match` works."""

    def encode_images(self, pixels: PixelArray) -> ImageFeatures:
        """Encode prepared images (B, H, W, 3), uint8 RGB of side `image_size`."""

    def encode_texts(self, texts: Sequence[str]) -> TextFeatures:
        """Tokenize and encode raw texts, padded to the longest of them."""

    def embed_images(self, pixels: PixelArray) -> FloatArray:
        """Compute only the embeddings of `encode_images`, without copying the tokens (1,000 times as large)."""

    def embed_texts(self, texts: Sequence[str]) -> FloatArray:
        """Compute only the embeddings of `encode_texts`."""

    def match(self, images: ImageFeatures, texts: TextFeatures, image_index: IntArray) -> FloatArray:
        """Score text t with image `image_index[t]`: logits (T,) of the class "match" (ALBEF, Retrieval.py).

        The keys and values of each of the I images are computed once, even if several texts refer to it.
        """

    def assign(self, embedding: FloatArray) -> CodeAssignment:
        """Assign unit vectors (B, d) to the codebook."""


def require_encoder(model: object, name: str = "this model") -> Encoder:
    """Return the model as an `Encoder`.

    Raises:
        UsageError: the model does not embed images and texts.
    """
    if not isinstance(model, Encoder):
        raise UsageError(f"{name} does not embed images and texts")
    return model


@runtime_checkable
class Classifier(Protocol):
    """A model that classifies texts about images."""

    @property
    def image_size(self) -> int:
        """Side length of the square input images of `classify`, in pixels."""

    @property
    def preprocessing(self) -> Preprocessing:
        """How images become the input of `classify`."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names, in the order of the logits."""

    def classify(self, pixels: PixelArray, texts: Sequence[str]) -> FloatArray:
        """Compute logits (B, C) of raw texts, each about n prepared images (B, n, H, W, 3), uint8 RGB."""
