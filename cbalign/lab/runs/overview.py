"""A run in one line, and which runs of a folder are wanted."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path

from cbalign.engine.manifest import Manifest, Status
from cbalign.engine.metrics_file import read_records
from cbalign.engine.run import RunFolder, find_runs, summarise_run
from cbalign.errors import UsageError
from cbalign.experiment.diagnostics import InvalidSpec
from cbalign.experiment.load import load_experiment
from cbalign.lab.runs.metrics import MetricSummary, summarise_metric
from cbalign.lab.runs.paths import settings_at


@dataclass(frozen=True)
class Overview:
    """What a list says of a run. `step` is that of its newest checkpoint."""

    run: RunFolder
    name: str
    status: Status
    step: int
    created: datetime
    size: int  # bytes on disk
    metric: MetricSummary | None

    @property
    def age(self) -> float:
        """Seconds since it was made."""
        return max(0.0, (datetime.now(UTC) - self.created).total_seconds())

    def to_json(self) -> dict[str, object]:
        """The same as plain data."""
        return {
            "run": str(self.run.folder),
            "name": self.name,
            "status": self.status,
            "step": self.step,
            "created": self.created.isoformat(),
            "age_seconds": round(self.age),
            "bytes": self.size,
            "metric": None if self.metric is None else asdict(self.metric),
        }


def overview(run: RunFolder, metric: str | None = None) -> Overview:
    """Look at a run.

    Args:
        run: the run.
        metric: the metric to follow, or the end of its name; the run's headline where none is named.

    Raises:
        CheckpointError: its manifest or its metrics cannot be read.
    """
    manifest, summary = Manifest.read(run.manifest), summarise_run(run)
    return Overview(
        run=run,
        name=manifest.name,
        status=summary.status,
        step=summary.step,
        created=datetime.fromisoformat(manifest.created),
        size=size_on_disk(run.folder),
        metric=summarise_metric(read_records(run.metrics), metric),
    )


def size_on_disk(folder: Path) -> int:
    """Bytes of all files below a folder, links not followed."""
    total = 0
    for place, _, files in os.walk(folder):
        for name in files:
            try:
                total += os.lstat(os.path.join(place, name)).st_size
            except FileNotFoundError:  # a training removes an old checkpoint meanwhile
                continue
    return total


def select(runs: Path, *, states: Sequence[str], names: Sequence[str], where: Sequence[str]) -> Iterator[RunFolder]:
    """The runs of a folder that are wanted, oldest first.

    Args:
        runs: the folder.
        states: only runs in one of these states, if any is given.
        names: only experiments whose name fits one of these patterns, if any is given.
        where: `path=value` texts; only runs whose settings have all of these values.

    Raises:
        UsageError: a path that no setting has.
    """
    for condition in where:
        path, equals, _ = condition.partition("=")
        if not equals:
            raise UsageError(f"--where {condition} is not of the form PATH=VALUE.")
        settings_at(path.strip())
    for run in find_runs(runs):
        if names and not any(fnmatchcase(Manifest.read(run.manifest).name, pattern) for pattern in names):
            continue
        if states and summarise_run(run).status not in states:
            continue
        if where and not _has(run, where):
            continue
        yield run


def _has(run: RunFolder, where: Sequence[str]) -> bool:
    """Whether setting the values changes nothing."""
    here = load_experiment(run.resolved, check_files=False).experiment
    try:
        return load_experiment(run.resolved, where, check_files=False).experiment == here
    except InvalidSpec:  # a setting of another kind of section
        return False
