"""One object for every trained model: of a run, a checkpoint or an exported bundle."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cbalign.api.pictures import Images, Texts, as_images, as_texts, is_one_image, pixel_batches
from cbalign.api.vectors import Codes, Hit, Ranking
from cbalign.data.arrays import FloatArray, IntArray
from cbalign.data.image import Preprocessing
from cbalign.encoders import Classifier, Encoder, ImageFeatures, TextFeatures
from cbalign.errors import UsageError
from cbalign.runtime.images import Picture, load_pixels

if TYPE_CHECKING:
    from torch import Tensor, nn

    from cbalign.experiment.experiment import Experiment
    from cbalign.tasks.opened import OpenedModel

_BATCH = 32


class Model:
    """A trained model with one contract, whether PyTorch or onnxruntime computes. Make it with `cbalign.load`.

    Images are paths, bytes of image files, Pillow images or RGB arrays (H, W, 3), one or many; an array (B, H, W, 3) is
    many. They are resized and normalised as in training. One image or text gives one vector (d,), a collection of n
    gives (n, d).

    Args:
        opened: the model and its experiment.
        path: the run, checkpoint or bundle.
        identity: returns a text that is equal for models that give the same vectors.
    """

    def __init__(self, opened: OpenedModel, path: Path, identity: Callable[[], str]) -> None:
        self._opened = opened
        self._model = opened.model
        self._identity = identity
        self.path = path

    @property
    def experiment(self) -> Experiment:
        """The validated sections of the spec that it was trained by."""
        return self._opened.experiment

    @property
    def step(self) -> int | None:
        """Optimiser steps that it was trained for."""
        return self._opened.step

    @property
    def backend(self) -> str:
        """What computes, on which device and in which precision: `torch 2.9 on cpu, fp32`."""
        return self._opened.backend

    @property
    def name(self) -> str:
        """Name of the experiment."""
        return self.experiment.name

    @property
    def task(self) -> str:
        """Kind of its task, such as `pretrain` or `vqa`."""
        return self.experiment.task.kind

    @property
    def image_size(self) -> int:
        """Side of the square images that it sees, in pixels."""
        return self._preprocessing.size

    @property
    def _preprocessing(self) -> Preprocessing:
        found: Preprocessing = self._model.preprocessing
        return found

    @property
    def has_codebook(self) -> bool:
        """Whether `codes` works."""
        return isinstance(self._model, Encoder) and self._model.has_codebook

    @property
    def has_matcher(self) -> bool:
        """Whether `match` and reranking work."""
        return isinstance(self._model, Encoder) and self._model.has_matcher

    def encode_images(self, images: Images, *, batch_size: int = 32) -> FloatArray:
        """Embed images in the joint space.

        Args:
            images: one image or many.
            batch_size: images per forward pass.

        Returns:
            Unit vectors (n, d), or (d,) for one image.

        Raises:
            DataError: an image cannot be decoded.
            UsageError: the model embeds no images.
        """
        encoder = self._encoder()
        batches = [encoder.embed_images(each) for each in pixel_batches(images, self._preprocessing, batch_size)]
        if not batches:
            return encoder.embed_texts(["x"])[:0]  # (0, d)
        vectors = np.concatenate(batches)
        return vectors[0] if is_one_image(images) else vectors

    def encode_texts(self, texts: Texts, *, batch_size: int = 256) -> FloatArray:
        """Embed texts in the joint space.

        Args:
            texts: one text or many.
            batch_size: texts per forward pass.

        Returns:
            Unit vectors (n, d), or (d,) for one text.

        Raises:
            UsageError: the model embeds no texts.
        """
        encoder, given = self._encoder(), as_texts(texts)
        starts = range(0, max(1, len(given)), batch_size)
        parts = [encoder.embed_texts(given[start : start + batch_size] or ["x"]) for start in starts]
        vectors = np.concatenate(parts)[: len(given)]
        return vectors[0] if isinstance(texts, str) else vectors

    def similarity(self, images: Images | FloatArray, texts: Texts | FloatArray) -> FloatArray:
        """Cosines of images with texts.

        Args:
            images: images, or vectors (I, d) of `encode_images`.
            texts: texts, or vectors (T, d) of `encode_texts`.

        Returns:
            (I, T); a dimension of one image or one text is kept.
        """
        a = images if _are_vectors(images) else self.encode_images(images)
        b = texts if _are_vectors(texts) else self.encode_texts(texts)  # type: ignore[arg-type]
        return np.atleast_2d(np.asarray(a)) @ np.atleast_2d(np.asarray(b)).T

    def match(self, images: Images, texts: Texts) -> FloatArray:
        """Match scores of image-text pairs, the logit of "fits": image i with text i.

        Args:
            images: n images, or one that is matched with every text.
            texts: n texts, or one that is matched with every image.

        Returns:
            (n,) scores.

        Raises:
            UsageError: the model has no match head, or the numbers of images and texts differ.
        """
        encoder = self._encoder()
        given, words = list(as_images(images)), as_texts(texts)
        count = 0 if not given or not words else max(len(given), len(words))
        if {len(given), len(words)} - {1, count}:
            raise UsageError(
                f"{len(given)} images and {len(words)} texts are not pairs",
                remedy="Pass as many texts as images, or one of either.",
            )
        scores = [
            self._match_batch(encoder, given, words, range(start, min(start + _BATCH, count)))
            for start in range(0, count, _BATCH)
        ]
        return np.concatenate(scores) if scores else np.empty(0, np.float32)

    def _match_batch(
        self, encoder: Encoder, images: Sequence[Picture], texts: Sequence[str], pairs: Iterable[int]
    ) -> FloatArray:
        pairs = list(pairs)
        chosen = [images[0]] if len(images) == 1 else [images[i] for i in pairs]
        words = [texts[0]] * len(pairs) if len(texts) == 1 else [texts[i] for i in pairs]
        index = np.zeros(len(pairs), np.int64) if len(images) == 1 else np.arange(len(pairs), dtype=np.int64)
        features = encoder.encode_images(load_pixels(chosen, self._preprocessing))
        return encoder.match(features, encoder.encode_texts(words), index)

    def rank(self, query: str | Picture, images: Images, *, rerank: int = 0, top: int | None = None) -> Ranking:
        """Order images by how well they fit a query.

        Args:
            query: a text; or an example image as a `Path`, bytes, Pillow image or array.
            images: the images to rank.
            rerank: how many of the best are ordered by match score; needs a text query.
            top: how many hits to return; all when left out.

        Returns:
            Hits with the index of each image in `images`, best first.
        """
        given = list(as_images(images))
        vectors = self.encode_images(given)
        vector = self.encode_texts(query) if isinstance(query, str) else self.encode_images(query)
        scores = vectors @ vector
        order: IntArray = np.argsort(-scores, kind="stable")
        hits = [Hit(int(i), given[i], float(scores[i])) for i in order]
        if rerank:
            if not isinstance(query, str):
                raise UsageError("rerank needs a text query: the match head compares images with texts")
            hits = self._reranked(query, hits, rerank)
        label = query if isinstance(query, str) else "example image"
        return Ranking(label, tuple(hits[:top]))

    def _reranked(self, query: str, hits: list[Hit], count: int) -> list[Hit]:
        scores = self.match([hit.image for hit in hits[:count]], query)
        scored = [replace(hit, match=float(score)) for hit, score in zip(hits, scores)]
        return sorted(scored, key=lambda hit: -(hit.match or 0.0)) + hits[count:]

    def codes(self, vectors: FloatArray | Images) -> Codes:
        """Assign vectors, or images, to the codebook.

        Args:
            vectors: unit vectors (n, d) or (d,) of `encode_images` or `encode_texts`; or images.

        Raises:
            UsageError: the model has no codebook.
        """
        given = np.asarray(vectors) if _are_vectors(vectors) else self.encode_images(vectors)
        found = self._encoder().assign(np.atleast_2d(given).astype(np.float32))
        return Codes(found.code, found.probabilities, found.prototype)

    def image_features(self, images: Images) -> ImageFeatures:
        """Tokens (n, N, D) and embeddings (n, d) of images, in one forward pass."""
        return self._encoder().encode_images(load_pixels(as_images(images), self._preprocessing))

    def text_features(self, texts: Texts) -> TextFeatures:
        """Tokens (n, L, D), attention mask (n, L) and embeddings (n, d) of texts, in one forward pass."""
        return self._encoder().encode_texts(as_texts(texts))

    @property
    def module(self) -> nn.Module:
        """The PyTorch module. `module(pixels, input_ids, attention_mask)` has gradients and returns embeddings.

        `prepare` and `tokenize` make its inputs; `.image` (n, d) and `.text` (n, d) of its result are unit vectors.

        Raises:
            UsageError: the model is an exported bundle.
        """
        found: nn.Module | None = getattr(self._model, "module", None)
        if found is None:
            raise UsageError(
                f"{self.path} is an exported bundle: onnxruntime computes, there is no PyTorch module",
                remedy="Load the run that it was exported from.",
            )
        return found

    def classify(self, images: Sequence[Images], texts: Texts) -> list[dict[str, float]]:
        """Probability of each class for texts about images; for models of NLVR2 and SNLI-VE.

        Args:
            images: for each text its image (SNLI-VE) or its two images (NLVR2).
            texts: n texts.

        Returns:
            For each text the probability of each class, by name.

        Raises:
            UsageError: the model is of another task.
        """
        if not isinstance(self._model, Classifier):
            raise UsageError(f"a model of task {self.task} does not classify texts")
        runtime: Any = self._opened.runtime
        words, wanted = as_texts(texts), len(runtime.example_images)
        given = [list(as_images(each)) for each in images]
        if len(given) != len(words):
            raise UsageError(f"{len(words)} texts and {len(given)} entries of images: each text needs its own")
        if wrong := next((each for each in given if len(each) != wanted), None):
            raise UsageError(f"a text of task {self.task} needs {wanted} images, not {len(wrong)}")
        pixels = np.stack([load_pixels(each, self._preprocessing) for each in given])  # (n, images, H, W, 3)
        logits = self._model.classify(pixels, words)
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        shares = powers / powers.sum(axis=1, keepdims=True)
        return [dict(zip(self._model.labels, row)) for row in shares.tolist()]

    def answer(self, images: Images, questions: Texts, *, candidates: int = 128) -> list[str]:
        """The likeliest answer of the model's list to each question; for models of VQA.

        Args:
            images: n images, or one for all questions.
            questions: n questions.
            candidates: answers that are scored as a whole.

        Raises:
            UsageError: the model is of another task.
        """
        if not hasattr(self._model, "rank"):
            raise UsageError(f"a model of task {self.task} does not answer questions")
        words = as_texts(questions)
        pixels = load_pixels(as_images(images), self._preprocessing)
        if len(pixels) not in (1, len(words)):
            raise UsageError(f"{len(pixels)} images and {len(words)} questions: pass one image for all, or one each")
        index = np.zeros(len(words), np.int64) if len(pixels) == 1 else np.arange(len(words), dtype=np.int64)
        ranked = self._model.rank(pixels, words, index, candidates)
        return [self._model.answers[i] for i in ranked.index[:, 0].tolist()]

    def prepare(self, images: Images) -> Tensor:
        """Images as the module takes them: uint8 pixels (n, 3, H, W)."""
        import torch

        return torch.from_numpy(load_pixels(as_images(images), self._preprocessing)).permute(0, 3, 1, 2).contiguous()

    def tokenize(self, texts: Texts) -> tuple[Tensor, Tensor]:
        """Texts as the module takes them: token ids (n, L) and attention mask (n, L), int64."""
        import torch

        tokens = self._model.tokenizer.encode(as_texts(texts))
        return torch.from_numpy(tokens.input_ids), torch.from_numpy(tokens.attention_mask)

    def _encoder(self) -> Encoder:
        if not isinstance(self._model, Encoder):
            raise UsageError(f"a model of task {self.task} does not embed images and texts")
        return self._model

    def to_dict(self) -> dict[str, Any]:
        """Name, task, step and what the model can do, as plain data."""
        names = ("name", "task", "step", "image_size", "backend", "has_codebook", "has_matcher")
        return {"path": str(self.path), **{name: getattr(self, name) for name in names}}

    def _repr_html_(self) -> str:
        return f"<p>{escape(repr(self))}</p>"

    def __repr__(self) -> str:
        step = "" if self.step is None else f", step {self.step:,}"
        abilities = [name for name, has in (("codebook", self.has_codebook), ("match head", self.has_matcher)) if has]
        has = f"; {' and '.join(abilities)}" if abilities else ""
        return f"Model {self.name!r} ({self.task}{step}; {self.image_size} px; {self.backend}{has}) from {self.path}"


def _are_vectors(values: object) -> bool:
    """Whether an array holds vectors and not an image: (d,) or (n, d), floating point."""
    return isinstance(values, np.ndarray) and values.ndim in (1, 2) and values.dtype.kind == "f"
