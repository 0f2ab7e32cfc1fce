"""Labelled images: pairs whose caption is the class of the image, and results of classifying them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cbalign.data.arrays import FloatArray, IntArray, PixelArray
from cbalign.data.items import Pair
from cbalign.data.progress import ProgressCallback
from cbalign.data.source import Source
from cbalign.encoders import Encoder
from cbalign.errors import DataError
from cbalign.evaluation.base import Result
from cbalign.evaluation.items import hash_items, measure_items, require_finite
from cbalign.evaluation.process_group import ProcessGroup
from cbalign.evaluation.scored import ClassAccuracy, Confusion, ScoreArray, ScoredResult, interval_of
from cbalign.parts import EvaluationSection

_SHOWN_CLASSES = 12  # of which a table of confusions fits a page


@dataclass(frozen=True)
class LabelledImages:
    """The readable images of a source: vectors (N, d), classes (N,), their pairs, and how many were left out."""

    vectors: FloatArray
    targets: IntArray
    items: tuple[Pair, ...]
    skipped: int


def embed_labelled(
    encoder: Encoder,
    source: Source[Pair],
    classes: Sequence[str],
    *,
    batch_size: int,
    corrupt_limit: float,
    report: ProgressCallback,
    process_group: ProcessGroup,
) -> LabelledImages:
    """Embed the readable images of a source whose labels are among the classes; see `measure_items` for arguments.

    Raises:
        DataError: too many images are unreadable.
        DivergenceError: an embedding is not finite.
    """

    def embed(pixels: PixelArray, items: Sequence[Pair]) -> Sequence[FloatArray]:
        vectors = encoder.embed_images(pixels[:, 0])
        require_finite(vectors, "embeddings")
        return list(vectors)

    found = measure_items(
        source,
        embed,
        preprocessing=encoder.preprocessing,
        batch_size=batch_size,
        corrupt_limit=corrupt_limit,
        report=report,
        process_group=process_group,
    )
    number = {label: position for position, label in enumerate(classes)}
    items = tuple(source.item(position) for position in found.positions)
    targets = np.array([number[item.text] for item in items], np.int64)
    return LabelledImages(np.stack(found.findings), targets, items, found.skipped)


def classification_result(
    section: EvaluationSection,
    protocol: str,
    encoder: Encoder,
    source: Source[Pair],
    images: LabelledImages,
    classes: Sequence[str],
    predicted: IntArray,
    scores: ScoreArray,
    more: Mapping[str, float],
) -> ScoredResult:
    """Report a classification of images by one protocol of an evaluation.

    Args:
        section: the evaluation; its kind is the name of the result.
        protocol: the protocol.
        encoder: the model.
        source: of the images.
        images: what was classified.
        classes: labels of the classes.
        predicted: (N,) classes.
        scores: (N,) 1 where the prediction counts as right, else 0.
        more: further metrics in per cent, which follow the accuracy.
    """
    by_class = accuracy_by_class(classes, images.targets, scores)
    mean = float(np.mean([each.accuracy for each in by_class]))
    metrics = {"accuracy": 100 * float(scores.mean()), **more, "mean_per_class": mean}
    return ScoredResult(
        protocol=section.kind,
        setting=protocol,
        split=section.on,
        source=source.name,
        gallery=hash_items(f"{item.image_key}\t{item.text}" for item in images.items),
        items=len(images.items),
        skipped=images.skipped,
        image_size=encoder.image_size,
        ids=tuple(item.image_key for item in images.items),
        predictions=tuple(classes[one] for one in predicted),
        scores=scores,
        metrics={f"{section.kind}/{protocol}/{name}": value for name, value in metrics.items()},
        interval=interval_of(scores, section.bootstrap),
        confusion=Confusion.of(classes, images.targets, predicted) if len(classes) <= _SHOWN_CLASSES else None,
        classes=by_class,
    )


def predicted_labels(result: Result) -> str:
    """Write CSV lines `image,label` of a classification."""
    assert isinstance(result, ScoredResult)
    return "".join(f"{name},{label}\n" for name, label in zip(result.ids, result.predictions))


def label_of(source: Source[Pair], index: int) -> str:
    """Return the label of an image, which is its caption.

    Raises:
        DataError: it has several captions.
    """
    pair = source.item(index)
    if len(pair.captions) > 1:
        raise DataError(
            f"{source.name}: {pair.image_key} has {len(pair.captions)} captions, not one label",
            remedy="Name a folder of class folders, or a CSV file with the columns path and label, as `images`.",
        )
    return pair.text


def accuracy_by_class(labels: Sequence[str], targets: IntArray, scores: ScoreArray) -> tuple[ClassAccuracy, ...]:
    """Measure the classes that have items, from classes (Q,) and scores (Q,) of these."""
    counts = np.bincount(targets, minlength=len(labels))
    sums = np.bincount(targets, weights=scores, minlength=len(labels))
    return tuple(
        ClassAccuracy(label, int(count), 100 * float(total / count))
        for label, count, total in zip(labels, counts, sums)
        if count
    )
