"""Labelled images: pairs whose caption is the class of the image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cbalign.data.arrays import IntArray
from cbalign.data.items import Pair
from cbalign.data.source import Source
from cbalign.errors import DataError
from cbalign.evaluation.scored import ClassAccuracy, ScoreArray


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
