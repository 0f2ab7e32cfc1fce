"""Summarise runs in one line each, and select runs of a folder."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path

from cbalign.engine.manifest import Manifest, Status
from cbalign.engine.metrics_file import read_records
from cbalign.engine.run import RunFolder, scan_runs, summarise_run
from cbalign.errors import CbalignError, UsageError
from cbalign.experiment.diagnostics import InvalidSpec
from cbalign.experiment.load import load_experiment
from cbalign.lab.runs.metrics import MetricSummary, summarise_metric
from cbalign.lab.runs.paths import settings_at


@dataclass(frozen=True)
class Overview:
    """One line of a list of runs; `step` is that of the newest checkpoint."""

    run: RunFolder
    name: str
    status: Status
    step: int
    created: datetime
    size: int  # bytes on disk
    metric: MetricSummary | None

    @property
    def age(self) -> float:
        """Seconds since the run was created."""
        return max(0.0, (datetime.now(UTC) - self.created).total_seconds())

    def to_json(self) -> dict[str, object]:
        """Return the summary as plain data."""
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
    """Summarise a run.

    Args:
        run: the run.
        metric: the metric to show, or the end of its name; None shows the headline.

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
    """Return the bytes of all files below a folder, without following links."""
    total = 0
    for place, _, files in os.walk(folder):
        for name in files:
            try:
                total += os.lstat(os.path.join(place, name)).st_size
            except FileNotFoundError:  # a training removed an old checkpoint
                continue
    return total


@dataclass(frozen=True)
class RunList:
    """The selected runs of a folder, oldest first, and the reasons why others cannot be shown, by folder."""

    found: tuple[Overview, ...]
    damaged: Mapping[Path, str]


def list_runs(
    runs: Path,
    *,
    states: Sequence[str] = (),
    names: Sequence[str] = (),
    where: Sequence[str] = (),
    metric: str | None = None,
) -> RunList:
    """Summarise the selected runs of a folder; a damaged run does not hide the others.

    Args:
        runs: the folder.
        metric: see `overview`.
        states: select runs in one of these states; empty selects all.
        names: select experiments whose name matches one of these patterns; empty selects all.
        where: `path=value` texts; select runs whose settings have all of these values.

    Raises:
        UsageError: a path names no setting.
    """
    for condition in where:
        path, equals, _ = condition.partition("=")
        if not equals:
            raise UsageError(f"--where {condition} must have the form PATH=VALUE.")
        settings_at(path.strip())
    scanned = scan_runs(runs)
    damaged = dict(scanned.damaged)
    found = []
    for run in scanned.readable:
        try:
            if _is_selected(run, states, names, where):
                found.append(overview(run, metric))
        except CbalignError as error:
            damaged[run.folder] = error.message
    return RunList(tuple(found), damaged)


def _is_selected(run: RunFolder, states: Sequence[str], names: Sequence[str], where: Sequence[str]) -> bool:
    if names and not any(fnmatchcase(Manifest.read(run.manifest).name, pattern) for pattern in names):
        return False
    if states and summarise_run(run).status not in states:
        return False
    return not where or _has(run, where)


def _has(run: RunFolder, where: Sequence[str]) -> bool:
    """Whether the settings of a run have all of these values."""
    here = load_experiment(run.resolved, check_files=False).experiment
    try:
        return load_experiment(run.resolved, where, check_files=False).experiment == here
    except InvalidSpec:  # a setting of another kind of section
        return False
