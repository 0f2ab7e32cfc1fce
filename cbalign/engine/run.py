"""Run directories: one experiment, trained once.

runs/
  latest                           the name of the newest run, in one line
  <name>-<utc>-<id>/
    spec.yaml                      the user's file, as it was
    resolved.yaml                  every value, defaults and overrides included
    manifest.json                  `Manifest`
    metrics.jsonl                  one JSON object per log line and evaluation
    assets/                        files that using the model needs besides its weights (the tokenizer)
    tensorboard/  checkpoints/step-N/  evaluation/
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cbalign.engine.checkpoint_folder import LATEST as LATEST
from cbalign.engine.checkpoint_folder import checkpoint_steps, latest_checkpoint, names_checkpoint, step_of
from cbalign.engine.files import new_folder, storage_errors, write_durably
from cbalign.engine.manifest import Manifest, Status, now
from cbalign.errors import CheckpointError, StorageError, UsageError


@dataclass(frozen=True)
class RunFolder:
    """The folder of one run, and the paths in it."""

    folder: Path

    @property
    def spec(self) -> Path:
        """The user's file, as it was."""
        return self.folder / "spec.yaml"

    @property
    def resolved(self) -> Path:
        """Every value of the experiment."""
        return self.folder / "resolved.yaml"

    @property
    def manifest(self) -> Path:
        """The manifest of the run."""
        return self.folder / "manifest.json"

    @property
    def metrics(self) -> Path:
        """One JSON object per log line and evaluation."""
        return self.folder / "metrics.jsonl"

    @property
    def assets(self) -> Path:
        """Files that using the model needs besides its weights."""
        return self.folder / "assets"

    @property
    def tensorboard(self) -> Path:
        """TensorBoard's event files."""
        return self.folder / "tensorboard"

    @property
    def checkpoints(self) -> Path:
        """The folder of checkpoints."""
        return self.folder / "checkpoints"

    @property
    def evaluation(self) -> Path:
        """The folder of evaluation results."""
        return self.folder / "evaluation"

    def latest_checkpoint(self) -> Path:
        """The newest complete checkpoint.

        Raises:
            CheckpointError: there is none yet.
        """
        found = latest_checkpoint(self.checkpoints)
        if found is None:
            from cbalign.engine.resuming import resume_command

            raise CheckpointError(
                f"{self.folder} has no checkpoint yet.", remedy=f"Resume the training: {resume_command(self)}"
            )
        return found

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Lock the run against a second training inside the context; the lock of a killed process is released.

        Raises:
            UsageError: another process trains this run.
        """
        with storage_errors(self.folder):
            file = open(self.folder / ".lock", "a")  # noqa: SIM115 (held open on purpose)
        with file:
            try:
                import fcntl
            except ImportError:  # Windows
                yield
                return
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UsageError(
                    f"Another process is training {self.folder}.",
                    remedy="Wait for it, or stop it: it saves a checkpoint.",
                ) from None
            except OSError:  # a file system without locks
                pass
            yield


def create_run(
    runs: str | Path,
    name: str,
    *,
    spec: str,
    resolved: str,
    fingerprint: str,
    facts: Mapping[str, object],
    settings: Mapping[str, object] | None = None,
    rerun_of: str | None = None,
    fill: Callable[[RunFolder], None] | None = None,
) -> RunFolder:
    """Create a run directory atomically and point `latest` to it.

    Args:
        runs: the folder of runs; made if it is not there.
        name: of the experiment.
        spec: text of the user's file.
        resolved: text of the resolved spec.
        fingerprint: of the resolved spec.
        facts: of the task, for the manifest.
        settings: that the fingerprint is of, by dotted path; None: unknown.
        rerun_of: name of the run that it repeats.
        fill: writes what else the run has from the start; when it raises, there is no run.

    Raises:
        StorageError: it cannot be written.
    """
    runs = Path(runs)
    identity = secrets.token_hex(3)
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    run = RunFolder(runs / f"{name}-{stamp}-{identity}")
    with storage_errors(runs):
        runs.mkdir(parents=True, exist_ok=True)
    with new_folder(run.folder) as folder:
        made = RunFolder(folder)
        made.spec.write_text(spec, encoding="utf-8")
        made.resolved.write_text(resolved, encoding="utf-8")
        made.metrics.touch()
        for subfolder in (made.assets, made.checkpoints, made.evaluation):
            subfolder.mkdir()
        Manifest(
            name=name,
            id=identity,
            created=now(),
            spec_fingerprint=fingerprint,
            facts=dict(facts),
            settings=dict(settings or {}),
            rerun_of=rerun_of,
        ).write(made.manifest)
        if fill is not None:
            fill(made)
    write_durably(runs / LATEST, f"{run.folder.name}\n".encode())
    return run


def open_run(path: str | Path) -> RunFolder:
    """The run at `path`: its directory, or a `latest` file that names it.

    Raises:
        CheckpointError: there is no run.
    """
    path = Path(path)
    folder = path
    if path.is_file() and path.name == LATEST:
        with suppress(OSError, UnicodeDecodeError):
            folder = path.parent / path.read_text(encoding="utf-8").strip()
    run = RunFolder(folder)
    if not run.manifest.is_file():
        raise CheckpointError(
            f"{path} is not a run: it has no manifest.json.",
            remedy="Name a directory that `cbalign train` made, such as runs/<name>-<time>-<id>.",
        )
    return run


def is_run(path: Path) -> bool:
    """Whether `path` names a run rather than a spec."""
    return path.is_dir() or (path.is_file() and path.name == LATEST)


def locate_checkpoint(path: Path) -> tuple[RunFolder, Path]:
    """The run and the checkpoint that a path means: `RUN/checkpoints/step-N`, or the newest of RUN.

    Raises:
        CheckpointError: there is no such run or checkpoint, or the run has none yet.
    """
    if not names_checkpoint(path):
        run = open_run(path)
        return run, run.latest_checkpoint()
    run = open_run(path.absolute().parents[1])
    return run, checkpoint_of_step(run, step_of(path))


def checkpoint_of_step(run: RunFolder, step: int) -> Path:
    """The checkpoint of a run after `step` steps.

    Raises:
        CheckpointError: there is none.
    """
    steps = checkpoint_steps(run.checkpoints)
    if step not in steps:
        there = f"It has {', '.join(f'step-{each}' for each in steps)}." if steps else "It has no checkpoint."
        raise CheckpointError(f"{run.folder} has no checkpoint step-{step}.", remedy=there)
    return run.checkpoints / f"step-{step}"


def find_runs(runs: Path) -> list[RunFolder]:
    """The runs in a folder of runs whose manifest can be read, oldest first."""
    return list(scan_runs(runs).readable)


@dataclass(frozen=True)
class ScannedRuns:
    """The runs in a folder: the `readable` ones, oldest first, and why the others are `damaged`."""

    readable: tuple[RunFolder, ...]
    damaged: Mapping[Path, str]


def scan_runs(runs: Path) -> ScannedRuns:
    """Read the manifests of all runs in a folder; a damaged one does not hide its neighbours."""
    created: dict[RunFolder, str] = {}
    damaged: dict[Path, str] = {}
    for path in sorted(runs.glob("*/manifest.json")) if runs.is_dir() else []:
        if path.parent.name.startswith("."):
            continue
        try:
            created[RunFolder(path.parent)] = Manifest.read(path).created
        except CheckpointError as error:
            damaged[path.parent] = error.message
    return ScannedRuns(tuple(sorted(created, key=lambda run: (created[run], run.folder.name))), damaged)


@dataclass(frozen=True)
class RunSummary:
    """A run in one line."""

    folder: Path
    status: Status
    step: int  # of the newest checkpoint
    metrics: Mapping[str, float]  # of the last evaluation that ended a training


def summarise_run(run: RunFolder) -> RunSummary:
    """Summarise the state of a run; one that is marked as running but not locked was killed.

    Raises:
        CheckpointError: its manifest is damaged.
    """
    manifest = Manifest.read(run.manifest)
    status = manifest.status
    if status == "running":
        with suppress(UsageError, StorageError), run.lock():
            status = "killed"
    newest = latest_checkpoint(run.checkpoints)
    step = step_of(newest) if newest else 0
    return RunSummary(run.folder, status, step, manifest.metrics)
