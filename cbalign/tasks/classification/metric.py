"""The accuracy of classifiers on statements or premises."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from cbalign.data.arrays import IntArray, PixelArray
from cbalign.data.items import Labelled
from cbalign.data.progress import ProgressCallback, no_progress
from cbalign.data.source import Source, known_target
from cbalign.encoders import Classifier
from cbalign.errors import DivergenceError
from cbalign.evaluation.items import measure_items
from cbalign.evaluation.process_group import SINGLE_PROCESS, ProcessGroup
from cbalign.evaluation.scored import Confusion, ScoredResult, interval_of
from cbalign.tasks.classification.section import AccuracyEvaluation


class AccuracyEvaluator:
    """Implements `cbalign.evaluation.evaluator.Evaluator` for classifiers."""

    def __init__(self, section: AccuracyEvaluation) -> None:
        self._section = section

    def evaluate(
        self,
        model: Classifier,
        source: Source[Labelled],
        *,
        corrupt_limit: float = 0.0,
        report: ProgressCallback = no_progress,
        process_group: ProcessGroup = SINGLE_PROCESS,
    ) -> tuple[ScoredResult, ...]:
        """Measure accuracy; see `evaluate_accuracy`."""
        found = evaluate_accuracy(
            model, source, self._section, corrupt_limit=corrupt_limit, report=report, process_group=process_group
        )
        return (found,)

    def predictions_file(self, result: ScoredResult) -> str:
        """Write CSV lines `identifier,label`, as NLVR2's metrics.py reads them."""
        return "".join(f"{name},{said}\n" for name, said in zip(result.ids, result.predictions))


def evaluate_accuracy(
    classifier: Classifier,
    source: Source[Labelled],
    section: AccuracyEvaluation,
    *,
    corrupt_limit: float = 0.0,
    report: ProgressCallback = no_progress,
    process_group: ProcessGroup = SINGLE_PROCESS,
) -> ScoredResult:
    """Measure the accuracy of a classifier.

    Consistency is the share of groups, the same sentence about other images, in which all items are right (NLVR2's
    metrics.py); it is left out where every item is a group of its own.

    Args:
        classifier: the model.
        source: statements or premises.
        section: on which split, how many resamples.
        corrupt_limit: share of the items that may have unreadable images (`data.corrupt_limit`); they are skipped.
        report: progress callback.
        process_group: the processes that share the work; all get the result of one.

    Raises:
        DataError: an item has no label, or too many images are unreadable.
        DivergenceError: the model returns logits that are not finite.
    """

    def judge(pixels: PixelArray, items: Sequence[Labelled]) -> list[int]:
        logits = classifier.classify(pixels, [item.text for item in items])
        if not np.isfinite(logits).all():
            raise DivergenceError(
                "the logits of a batch are not numbers",
                remedy="The weights are damaged or the precision overflows: use an earlier checkpoint, or fp32.",
            )
        return [int(one) for one in logits.argmax(axis=1)]

    for index in range(len(source)):  # before the work, not after it
        known_target(source.item(index), source)
    found = measure_items(
        source,
        judge,
        preprocessing=classifier.preprocessing,
        batch_size=section.batch_size,
        corrupt_limit=corrupt_limit,
        report=report,
        process_group=process_group,
    )
    items = [source.item(position) for position in found.positions]
    targets = np.array([known_target(item, source) for item in items], np.int64)
    predicted = np.array(found.findings, np.int64)
    scores = (targets == predicted).astype(np.float64)
    metrics = {"accuracy": 100 * float(scores.mean())}
    consistent = _consistency([item.group for item in items], targets == predicted)
    if consistent is not None:
        metrics["consistency"] = consistent
    return ScoredResult(
        protocol="accuracy",
        setting="",
        split=section.on,
        source=source.name,
        gallery=_fingerprint(items, targets),
        items=len(items),
        skipped=found.skipped,
        image_size=classifier.image_size,
        ids=tuple(item.id for item in items),
        predictions=tuple(classifier.labels[one] for one in predicted),
        scores=scores,
        metrics=metrics,
        interval=interval_of(scores, section.bootstrap),
        confusion=Confusion.of(classifier.labels, targets, predicted),
    )


def _consistency(groups: Sequence[str], right: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> float | None:
    all_right: dict[str, bool] = {}
    for group, one in zip(groups, right):
        all_right[group] = all_right.get(group, True) and bool(one)
    if len(all_right) == len(groups):
        return None
    return 100 * sum(all_right.values()) / len(all_right)


def _fingerprint(items: Sequence[Labelled], targets: IntArray) -> str:
    """Return a fingerprint of the items in their order."""
    digest = hashlib.sha256()
    for item, target in zip(items, targets):
        digest.update("\t".join((*item.image_keys, item.text, str(target))).encode("utf-8", "replace") + b"\n")
    return digest.hexdigest()[:16]
