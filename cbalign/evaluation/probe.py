"""Linear probe and nearest neighbours on image embeddings, for any `Encoder`; texts are not read.

- linear: multinomial logistic regression on the embeddings (Radford et al., ICML 2021, A.3), whose L2 weight is chosen
  on held-out training images.
- knn: every class has the sum of exp(cosine / T) of those of the k nearest training images that belong to it (Wu et
  al., CVPR 2018; k = 20 and T = 0.07 as in DINO).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cbalign.data.arrays import IntArray
from cbalign.data.items import Pair
from cbalign.data.progress import ProgressCallback, no_progress
from cbalign.data.source import Source, open_source
from cbalign.encoders import Encoder, require_encoder
from cbalign.errors import DataError
from cbalign.evaluation.base import Result
from cbalign.evaluation.labels import (
    LabelledImages,
    classification_result,
    embed_labelled,
    label_of,
    predicted_labels,
)
from cbalign.evaluation.linear import fit_linear
from cbalign.evaluation.process_group import SINGLE_PROCESS, ProcessGroup
from cbalign.evaluation.scored import ScoredResult
from cbalign.evaluation.sections.probe import ProbeEvaluation, ProbeProtocol, labelled

_L2 = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
_HELD_OUT = 5  # every n-th image of the training set chooses the weight
_CHUNK = 1 << 22  # cosines held at a time

_Wide = NDArray[np.float64]


class ProbeEvaluator:
    """Implements `cbalign.evaluation.evaluator.Evaluator` for encoders of images and texts."""

    def __init__(self, section: ProbeEvaluation) -> None:
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
        """Learn from the labelled training images and classify those of the source; see `Evaluator.evaluate`.

        Raises:
            DataError: a label does not occur in training, an image has several, or too many images are unreadable.
            DivergenceError: the model returns values that are not finite.
        """
        encoder, section = require_encoder(model), self._section
        training = open_source(labelled(section.train_images), "pairs")
        known = sorted({label_of(training, index) for index in range(len(training))})
        for index in range(len(source)):
            if (label := label_of(source, index)) not in known:
                raise DataError(
                    f"{source.name}: {source.item(index).image_key} has the label {label!r}, which no image of "
                    f"{section.train_images} has",
                    remedy="Add images of this class to train_images, or remove the image.",
                )

        learned, images = (
            embed_labelled(
                encoder,
                each,
                known,
                batch_size=section.batch_size,
                corrupt_limit=corrupt_limit,
                report=report,
                process_group=process_group,
            )
            for each in (training, source)
        )
        results = []
        for protocol in section.protocols:
            predicted = self._predict(protocol, learned, images, len(known))
            scores = (images.targets == predicted).astype(np.float64)
            results.append(
                classification_result(section, protocol, encoder, source, images, known, predicted, scores, {})
            )
        return tuple(results)

    def _predict(
        self, protocol: ProbeProtocol, learned: LabelledImages, images: LabelledImages, classes: int
    ) -> IntArray:
        section, targets = self._section, learned.targets
        known, vectors = (each.vectors.astype(np.float64) for each in (learned, images))
        if protocol == "knn":
            votes = nearest_votes(known, targets, vectors, classes, section.neighbours, section.temperature)
            return votes.argmax(axis=1)
        l2 = section.l2 or choose_l2(known, targets, classes)
        return fit_linear(known, targets, classes, l2).logits(vectors).argmax(axis=1)

    def predictions_file(self, result: Result) -> str:
        """Write CSV lines `image,label`."""
        return predicted_labels(result)


def nearest_votes(
    learned: _Wide, labels: IntArray, vectors: _Wide, classes: int, neighbours: int, temperature: float
) -> _Wide:
    """Sum the votes exp(cosine / T) of the k nearest of (M, d) vectors for each class: (N, C).

    Of several that are equally near, the first ones vote.
    """
    x, y = (each / np.maximum(np.linalg.norm(each, axis=1, keepdims=True), 1e-12) for each in (vectors, learned))
    k, votes = min(neighbours, len(y)), np.zeros((len(x), classes))
    rows = max(1, _CHUNK // len(y))
    for start in range(0, len(x), rows):
        cosine = x[start : start + rows] @ y.T
        nearest = np.argsort(-cosine.astype(np.float32), axis=1, kind="stable")[:, :k]
        weight = np.exp((np.take_along_axis(cosine, nearest, axis=1) - 1) / temperature)
        row = np.broadcast_to(np.arange(start, start + len(cosine))[:, None], nearest.shape)
        np.add.at(votes, (row, labels[nearest]), weight)
    return votes


def choose_l2(vectors: _Wide, targets: IntArray, classes: int) -> float:
    """Choose the weight with the best accuracy on every fifth vector, the largest of those that are equally good."""
    held_out = np.arange(len(vectors)) % _HELD_OUT == 0
    best, chosen = -1.0, _L2[-1]
    for l2 in reversed(_L2):
        classifier = fit_linear(vectors[~held_out], targets[~held_out], classes, l2)
        accuracy = float((classifier.logits(vectors[held_out]).argmax(axis=1) == targets[held_out]).mean())
        if accuracy > best:
            best, chosen = accuracy, l2
    return chosen
