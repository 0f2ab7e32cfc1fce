"""Open the model of a run or of an exported bundle, for `evaluate` and `report`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cbalign.cli import console
from cbalign.errors import UsageError

if TYPE_CHECKING:
    from cbalign.encoders import Encoder
    from cbalign.evaluation.measure import Model
    from cbalign.experiment.experiment import Experiment
    from cbalign.runtime.bundle import BundleManifest
    from cbalign.runtime.session import Session
    from cbalign.tasks.lineage import Ancestor


@dataclass(frozen=True)
class OpenedModel:
    """A model and its experiment.

    Attributes:
        model: runs the task.
        experiment: what was trained.
        step: optimiser step of the weights.
        backend: what computes, in words.
        results: folder for results of a run; `None` for a bundle, whose files must not change.
        lineage: the model itself, then the models that it was initialised from.
    """

    model: Model
    experiment: Experiment
    step: int | None
    backend: str
    results: Path | None
    lineage: tuple[Ancestor, ...]

    @property
    def encoder(self) -> Encoder:
        """The model as an encoder of images and texts.

        Raises:
            UsageError: the task has no such encoder.
        """
        from cbalign.encoders import Encoder

        if not isinstance(self.model, Encoder):
            raise UsageError(f"a model of the task {self.experiment.task.kind} does not encode images and texts")
        return self.model


def open_model(target: Path, device: str, precision: str | None) -> OpenedModel:
    """Open the newest checkpoint of a run with torch, or a bundle without it.

    Raises:
        UsageError: the folder is neither.
        CbalignError: it cannot be used, for example because the device is missing.
    """
    from cbalign.experiment.load import load_experiment
    from cbalign.runtime.bundle import MANIFEST, SPEC, is_bundle

    if is_bundle(target):
        import onnxruntime

        from cbalign.runtime.placement import package_conflict
        from cbalign.runtime.session import Session

        if (conflict := package_conflict()) is not None:
            console.note(f"warning: {conflict}")
        session = Session.open(target, device, precision)
        return OpenedModel(
            _model_of(session),
            load_experiment(target / SPEC, check_files=False).experiment,
            session.bundle.manifest.step,
            f"onnxruntime {onnxruntime.__version__} on {session.device.kind}, {session.precision}",
            None,
            _lineage(session.bundle.manifest),
        )
    if not (target / MANIFEST).is_file() and not target.is_file():
        raise UsageError(
            f"{target} is neither a run nor a bundle: it has no {MANIFEST}",
            remedy="Use a folder that `cbalign train` or `cbalign export` created.",
        )
    from cbalign.engine.manifest import Manifest
    from cbalign.engine.run import open_run
    from cbalign.tasks.lineage import seen

    run = open_run(target)
    checkpoint = run.latest_checkpoint()

    import torch

    from cbalign.tasks.load import load_model

    model = load_model(run.folder, checkpoint=checkpoint, device=device)
    return OpenedModel(
        model,
        load_experiment(run.resolved, check_files=False).experiment,
        int(checkpoint.name.rpartition("-")[2]),
        f"torch {torch.__version__} on {model.device}, fp32",
        run.evaluation,
        seen(Manifest.read(run.manifest).facts, int(checkpoint.name.rpartition("-")[2])),
    )


def _model_of(session: Session) -> Model:
    """Open a bundle's graphs as a model of their task."""
    from cbalign.runtime.answering import open_answerer
    from cbalign.runtime.classifying import open_classifier

    graphs = session.bundle.manifest.graphs
    if "answer" in graphs:
        return open_answerer(session)
    return open_classifier(session) if "classify" in graphs else session


def _lineage(manifest: BundleManifest) -> tuple[Ancestor, ...]:
    """Read the lineage of a bundle's model."""
    from cbalign.tasks.lineage import Ancestor

    if manifest.lineage is None:
        return (Ancestor(manifest.run, manifest.step, None, None),)
    return tuple(map(Ancestor.from_json, manifest.lineage))
