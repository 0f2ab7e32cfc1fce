"""Read all information of one run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from cbalign.engine.checkpoint_folder import kept_best, list_checkpoints
from cbalign.engine.manifest import Manifest
from cbalign.engine.metrics_file import read_records
from cbalign.engine.run import RunFolder
from cbalign.evaluation.result import EvaluationDocument
from cbalign.experiment.diff import Comparison, compare_experiments
from cbalign.experiment.load import load_experiment
from cbalign.experiment.operands import DEFAULTS, open_operand
from cbalign.lab.runs.metrics import MetricSummary, evaluated, evaluations, summarise_metric
from cbalign.lab.runs.overview import Overview, overview, size_on_disk


@dataclass(frozen=True)
class Detail:
    """One run; `settings` compares its spec with the defaults, `losses` are those of the last log line."""

    overview: Overview
    manifest: Manifest
    settings: Comparison
    metrics: tuple[MetricSummary, ...]
    losses: Mapping[str, float]
    checkpoints: Mapping[str, int]  # bytes by name
    best: str | None  # the checkpoint that `train.keep_best` keeps
    evaluations: Mapping[str, EvaluationDocument]


def open_detail(run: RunFolder) -> Detail:
    """Read all information of a run.

    Raises:
        CheckpointError: its manifest or its metrics cannot be read.
        SpecError: this version cannot read its resolved spec.
        DataError: a file of results is damaged.
    """
    records = read_records(run.metrics)
    trained = [record.values for record in records if record.kind == "train"]
    courses = (summarise_metric(records, name) for name in evaluated(records))
    return Detail(
        overview=overview(run),
        manifest=Manifest.read(run.manifest),
        settings=compare_experiments([open_operand(DEFAULTS).loaded, load_experiment(run.resolved, check_files=False)]),
        metrics=tuple(each for each in courses if each is not None),
        losses={name: value for name, value in trained[-1].items() if math.isfinite(value)} if trained else {},
        checkpoints={path.name: size_on_disk(path) for path in list_checkpoints(run.checkpoints)},
        best=kept_best(run.checkpoints),
        evaluations=evaluations(run),
    )
