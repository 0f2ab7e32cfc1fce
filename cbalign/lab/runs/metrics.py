"""Metrics of a run: those of its own evaluations during training, and those of `cbalign evaluate`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from cbalign.engine.checkpoint_folder import latest_checkpoint
from cbalign.engine.manifest import Manifest
from cbalign.engine.metrics_file import read_records
from cbalign.engine.run import RunFolder
from cbalign.engine.tracker import Record
from cbalign.evaluation.result import EvaluationDocument
from cbalign.parts.metrics import is_better, matching, no_such_metric

_HEADLINES = ("r1", "accuracy")  # the metrics that summarise a run by default


@dataclass(frozen=True)
class MetricSummary:
    """One metric over a training: its last value, its best value, and the step of the best."""

    name: str
    last: float
    best: float
    best_step: int


def headlines(metrics: Iterable[str]) -> list[str]:
    """Return the metrics that summarise a run: every R@1 or accuracy, or else the first metric."""
    names = list(metrics)
    return [name for name in names if name.rpartition("/")[2] in _HEADLINES] or names[:1]


def choose(metrics: Iterable[str], wanted: Sequence[str]) -> list[str]:
    """Select metrics by name, end of the name (`r1`, `dual/image_to_text/r1`) or pattern with `*`.

    Raises:
        UsageError: no metric matches.
    """
    names = list(metrics)
    chosen: list[str] = []
    for word in wanted:
        found = matching(names, word)
        if not found:
            raise no_such_metric(word, names)
        chosen += found
    return list(dict.fromkeys(chosen))


def evaluated(records: Iterable[Record]) -> list[str]:
    """Return the names of all metrics that were evaluated during training."""
    values = (_finite(record.values) for record in records if record.kind == "evaluation")
    return list(dict.fromkeys(name for each in values for name in each))


def summarise_metric(records: Sequence[Record], metric: str | None = None) -> MetricSummary | None:
    """Summarise a metric over a training, by default its headline; None if it was never measured."""
    names = evaluated(records)
    if metric is not None:
        names = [name for name in names if name == metric or name.endswith(f"/{metric}")]
    name = next(iter(headlines(names)), None)
    if name is None:
        return None
    evaluated_at = [(r.step, r.values.get(name, math.nan)) for r in records if r.kind == "evaluation"]
    points = [point for point in evaluated_at if math.isfinite(point[1])]
    best = points[0]
    for point in points[1:]:
        best = point if is_better(name, point[1], best[1]) else best
    return MetricSummary(name, points[-1][1], best[1], best[0])


def measured(run: RunFolder, manifest: Manifest) -> dict[str, float]:
    """Return the newest value of every metric: those of training, and those of `cbalign evaluate` as `test/dual/…`.

    Raises:
        DataError: a file of results is damaged.
    """
    newest = latest_checkpoint(run.checkpoints)
    older: dict[str, float] = {}
    current: dict[str, float] = {}
    for evaluation in evaluations(run).values():
        of_newest = newest is not None and newest.name == f"step-{evaluation.step}"
        for result in evaluation.results:
            named = {f"{result.split}/{name}": value for name, value in result.flat().items()}
            (current if of_newest else older).update(named)
    return _finite({**older, **(manifest.metrics or _last_evaluation(run)), **current})


def _finite(values: Mapping[str, float]) -> dict[str, float]:
    """Drop values that are not finite."""
    return {name: value for name, value in values.items() if math.isfinite(value)}


def _last_evaluation(run: RunFolder) -> Mapping[str, float]:
    made = [record.values for record in read_records(run.metrics) if record.kind == "evaluation"]
    return made[-1] if made else {}


def evaluations(run: RunFolder) -> dict[str, EvaluationDocument]:
    """Read the stored results of `cbalign evaluate` by file name, those of older checkpoints first.

    Raises:
        DataError: a file of results is damaged.
    """
    found = {}
    for path in sorted(run.evaluation.glob("*.json")):
        found[path.name] = EvaluationDocument.from_json(path.read_text(encoding="utf-8"), name=str(path))
    return dict(sorted(found.items(), key=lambda item: item[1].step or 0))
