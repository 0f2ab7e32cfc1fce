from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
from PIL import Image

from cbalign.data.arrays import FloatArray, IntArray, PixelArray
from cbalign.data.image import Preprocessing
from cbalign.data.items import Pair
from cbalign.encoders import CodeAssignment, ImageFeatures, TextFeatures
from cbalign.errors import DataError
from cbalign.evaluation.sections.evaluations import RetrievalEvaluation


@dataclass
class NumberedSource:
    """Image i is a flat colour that spells i; caption number t is the text `t`."""

    captions: Sequence[tuple[int, ...]]  # of each image
    unreadable: frozenset[int] = frozenset()
    name: str = "numbered"

    def __len__(self) -> int:
        return len(self.captions)

    def item(self, index: int) -> Pair:
        return Pair(f"image-{index}", tuple(map(str, self.captions[index])), index)

    def images(self, index: int) -> tuple[Image.Image, ...]:
        if index in self.unreadable:
            raise DataError(f"image-{index}: cannot be decoded")
        return (Image.new("RGB", (5, 7), (index, 0, 0)),)

    def read(self, index: int) -> tuple[bytes, ...]:
        raise NotImplementedError

    def describe(self) -> str:
        return self.name


@dataclass
class TableEncoder:
    """An encoder whose answers are tables: vectors by image and text number, match scores by pair."""

    images: FloatArray  # (I, d)
    texts: FloatArray  # (T, d)
    matches: FloatArray | None = None  # (I, T)
    distributions: tuple[FloatArray, FloatArray] | None = None  # (I, K), (T, K)
    image_size: int = 4
    preprocessing: Preprocessing = field(default_factory=lambda: Preprocessing(4))
    matched: list[tuple[int, int]] = field(default_factory=list)
    match_calls: list[tuple[int, int]] = field(default_factory=list)  # images and pairs of each call

    @property
    def has_matcher(self) -> bool:
        return self.matches is not None

    @property
    def has_codebook(self) -> bool:
        return self.distributions is not None

    def encode_images(self, pixels: PixelArray) -> ImageFeatures:
        assert pixels.shape[1:] == (4, 4, 3)
        assert pixels.dtype == np.uint8
        number = pixels[:, 0, 0, 0].astype(np.int64)
        return ImageFeatures(number[:, None, None].astype(np.float32), self.images[number])

    def encode_texts(self, texts: Sequence[str]) -> TextFeatures:
        number = np.array([int(text) for text in texts])
        length = int(max(number % 3)) + 1  # batches of several lengths
        tokens = np.full((len(texts), length, 1), np.nan, np.float32)
        tokens[:, 0, 0] = number
        mask = (np.arange(length)[None] <= (number % 3)[:, None]).astype(np.int64)
        return TextFeatures(tokens, mask, self.texts[number])

    def embed_images(self, pixels: PixelArray) -> FloatArray:
        return self.encode_images(pixels).embedding

    def embed_texts(self, texts: Sequence[str]) -> FloatArray:
        return self.encode_texts(texts).embedding

    def match(self, images: ImageFeatures, texts: TextFeatures, image_index: IntArray) -> FloatArray:
        assert self.matches is not None
        image = images.tokens[image_index, 0, 0].astype(int)
        text = texts.tokens[:, 0, 0].astype(int)
        assert (texts.attention_mask.sum(axis=1) == text % 3 + 1).all()
        self.matched.extend(zip(image.tolist(), text.tolist()))
        self.match_calls.append((len(images.tokens), len(text)))
        return self.matches[image, text]

    def assign(self, embedding: FloatArray) -> CodeAssignment:
        assert self.distributions is not None
        probabilities = np.empty((len(embedding), self.distributions[0].shape[1]), np.float32)
        for row, vector in enumerate(embedding):
            in_images = np.flatnonzero((self.images == vector).all(axis=1))
            if len(in_images):
                probabilities[row] = self.distributions[0][in_images[0]]
            else:
                probabilities[row] = self.distributions[1][np.flatnonzero((self.texts == vector).all(axis=1))[0]]
        return CodeAssignment(probabilities, probabilities.argmax(axis=1), embedding)


def unit_rows(generator: np.random.Generator, rows: int, dim: int) -> FloatArray:
    vectors = generator.standard_normal((rows, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.fixture
def section() -> RetrievalEvaluation:
    return RetrievalEvaluation(on="test", protocols=("dual", "rerank", "code"), top_k=5, bootstrap=0, batch_size=4)


@pytest.fixture
def world() -> tuple[TableEncoder, NumberedSource]:
    """11 images with one to three captions, and an encoder of random tables."""
    generator = np.random.default_rng(5)
    captions, following = [], 0
    for image in range(11):
        captions.append(tuple(range(following, following + 1 + image % 3)))
        following += 1 + image % 3
    encoder = TableEncoder(
        unit_rows(generator, 11, 6),
        unit_rows(generator, following, 6),
        generator.standard_normal((11, following)).astype(np.float32),
        (
            generator.dirichlet(np.full(9, 0.3), 11).astype(np.float32),
            generator.dirichlet(np.full(9, 0.3), following).astype(np.float32),
        ),
    )
    return encoder, NumberedSource(captions)
