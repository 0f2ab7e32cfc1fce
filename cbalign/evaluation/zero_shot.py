"""Zero-shot classification of labelled images by the protocols `dual` and `code`, for any `Encoder`.

A class is the mean of the unit vectors of its sentences, of unit length again (Radford et al., ICML 2021, section
3.1.4: prompt ensembling in embedding space). By `code`, it is the mean p of their distributions over the codebook, and
an image with the distribution q has the score Σ_k √(p_k q_k). A wrong class with the score of the right one counts
against the model.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cbalign.data.arrays import FloatArray
from cbalign.data.items import Pair
from cbalign.data.progress import ProgressCallback, no_progress
from cbalign.data.source import Source
from cbalign.encoders import Encoder, require_encoder
from cbalign.errors import DataError, UsageError
from cbalign.evaluation.base import Result
from cbalign.evaluation.codes import assign_all
from cbalign.evaluation.items import require_finite
from cbalign.evaluation.labels import (
    LabelledImages,
    classification_result,
    embed_labelled,
    label_of,
    predicted_labels,
)
from cbalign.evaluation.process_group import SINGLE_PROCESS, ProcessGroup
from cbalign.evaluation.prompts import Prompts, PromptTable, read_prompts
from cbalign.evaluation.ranking import GalleryRanking, Relevance, rank
from cbalign.evaluation.scored import ScoredResult
from cbalign.evaluation.sections.classification import VectorProtocol, ZeroShotEvaluation

_BEST = 5


class ZeroShotEvaluator:
    """Implements `cbalign.evaluation.evaluator.Evaluator` for encoders of images and texts.

    The label of an image is its caption.
    """

    def __init__(self, section: ZeroShotEvaluation) -> None:
        self._section = section

    def evaluate(
        self,
        model: Encoder,
        source: Source[Pair],
        *,
        corrupt_limit: float = 0.0,
        report: ProgressCallback = no_progress,
        process_group: ProcessGroup = SINGLE_PROCESS,
    ) -> tuple[ScoredResult, ...]:
        """Classify every readable image; see `Evaluator.evaluate`.

        Raises:
            UsageError: the model lacks a codebook that `code` needs, or a class has no template.
            DataError: a label is none of the classes, an image has several, or too many images are unreadable.
            DivergenceError: the model returns values that are not finite.
        """
        encoder, section = require_encoder(model), self._section
        if "code" in section.protocols and not encoder.has_codebook:
            raise UsageError("code needs a codebook, which this model lacks", remedy="Remove code from the protocols.")
        table = PromptTable() if section.prompts is None else read_prompts(section.prompts)
        labels = [label_of(source, index) for index in range(len(source))]
        prompts = Prompts.of(section.classes, section.templates, table, sorted(set(labels)))
        _require_classes(prompts, labels, source)

        images = embed_labelled(
            encoder,
            source,
            prompts.labels,
            batch_size=section.batch_size,
            corrupt_limit=corrupt_limit,
            report=report,
            process_group=process_group,
        )
        sentences = _embed_texts(encoder, [text for texts in prompts.texts for text in texts], section.batch_size)
        return tuple(
            self._result(protocol, encoder, source, prompts, images, sentences) for protocol in section.protocols
        )

    def _result(
        self,
        protocol: VectorProtocol,
        encoder: Encoder,
        source: Source[Pair],
        prompts: Prompts,
        images: LabelledImages,
        sentences: FloatArray,
    ) -> ScoredResult:
        sizes = [len(texts) for texts in prompts.texts]
        ranking = _classify(encoder, protocol, images, sentences, sizes, self._section)
        top = {f"top{_BEST}": 100 * float((ranking.ranks <= _BEST).mean())} if len(sizes) > _BEST else {}
        scores = (ranking.ranks == 1).astype(np.float64)
        predicted = ranking.candidates[:, 0]
        return classification_result(
            self._section, protocol, encoder, source, images, prompts.labels, predicted, scores, top
        )

    def predictions_file(self, result: Result) -> str:
        """Write CSV lines `image,label`."""
        return predicted_labels(result)


def _require_classes(prompts: Prompts, labels: Sequence[str], source: Source[Pair]) -> None:
    known = set(prompts.labels)
    unknown = sorted({label for label in labels if label not in known})
    if unknown:
        first = source.item(labels.index(unknown[0])).image_key
        more = f" ({len(unknown):,} such labels)" if len(unknown) > 1 else ""
        raise DataError(
            f"{source.name}: {first} has the label {unknown[0]!r}, which is no class{more}",
            remedy="Add it to the classes of the evaluation or its prompts, or remove the image.",
        )


def _embed_texts(encoder: Encoder, texts: Sequence[str], batch_size: int) -> FloatArray:
    batches = [encoder.embed_texts(texts[i : i + batch_size]) for i in range(0, len(texts), batch_size)]
    vectors = np.concatenate(batches)
    require_finite(vectors, "text embeddings")
    return vectors


def _classify(
    encoder: Encoder,
    protocol: VectorProtocol,
    images: LabelledImages,
    sentences: FloatArray,
    sizes: Sequence[int],
    section: ZeroShotEvaluation,
) -> GalleryRanking:
    """Rank the classes of N images by sentences (S, d), of which each class has some; the best is candidate 0."""
    vectors = images.vectors
    if protocol == "code":
        vectors = assign_all(encoder, vectors, section.batch_size).probabilities
        sentences = assign_all(encoder, sentences, section.batch_size).probabilities
        vectors, classes = np.sqrt(vectors), np.sqrt(average(sentences, sizes))
    else:
        classes = average(sentences, sizes)
        classes = classes / np.maximum(np.linalg.norm(classes, axis=1, keepdims=True), 1e-12)
    right = Relevance(np.arange(len(vectors)), images.targets, len(vectors), len(sizes))
    return rank(vectors, classes, right, candidates=1)


def average(vectors: FloatArray, sizes: Sequence[int]) -> FloatArray:
    """Average consecutive groups of vectors (S, d) of these sizes: (C, d) in float64."""
    starts = np.cumsum([0, *sizes[:-1]])
    return np.add.reduceat(vectors.astype(np.float64), starts, axis=0) / np.array(sizes)[:, None]
