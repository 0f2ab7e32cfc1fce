"""Zero-shot classification of labelled images by the protocols `dual` and `code`, for any `Encoder`.

A class is the mean of the unit vectors of its sentences, of unit length again (Radford et al., ICML 2021, section
3.1.4: prompt ensembling in embedding space). By `code`, it is the mean p of their distributions over the codebook, and
an image with the distribution q has the score Σ_k √(p_k q_k). A wrong class with the score of the right one counts
against the model.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cbalign.data.arrays import FloatArray, IntArray, PixelArray
from cbalign.data.items import Pair
from cbalign.data.progress import ProgressCallback, no_progress
from cbalign.data.source import Source
from cbalign.encoders import Encoder, require_encoder
from cbalign.errors import DataError, UsageError
from cbalign.evaluation.base import Result
from cbalign.evaluation.codes import assign_all
from cbalign.evaluation.items import ItemResults, hash_items, measure_items, require_finite
from cbalign.evaluation.labels import accuracy_by_class, label_of
from cbalign.evaluation.process_group import SINGLE_PROCESS, ProcessGroup
from cbalign.evaluation.prompts import Prompts, PromptTable, read_prompts
from cbalign.evaluation.ranking import GalleryRanking, Relevance, rank
from cbalign.evaluation.scored import Confusion, ScoredResult, interval_of
from cbalign.evaluation.sections.classification import VectorProtocol, ZeroShotEvaluation

_SHOWN_CLASSES = 12  # of which a table of confusions fits a page
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

        def embed(pixels: PixelArray, items: Sequence[Pair]) -> Sequence[FloatArray]:
            vectors = encoder.embed_images(pixels[:, 0])
            require_finite(vectors, "embeddings")
            return list(vectors)

        found = measure_items(
            source,
            embed,
            preprocessing=encoder.preprocessing,
            batch_size=section.batch_size,
            corrupt_limit=corrupt_limit,
            report=report,
            process_group=process_group,
        )
        sentences = _embed_texts(encoder, [text for texts in prompts.texts for text in texts], section.batch_size)
        number = {label: position for position, label in enumerate(prompts.labels)}
        targets = np.array([number[labels[position]] for position in found.positions], np.int64)
        return tuple(
            self._result(protocol, encoder, source, prompts, targets, found, sentences)
            for protocol in section.protocols
        )

    def _result(
        self,
        protocol: VectorProtocol,
        encoder: Encoder,
        source: Source[Pair],
        prompts: Prompts,
        targets: IntArray,
        found: ItemResults[FloatArray],
        sentences: FloatArray,
    ) -> ScoredResult:
        sizes = [len(texts) for texts in prompts.texts]
        ranking = _classify(encoder, protocol, np.stack(found.findings), sentences, sizes, targets, self._section)
        scores = (ranking.ranks == 1).astype(np.float64)
        classes = accuracy_by_class(prompts.labels, targets, scores)
        metrics = {"accuracy": 100 * float(scores.mean())}
        if len(sizes) > _BEST:
            metrics[f"top{_BEST}"] = 100 * float((ranking.ranks <= _BEST).mean())
        metrics["mean_per_class"] = float(np.mean([each.accuracy for each in classes]))
        predicted = ranking.candidates[:, 0]
        items = [source.item(position) for position in found.positions]
        return ScoredResult(
            protocol="zero_shot",
            setting=protocol,
            split=self._section.on,
            source=source.name,
            gallery=hash_items(f"{item.image_key}\t{item.text}" for item in items),
            items=len(items),
            skipped=found.skipped,
            image_size=encoder.image_size,
            ids=tuple(item.image_key for item in items),
            predictions=tuple(prompts.labels[one] for one in predicted),
            scores=scores,
            metrics={f"zero_shot/{protocol}/{name}": value for name, value in metrics.items()},
            interval=interval_of(scores, self._section.bootstrap),
            confusion=Confusion.of(prompts.labels, targets, predicted) if len(sizes) <= _SHOWN_CLASSES else None,
            classes=classes,
        )

    def predictions_file(self, result: Result) -> str:
        """Write CSV lines `image,label`."""
        assert isinstance(result, ScoredResult)
        return "".join(f"{name},{label}\n" for name, label in zip(result.ids, result.predictions))


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
    images: FloatArray,
    sentences: FloatArray,
    sizes: Sequence[int],
    targets: IntArray,
    section: ZeroShotEvaluation,
) -> GalleryRanking:
    """Rank the classes of vectors (N, d) by sentences (S, d), of which each class has some; the best is candidate 0."""
    if protocol == "code":
        images = assign_all(encoder, images, section.batch_size).probabilities
        sentences = assign_all(encoder, sentences, section.batch_size).probabilities
        images, classes = np.sqrt(images), np.sqrt(average(sentences, sizes))
    else:
        classes = average(sentences, sizes)
        classes = classes / np.maximum(np.linalg.norm(classes, axis=1, keepdims=True), 1e-12)
    right = Relevance(np.arange(len(images)), targets, len(images), len(sizes))
    return rank(images, classes, right, candidates=1)


def average(vectors: FloatArray, sizes: Sequence[int]) -> FloatArray:
    """Average consecutive groups of vectors (S, d) of these sizes: (C, d) in float64."""
    starts = np.cumsum([0, *sizes[:-1]])
    return np.add.reduceat(vectors.astype(np.float64), starts, axis=0) / np.array(sizes)[:, None]
