"""Export a checkpoint of a run: to a bundle, and to the targets that are made from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from cbalign.data.source import open_source
from cbalign.engine.checkpoint_folder import step_of
from cbalign.engine.device import choose_device
from cbalign.engine.lineage import seen, to_facts
from cbalign.engine.manifest import Manifest
from cbalign.engine.run import RunFolder, locate_checkpoint
from cbalign.errors import UsageError
from cbalign.experiment.dump import experiment_fingerprint
from cbalign.experiment.experiment import Experiment
from cbalign.experiment.load import load_experiment
from cbalign.experiment.requirements import plugins, with_requirements
from cbalign.exporting.bundle_writer import write_bundle
from cbalign.exporting.exportable import Exportable, chosen_signatures
from cbalign.exporting.opset import Opset, resolve_opset
from cbalign.exporting.parity import ParityReport
from cbalign.exporting.precision import require_precision
from cbalign.exporting.targets import TargetRequest, merge_requests, require_free, require_graphs, write_target
from cbalign.parts import Part
from cbalign.runtime.bundle import BundleManifest, is_bundle
from cbalign.runtime.machine import installed
from cbalign.runtime.precisions import precision_section
from cbalign.runtime.signatures import Signature

_PACKAGES = (
    "cbalign",
    "torch",
    "onnx",
    "onnxscript",
    "numpy",
    "Pillow",
    "tokenizers",
    "onnxruntime-gpu",
    "onnxruntime",
)


@dataclass(frozen=True)
class Exported:
    """An exported bundle, its parity report, and the targets made from it."""

    folder: Path
    manifest: BundleManifest
    parity: ParityReport
    targets: Mapping[str, Path] = field(default_factory=dict)  # folder by kind


def export_run(
    run_folder: Path,
    output: Path | None = None,
    *,
    precisions: Sequence[str] = (),
    targets: Sequence[TargetRequest] = (),
    force: bool = False,
    report: Callable[[str], None] = lambda stage: None,
) -> Exported:
    """Export a checkpoint of a run.

    Args:
        run_folder: the run directory, whose newest checkpoint is exported, or a checkpoint in it.
        output: folder of the bundle; defaults to `exports/<name of the experiment>`.
        precisions: replace the spec's precisions.
        targets: targets in addition to the spec's.
        force: whether to replace an existing bundle and existing targets.
        report: progress callback.

    Raises:
        UsageError: `output` or the folder of a target exists, and `force` is not given or cbalign did not write it.
        PartError: the task lacks the signature of a graph.
        CheckpointError: the run has no such checkpoint, or it is damaged.
        DeviceError: this machine cannot run a precision.
        ParityError: a graph does not compute what PyTorch computes.
        StorageError: a file cannot be written.
    """
    run, checkpoint = locate_checkpoint(run_folder)
    loaded = load_experiment(run.resolved, check_files=False).experiment
    target = output or Path("exports") / loaded.name
    _require_replaceable(target, force=force)
    requests = merge_requests(loaded.export.targets, targets)
    for request in requests:
        require_free(request.output(target), force=force)
    wanted = tuple(dict.fromkeys(precisions)) or loaded.export.precisions
    sections = [precision_section(name) for name in wanted]
    for section in sections:
        require_precision(section)
    opset = resolve_opset(loaded.export.opset)
    report(f"loading {checkpoint}")
    exportable = _open_exportable(run, loaded, checkpoint, report)
    signatures = chosen_signatures(loaded.task, loaded.export, exportable.graphs)
    for request in requests:
        require_graphs(request.section, tuple(signatures), str(run_folder))
    parts = [type(each) for each in (*sections, *(request.section for request in requests))]
    manifest = _new_manifest(run, loaded, checkpoint, target.name, signatures, wanted, opset, parts)
    manifest, parity = write_bundle(exportable, with_requirements(loaded, parts), manifest, target, report=report)
    written = {}
    for request in requests:
        report(f"writing the target {request.section.kind}")
        written[request.section.kind] = write_target(request, target, force=force)
    return Exported(target, manifest, parity, written)


def _require_replaceable(target: Path, *, force: bool) -> None:
    """Check that a bundle may be written to a folder.

    Raises:
        UsageError: it exists, and `force` is not given or it is not a bundle.
    """
    if not target.exists():
        return
    if not force:
        raise UsageError(
            f"{target} already exists", remedy="Add `force=True` to replace it, or choose another `output=…`."
        )
    if not is_bundle(target) and not (target.is_dir() and not any(target.iterdir())):
        raise UsageError(
            f"{target} is not a bundle; `force=True` replaces only bundles", remedy="Choose another `output=…`."
        )


def _new_manifest(
    run: RunFolder,
    experiment: Experiment,
    checkpoint: Path,
    name: str,
    signatures: Mapping[str, Signature],
    precisions: tuple[str, ...],
    opset: Opset,
    parts: Sequence[type[Part]],
) -> BundleManifest:
    """Return the manifest of a bundle of a checkpoint, without its files.

    Args:
        run: the run of the checkpoint.
        experiment: the trained experiment.
        checkpoint: the exported checkpoint.
        name: name of the bundle.
        signatures: inputs and outputs of its graphs.
        precisions: the precisions of its graphs.
        opset: the operators of its graphs.
        parts: parts of the export, which may be of plug-ins.
    """
    step = step_of(checkpoint)
    return BundleManifest(
        name=name,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        run=run.folder.name,
        step=step,
        spec_fingerprint=experiment_fingerprint(experiment),
        graphs=tuple(signatures),
        precisions=precisions,
        opset=opset.version,
        opset_reason=opset.reason,
        versions=installed(_PACKAGES),
        files={},
        lineage=tuple(to_facts(seen(Manifest.read(run.manifest).facts, step, run.folder.name))),
        plugins=plugins(experiment, parts),
        signatures=signatures,
    )


def _open_exportable(
    run: RunFolder, experiment: Experiment, checkpoint: Path, report: Callable[[str], None]
) -> Exportable:
    """Load the model of a checkpoint and compute PyTorch's outputs for the parity checks.

    Raises:
        CheckpointError: the checkpoint is damaged.
        DataError: there are no readable images to compare on.
        UsageError: models of the task cannot be exported.
    """
    kit = experiment.task.build()
    model = kit.load(run, experiment, checkpoint, choose_device("cpu"))
    report("computing with PyTorch")
    data = experiment.data
    source = open_source(data.validation or data.test or data.train, experiment.task.items)
    exportable: Exportable = kit.exportable(model, source)
    return exportable
