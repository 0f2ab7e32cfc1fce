"""Compare runs by the settings and metrics in which they differ."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from cbalign.engine.manifest import Manifest, Status
from cbalign.engine.run import RunFolder, summarise_run
from cbalign.experiment.diff import Comparison, compare_experiments
from cbalign.experiment.load import LoadedExperiment, load_experiment
from cbalign.lab.runs.metrics import choose, measured
from cbalign.parts.metrics import smaller_is_better


@dataclass(frozen=True)
class ComparedRun:
    """One run of a comparison."""

    run: RunFolder
    manifest: Manifest
    status: Status
    step: int
    loaded: LoadedExperiment
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class RunComparison:
    """Compared runs in order; only `settings`, by effect class, and `metrics` that differ.

    `sorted_by` is the metric whose best run comes first, None where they are in the order that was asked for.
    """

    entries: tuple[ComparedRun, ...]
    settings: Comparison
    metrics: tuple[str, ...]
    sorted_by: str | None


def open_compared_run(run: RunFolder) -> ComparedRun:
    """Read the parts of a run that a comparison needs.

    Raises:
        CheckpointError: its manifest or its metrics cannot be read.
        SpecError: this version reads its resolved spec no more.
        DataError: a file of results is damaged.
    """
    manifest, summary = Manifest.read(run.manifest), summarise_run(run)
    loaded = load_experiment(run.resolved, check_files=False)
    return ComparedRun(run, manifest, summary.status, summary.step, loaded, measured(run, manifest))


def compare_runs(runs: Sequence[RunFolder], sort_by: str | None = None) -> RunComparison:
    """Compare two or more runs; if a metric to sort by is given, best first, and runs without it last.

    Raises:
        UsageError: no run has that metric.
        CbalignError: whatever `open_compared_run` raises.
    """
    entries = [open_compared_run(run) for run in runs]
    names = list(dict.fromkeys(name for entry in entries for name in entry.metrics))
    metric = None if sort_by is None else choose(names, [sort_by])[0]
    if metric is not None:
        entries.sort(key=_order(metric))
    return RunComparison(
        tuple(entries),
        compare_experiments([entry.loaded for entry in entries]),
        tuple(name for name in names if len({entry.metrics.get(name) for entry in entries}) > 1),
        metric,
    )


def _order(metric: str) -> Callable[[ComparedRun], tuple[bool, float]]:
    def key(entry: ComparedRun) -> tuple[bool, float]:
        value = entry.metrics.get(metric, math.nan)
        return math.isnan(value), value if smaller_is_better(metric) else -value

    return key
