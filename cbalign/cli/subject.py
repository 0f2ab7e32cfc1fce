"""What `evaluate` and `report` look at: the model of a run, or of an exported bundle."""

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
class Subject:
    """A model and its experiment. `results` is where a run keeps them; a bundle's files are sealed by its manifest."""

    model: Model
    experiment: Experiment
    step: int | None
    backend: str
    results: Path | None
    lineage: tuple[Ancestor, ...]  # itself first, and the models that it started from

    @property
    def encoder(self) -> Encoder:
        """The model, where it embeds images and texts.

        Raises:
            UsageError: it is of another task.
        """
        from cbalign.encoders import Encoder

        if not isinstance(self.model, Encoder):
            raise UsageError(f"a model of the task {self.experiment.task.kind} embeds no images and texts")
        return self.model


def open_subject(target: Path, device: str, precision: str | None) -> Subject:
    """Open the newest checkpoint of a run with torch, or a bundle without it.

    Raises:
        UsageError: the folder is neither.
        CbalignError: whatever keeps it from being used, its device included.
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
        return Subject(
            _open_model(session),
            load_experiment(target / SPEC, check_files=False).experiment,
            session.bundle.manifest.step,
            f"onnxruntime {onnxruntime.__version__} on {session.device.kind}, {session.precision}",
            None,
            _lineage(session.bundle.manifest),
        )
    if not (target / MANIFEST).is_file() and not target.is_file():
        raise UsageError(
            f"{target} is neither a run nor a bundle: it has no {MANIFEST}",
            remedy="Name a folder that `cbalign train` or `cbalign export` made.",
        )
    from cbalign.engine.manifest import Manifest
    from cbalign.engine.run import open_run
    from cbalign.tasks.lineage import seen

    run = open_run(target)
    checkpoint = run.latest_checkpoint()

    import torch

    from cbalign.tasks.load import load_model

    model = load_model(run.folder, checkpoint=checkpoint, device=device)
    return Subject(
        model,
        load_experiment(run.resolved, check_files=False).experiment,
        int(checkpoint.name.rpartition("-")[2]),
        f"torch {torch.__version__} on {model.device}, fp32",
        run.evaluation,
        seen(Manifest.read(run.manifest).facts, int(checkpoint.name.rpartition("-")[2])),
    )


def _open_model(session: Session) -> Model:
    """What the graphs of a bundle are good for."""
    from cbalign.runtime.answering import open_answerer
    from cbalign.runtime.classifying import open_classifier

    graphs = session.bundle.manifest.graphs
    if "answer" in graphs:
        return open_answerer(session)
    return open_classifier(session) if "classify" in graphs else session


def _lineage(manifest: BundleManifest) -> tuple[Ancestor, ...]:
    """What a bundle says of where its model comes from."""
    from cbalign.tasks.lineage import Ancestor

    if manifest.lineage is None:
        return (Ancestor(manifest.run, manifest.step, None, None),)
    return tuple(map(Ancestor.from_json, manifest.lineage))
