"""One object for every trained model: of a run, a checkpoint or an exported bundle."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cbalign.api.arguments import whole
from cbalign.api.inference import answer_questions, classify_texts, embed_images, embed_texts, match_pairs
from cbalign.api.pictures import Images, Texts, as_images, as_texts, is_one_image, load_pixels, pixel_batches
from cbalign.api.queries import Query, checked_query, query_vector, ranking_of
from cbalign.api.vectors import Codes, Hit, Ranking, are_vectors, of_width
from cbalign.data.arrays import FloatArray, IntArray
from cbalign.data.image import Preprocessing
from cbalign.encoders import Classifier, Encoder, ImageFeatures, TextFeatures
from cbalign.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from cbalign.experiment.experiment import Experiment
    from cbalign.tasks.opened import OpenedModel


class Model:
    """A trained model with one contract, whether PyTorch or onnxruntime computes. Make it with `cbalign.load`.

    Methods take one image or many, one text or many: see `Images` and `Texts`. Images are resized and normalised as in
    training. One image or text gives one vector (d,), a collection of n gives (n, d).

    Attributes:
        path: the run, checkpoint or bundle.
    """

    def __init__(self, opened: OpenedModel, path: Path, identity: Callable[[], str]) -> None:
        # `identity` returns a text that is equal for models that give the same vectors.
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
        encoder, batch_size = self._encoder(), whole("batch_size", batch_size, 1)
        vectors = embed_images(encoder, pixel_batches(images, self._preprocessing, batch_size))
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
        encoder, given, batch_size = self._encoder(), as_texts(texts), whole("batch_size", batch_size, 1)
        vectors = embed_texts(encoder, given, batch_size)
        return vectors[0] if isinstance(texts, str) else vectors

    def similarity(self, images: Images | FloatArray, texts: Texts | FloatArray) -> FloatArray:
        """Cosines of images with texts.

        Args:
            images: images, or vectors (I, d) of `encode_images`.
            texts: texts, or vectors (T, d) of `encode_texts`. Vectors are not normalised for you.

        Returns:
            Always (I, T), even for one image or one text.

        Raises:
            UsageError: the vectors are not d-dimensional.
        """
        a = images if are_vectors(images) else self.encode_images(images)
        b = texts if are_vectors(texts) else self.encode_texts(texts)  # type: ignore[arg-type]
        return of_width(self._width, a) @ of_width(self._width, b).T

    def match(self, images: Images, texts: Texts) -> FloatArray:
        """Match scores of image-text pairs, the logit of "fits": image i with text i.

        Args:
            images: n images, or one that is matched with every text.
            texts: n texts, or one that is matched with every image.

        Returns:
            Always (n,) scores, even for one pair.

        Raises:
            UsageError: the model has no match head, or the numbers of images and texts differ.
        """
        return match_pairs(self._encoder(), list(as_images(images)), as_texts(texts), self._preprocessing)

    def rank(self, query: Query, images: Images, *, rerank: int = 0, top: int | None = None) -> Ranking:
        """Order images by how well they fit a query.

        Args:
            query: a text; or an example image, but not as a str, which is always a text.
            images: the images to rank.
            rerank: reorder this many of the best hits by match score; 0: none. Needs a text query.
            top: number of hits to return; default: all.

        Returns:
            Hits, best first; `Hit.index` is the position in `images`.

        Raises:
            UsageError: the model embeds no images, or has no match head for `rerank`.
            DataError: an image cannot be decoded.
        """
        query, rerank = checked_query(query, rerank), whole("rerank", rerank, 0)
        top = None if top is None else whole("top", top, 1)
        given = list(as_images(images))
        scores = self.encode_images(given) @ query_vector(self, query)
        order: IntArray = np.argsort(-scores, kind="stable")
        hits = [Hit(int(i), given[i], float(scores[i])) for i in order]
        return ranking_of(self, query, hits, rerank=rerank, top=top)

    def codes(self, vectors: FloatArray | Images) -> Codes:
        """Assign vectors, or images, to the codebook.

        Args:
            vectors: unit vectors (n, d) or (d,) of `encode_images` or `encode_texts`, which are not normalised for
                you; or images.

        Returns:
            Codes of n vectors; one vector or image gives arrays with n = 1.

        Raises:
            UsageError: the model has no codebook, or the vectors are not d-dimensional.
        """
        given = vectors if are_vectors(vectors) else self.encode_images(vectors)
        found = self._encoder().assign(of_width(self._width, given).astype(np.float32))
        return Codes(found.code, found.probabilities, found.prototype)

    def image_features(self, images: Images) -> ImageFeatures:
        """Tokens (n, N, D) and embeddings (n, d) of images, in one forward pass."""
        return self._encoder().encode_images(load_pixels(as_images(images), self._preprocessing))

    def text_features(self, texts: Texts) -> TextFeatures:
        """Tokens (n, L, D), attention mask (n, L) and embeddings (n, d) of texts, in one forward pass."""
        return self._encoder().encode_texts(as_texts(texts))

    @property
    def module(self) -> nn.Module:
        """The PyTorch module, in evaluation mode, for gradients.

        Call it as `module(pixels, input_ids, attention_mask)`. `pixels` (n, 3, H, W) are uint8, or floats from 0 to
        255, not to 1: the module normalises them. `prepare` makes them, `tokenize` makes `input_ids` and
        `attention_mask`. The result has unit vectors `.image` (n, d) and `.text` (n, d).

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
        given = [list(as_images(each)) for each in images]
        wanted = len(runtime.example_images)
        return classify_texts(self._model, given, as_texts(texts), self._preprocessing, images_per_text=wanted)

    def answer(self, images: Images, questions: Texts, *, candidates: int = 128) -> list[str]:
        """The likeliest answer of the model's list to each question; for models of VQA.

        Args:
            images: n images, or one for all questions.
            questions: n questions.
            candidates: how many of the likeliest answers are scored in full.

        Raises:
            UsageError: the model is of another task.
        """
        if not hasattr(self._model, "rank"):
            raise UsageError(f"a model of task {self.task} does not answer questions")
        return answer_questions(
            self._model, list(as_images(images)), as_texts(questions), self._preprocessing, candidates
        )

    def prepare(self, images: Images) -> Tensor:
        """Images as the module takes them: uint8 pixels (n, 3, H, W), a torch tensor; also works for a bundle."""
        import torch

        return torch.from_numpy(load_pixels(as_images(images), self._preprocessing)).permute(0, 3, 1, 2).contiguous()

    def tokenize(self, texts: Texts) -> tuple[Tensor, Tensor]:
        """Texts as the module takes them: token ids (n, L) and attention mask (n, L), int64 tensors."""
        import torch

        tokens = self._model.tokenizer.encode(as_texts(texts))
        return torch.from_numpy(tokens.input_ids), torch.from_numpy(tokens.attention_mask)

    def _encoder(self) -> Encoder:
        if not isinstance(self._model, Encoder):
            raise UsageError(f"a model of task {self.task} does not embed images and texts")
        return self._model

    @property
    def _width(self) -> int:
        return self.experiment.model.joint_dim

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
