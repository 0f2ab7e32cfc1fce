"""The interfaces of models to evaluation, implemented by PyTorch models and ONNX bundles alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from cbalign.data.arrays import FloatArray as FloatArray
from cbalign.data.arrays import IntArray as IntArray
from cbalign.data.arrays import PixelArray as PixelArray
from cbalign.errors import UsageError


@dataclass(frozen=True)
class ImageFeatures:
    """Encoded images. `tokens` (B, N, D) feed the matcher, `embedding` (B, d) has unit length."""

    tokens: FloatArray
    embedding: FloatArray


@dataclass(frozen=True)
class TextFeatures:
    """Encoded texts. `tokens` (B, L, D), `attention_mask` (B, L) is 1 on words, `embedding` (B, d) has unit length."""

    tokens: FloatArray
    attention_mask: IntArray
    embedding: FloatArray


@dataclass(frozen=True)
class CodeAssignment:
    """Where vectors lie in the codebook.

    `probabilities` (B, K) is softmax(z C / τ), `code` (B,) its argmax, `prototype` (B, d) the code's unit vector.
    """

    probabilities: FloatArray
    code: IntArray
    prototype: FloatArray


@runtime_checkable
class Encoder(Protocol):
    """A model that can be evaluated. Parts it lacks raise `UsageError`."""

    @property
    def image_size(self) -> int:
        """Side of the square images that `encode_images` takes, in pixels."""

    @property
    def has_codebook(self) -> bool:
        """Whether `assign` works."""

    @property
    def has_matcher(self) -> bool:
        """Whether `match` works."""

    def encode_images(self, pixels: PixelArray) -> ImageFeatures:
        """Encode prepared images (B, H, W, 3), uint8 RGB of side `image_size`."""

    def encode_texts(self, texts: Sequence[str]) -> TextFeatures:
        """Tokenize and encode raw texts, padded to the longest of them."""

    def embed_images(self, pixels: PixelArray) -> FloatArray:
        """The embeddings of `encode_images` alone: tokens are a thousand times as large and stay where they are."""

    def embed_texts(self, texts: Sequence[str]) -> FloatArray:
        """The embeddings of `encode_texts` alone."""

    def match(self, images: ImageFeatures, texts: TextFeatures, image_index: IntArray) -> FloatArray:
        """Match scores (T,) of text t with image `image_index[t]`: the logit of the class "fits" (ALBEF, Retrieval.py).

        The keys and values of each of the I images are computed once, however many texts name it.
        """

    def assign(self, embedding: FloatArray) -> CodeAssignment:
        """Assign unit vectors (B, d) to the codebook."""


def require_encoder(model: object, name: str = "this model") -> Encoder:
    """Return a model that embeds images and texts as such.

    Raises:
        UsageError: it embeds none.
    """
    if not isinstance(model, Encoder):
        raise UsageError(f"{name} embeds no images and texts")
    return model


@runtime_checkable
class Classifier(Protocol):
    """A model that puts texts about images into classes and can be evaluated."""

    @property
    def image_size(self) -> int:
        """Side of the square images that `classify` takes, in pixels."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the logits."""

    def classify(self, pixels: PixelArray, texts: Sequence[str]) -> FloatArray:
        """Logits (B, C) of raw texts, each about n prepared images: (B, n, H, W, 3), uint8 RGB of side `image_size`."""
