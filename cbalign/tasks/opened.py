"""The model of a run or of an exported bundle, opened for evaluation; torch is imported for runs only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cbalign.encoders import Encoder, require_encoder
from cbalign.engine.checkpoint_folder import names_checkpoint, step_of
from cbalign.engine.lineage import Ancestor, seen
from cbalign.engine.manifest import Manifest
from cbalign.engine.run import locate_checkpoint
from cbalign.errors import UsageError
from cbalign.experiment.experiment import Experiment
from cbalign.experiment.load import load_experiment
from cbalign.runtime.bundle import MANIFEST, BundleManifest, is_bundle
from cbalign.runtime.placement import package_conflict
from cbalign.runtime.precisions import REFERENCE
from cbalign.runtime.session import Session
from cbalign.runtime.task import TaskRuntime, task_runtime


@dataclass(frozen=True)
class OpenedModel:
    """A model and its experiment.

    Args:
        model: as the task's evaluator measures it.
        experiment: what it was trained by.
        step: of the checkpoint.
        backend: runtime and device, for reports.
        results: folder of a run's results; None for a bundle, whose files are sealed by its manifest.
        lineage: the model itself, then those that it started from.
    """

    model: Any
    experiment: Experiment
    step: int | None
    backend: str
    results: Path | None
    lineage: tuple[Ancestor, ...]

    @property
    def fine_tuned_on(self) -> tuple[str, ...] | None:
        """The data sets that the model was fine-tuned on: empty if it was only pretrained, None if unknown."""
        trained = bool(self.step)
        if trained and not self.experiment.task.pretrains:
            return self.experiment.data.train.data_sets()
        known = all(ancestor.trained_on is not None for ancestor in self.lineage)
        return () if trained and known else None

    @property
    def runtime(self) -> TaskRuntime[Any]:
        """The runtime of the model's task."""
        return task_runtime(self.experiment.task)

    @property
    def encoder(self) -> Encoder:
        """The model as an encoder of images and texts.

        Raises:
            UsageError: it embeds none.
        """
        return require_encoder(self.model, f"a model of the task {self.experiment.task.kind}")


def open_model(
    target: Path, device: str, precision: str | None = None, *, warn: Callable[[str], None] = lambda text: None
) -> OpenedModel:
    """Open a checkpoint or the newest one of a run with torch, or a bundle without it.

    Args:
        target: folder of the run, checkpoint or bundle.
        device: `auto`, `cpu`, `cuda`, …
        precision: of a bundle; None for the first that it lists.
        warn: shows warnings about the installation.

    Raises:
        UsageError: the folder is neither, or a precision is asked of a run.
        CbalignError: whatever prevents its use, including a missing device.
    """
    if is_bundle(target):
        if (conflict := package_conflict()) is not None:
            warn(conflict)
        return _open_bundle(target, device, precision)
    _refuse_precision(target, precision)
    if not (target / MANIFEST).is_file() and not target.is_file() and not names_checkpoint(target):
        raise UsageError(
            f"{target} is neither a run nor a bundle: it has no {MANIFEST}",
            remedy="Name a folder that `cbalign train` or `cbalign export` made.",
        )
    return _open_run(target, device)


def _refuse_precision(target: Path, precision: str | None) -> None:
    if precision not in (None, REFERENCE):
        raise UsageError(
            f"{target} is a run, which computes in {REFERENCE}: precisions are of bundles",
            remedy=f"Leave out `precision=…`, or export the run in {precision}.",
        )


def _open_bundle(target: Path, device: str, precision: str | None) -> OpenedModel:
    import onnxruntime

    session = Session.open(target, device, precision)
    experiment = session.bundle.loaded.experiment
    return OpenedModel(
        task_runtime(experiment.task).open(session),
        experiment,
        session.bundle.manifest.step,
        f"onnxruntime {onnxruntime.__version__} on {session.device.kind}, {session.precision}",
        None,
        _lineage(session.bundle.manifest),
    )


def _open_run(target: Path, device: str) -> OpenedModel:
    run, checkpoint = locate_checkpoint(target)
    step = step_of(checkpoint)

    import torch

    from cbalign.tasks.load import load_model

    model = load_model(run.folder, checkpoint=checkpoint, device=device)
    return OpenedModel(
        model,
        load_experiment(run.resolved, check_files=False).experiment,
        step,
        f"torch {torch.__version__} on {model.device}, fp32",
        run.evaluation,
        seen(Manifest.read(run.manifest).facts, step),
    )


def _lineage(manifest: BundleManifest) -> tuple[Ancestor, ...]:
    if manifest.lineage is None:
        return (Ancestor(manifest.run, manifest.step, None, None),)
    return tuple(map(Ancestor.from_json, manifest.lineage))
