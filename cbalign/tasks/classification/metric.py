"""The accuracy of classifiers on statements or premises."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cbalign.data.arrays import PixelArray
from cbalign.data.items import Labelled
from cbalign.data.progress import ProgressCallback, no_progress
from cbalign.data.source import Source, known_target
from cbalign.encoders import Classifier
from cbalign.evaluation.items import ItemResults, hash_items, measure_items, require_finite
from cbalign.evaluation.process_group import SINGLE_PROCESS, ProcessGroup
from cbalign.evaluation.scored import Confusion, ScoredResult, interval_of
from cbalign.tasks.classification.section import AccuracyEvaluation

APPROXIMATE = "consistency is approximate: without identifiers, a sentence that two sets share counts as one group"


class AccuracyEvaluator:
    """Implements `cbalign.evaluation.evaluator.Evaluator` for classifiers.

    Consistency is the share of groups, the same sentence about other images, in which all items are right (NLVR2's
    metrics.py); it is left out where every item is a group of its own. In ALBEF's lists, which have no identifiers, it
    is approximate: one sentence about the images of two sets is one group there.
    """

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
        """Measure accuracy; see `Evaluator.evaluate`.

        Raises:
            DataError: an item has no label, or too many images are unreadable.
            DivergenceError: the model returns logits that are not finite.
        """

        def classify(pixels: PixelArray, items: Sequence[Labelled]) -> list[int]:
            logits = model.classify(pixels, [item.text for item in items])
            require_finite(logits, "logits")
            return [int(one) for one in logits.argmax(axis=1)]

        for index in range(len(source)):  # before the work, not after it
            known_target(source.item(index), source)
        found = measure_items(
            source,
            classify,
            preprocessing=model.preprocessing,
            batch_size=self._section.batch_size,
            corrupt_limit=corrupt_limit,
            report=report,
            process_group=process_group,
        )
        return (self._result(model, source, found),)

    def _result(self, model: Classifier, source: Source[Labelled], found: ItemResults[int]) -> ScoredResult:
        items = [source.item(position) for position in found.positions]
        targets = np.array([known_target(item, source) for item in items], np.int64)
        predicted = np.array(found.findings, np.int64)
        scores = (targets == predicted).astype(np.float64)
        metrics = {"accuracy": 100 * float(scores.mean())}
        consistent = _consistency([item.group for item in items], targets == predicted)
        notes: tuple[str, ...] = ()
        if consistent is not None:
            metrics["consistency"] = consistent
            notes = (APPROXIMATE,) if any(item.group == item.text for item in items) else ()
        return ScoredResult(
            protocol="accuracy",
            setting="",
            split=self._section.on,
            source=source.name,
            gallery=hash_items("\t".join((*i.image_keys, i.text, str(target))) for i, target in zip(items, targets)),
            items=len(items),
            skipped=found.skipped,
            image_size=model.image_size,
            ids=tuple(item.id for item in items),
            predictions=tuple(model.labels[one] for one in predicted),
            scores=scores,
            metrics=metrics,
            interval=interval_of(scores, self._section.bootstrap),
            confusion=Confusion.of(model.labels, targets, predicted),
            notes=notes,
        )

    def predictions_file(self, result: ScoredResult) -> str:
        """Write CSV lines `identifier,label`, as NLVR2's metrics.py reads them."""
        return "".join(f"{name},{label}\n" for name, label in zip(result.ids, result.predictions))


def _consistency(groups: Sequence[str], right: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> float | None:
    all_right: dict[str, bool] = {}
    for group, one in zip(groups, right):
        all_right[group] = all_right.get(group, True) and bool(one)
    if len(all_right) == len(groups):
        return None
    return 100 * sum(all_right.values()) / len(all_right)
