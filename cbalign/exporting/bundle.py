"""Export a run to a bundle. A bundle is complete and verified against PyTorch, or it does not exist.

If a parity check fails, the files are renamed to `<name>.failed`, with `parity.json` and without a manifest, so that
they can be inspected, but not used by mistake.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from cbalign.data.source import open_source
from cbalign.engine.device import choose_device
from cbalign.engine.files import new_folder, replace_folder, storage_errors
from cbalign.engine.lineage import seen, to_facts
from cbalign.engine.manifest import Manifest
from cbalign.engine.run import RunFolder, locate_checkpoint, step_of
from cbalign.errors import ParityError, UsageError
from cbalign.experiment.dump import dump_yaml, experiment_fingerprint
from cbalign.experiment.experiment import Experiment
from cbalign.experiment.load import load_experiment
from cbalign.experiment.requirements import plugins, with_requirements
from cbalign.exporting.card import model_card
from cbalign.exporting.exportable import Exportable, chosen_signatures
from cbalign.exporting.graph import write_graph
from cbalign.exporting.opset import resolve_opset
from cbalign.exporting.parity import ParityReport, PrecisionReport
from cbalign.exporting.precision import require_precision, write_precision
from cbalign.exporting.targets import TargetRequest, merge_requests, require_free, require_graphs, write_target
from cbalign.exporting.verification import verify_precision
from cbalign.runtime.bundle import (
    CARD,
    GOLDEN,
    MANIFEST,
    PARITY,
    PREPROCESSING,
    SPEC,
    BundleManifest,
    is_bundle,
    list_files,
)
from cbalign.runtime.machine import installed
from cbalign.runtime.precisions import REFERENCE, precision_section
from cbalign.runtime.session import Session

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

_TRACED = ".traced"
"""Temporary folder of the graphs that PyTorch exports; all precisions are converted from them."""


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
    if target.exists() and not force:
        raise UsageError(
            f"{target} already exists", remedy="Add `force=True` to replace it, or choose another `output=…`."
        )
    if target.exists() and not is_bundle(target) and not (target.is_dir() and not any(target.iterdir())):
        raise UsageError(
            f"{target} is not a bundle; `force=True` replaces only bundles", remedy="Choose another `output=…`."
        )
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
    graphs = tuple(signatures)
    for request in requests:
        require_graphs(request.section, graphs, str(run_folder))
    step = step_of(checkpoint)
    parts = [type(each) for each in (*sections, *(request.section for request in requests))]
    manifest = BundleManifest(
        name=target.name,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        run=run.folder.name,
        step=step,
        spec_fingerprint=experiment_fingerprint(loaded),
        graphs=graphs,
        precisions=wanted,
        opset=opset.version,
        opset_reason=opset.reason,
        versions=installed(_PACKAGES),
        files={},
        lineage=tuple(to_facts(seen(Manifest.read(run.manifest).facts, step, run.folder.name))),
        plugins=plugins(loaded, parts),
        signatures=signatures,
    )
    exported = write_bundle(exportable, with_requirements(loaded, parts), manifest, target, report=report)
    written = {}
    for request in requests:
        report(f"writing the target {request.section.kind}")
        written[request.section.kind] = write_target(request, target, force=force)
    return replace(exported, targets=written)


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


def write_bundle(
    exportable: Exportable,
    experiment: Experiment,
    manifest: BundleManifest,
    target: Path,
    *,
    report: Callable[[str], None] = lambda stage: None,
) -> Exported:
    """Write a bundle under a temporary name, verify it, and rename it, replacing an existing bundle.

    Args:
        exportable: the trained model.
        experiment: the trained experiment.
        manifest: manifest of the bundle, without its files.
        target: folder of the bundle.
        report: progress callback.

    Raises:
        ParityError: a graph does not compute what PyTorch computes; the files are at `<target>.failed`.
        StorageError: a file cannot be written.
    """
    fresh = target.with_name(f".new-{target.name}")
    with storage_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(fresh, ignore_errors=True)
    with new_folder(fresh) as folder:
        # The other precisions are converted from the reference and compared with it, even if it is not kept.
        reduced = [precision for precision in manifest.precisions if precision != REFERENCE]
        made = replace(manifest, precisions=(REFERENCE, *reduced))
        _write_graphs(exportable, made, folder, report)
        exportable.tokenizer.save(folder)
        exportable.write_assets(folder)
        (folder / PREPROCESSING).write_text(exportable.preprocessing.to_json(), encoding="utf-8")
        (folder / SPEC).write_text(dump_yaml(experiment), encoding="utf-8")
        _write_manifest(folder, made)
        parity = _verify(exportable, folder, made, target, report)
        exportable.write_golden({each: Session.open(folder, precision=each) for each in reduced}, folder / GOLDEN)
        if REFERENCE not in manifest.precisions:
            shutil.rmtree(folder / REFERENCE)
        listed = replace(manifest, files=list_files(folder))
        training_data = open_source(experiment.data.train, experiment.task.items).describe()
        card = model_card(listed, experiment, training_data, parity)
        (folder / CARD).write_text(card, encoding="utf-8")
        listed = _write_manifest(folder, manifest)
    replace_folder(target, fresh)
    return Exported(target, listed, parity)


def _write_graphs(
    exportable: Exportable, manifest: BundleManifest, folder: Path, report: Callable[[str], None]
) -> None:
    metadata = {
        "cbalign.name": manifest.name,
        "cbalign.run": manifest.run,
        "cbalign.spec_fingerprint": manifest.spec_fingerprint,
    }
    examples = exportable.examples()
    for precision in manifest.precisions:
        (folder / precision).mkdir()
    traced = folder / _TRACED
    traced.mkdir()
    for graph in manifest.graphs:
        metadata["cbalign.graph"] = graph
        original = traced / f"{graph}.onnx"
        report(f"exporting the {graph} graph")
        write_graph(
            exportable.graphs[graph],
            manifest.signatures[graph],
            examples[graph],
            original,
            opset=manifest.opset,
            metadata=metadata,
        )
        for precision in manifest.precisions:
            if precision != REFERENCE:
                report(f"exporting the {graph} graph in {precision}")
            path = folder / precision / original.name
            write_precision(precision_section(precision), original, path, {**metadata, "cbalign.precision": precision})
    shutil.rmtree(traced)


def _verify(
    exportable: Exportable,
    folder: Path,
    manifest: BundleManifest,
    target: Path,
    report: Callable[[str], None],
) -> ParityReport:
    reports: list[PrecisionReport] = []
    for precision in manifest.precisions:
        reports.append(
            verify_precision(exportable, folder, manifest, precision, lambda part, p=precision: report(f"{p}: {part}"))  # type: ignore[misc]
        )
        if not reports[-1].passed:
            break  # the other precisions are converted from the float32 graph
    parity = ParityReport(exportable.source, exportable.results, tuple(reports))
    (folder / PARITY).write_text(parity.to_json(), encoding="utf-8")
    try:
        parity.require()
    except ParityError as error:
        failed = target.with_name(f"{target.name}.failed")
        (folder / MANIFEST).unlink()
        shutil.rmtree(failed, ignore_errors=True)
        os.rename(folder, failed)
        raise ParityError(error.message, remedy=f"{error.remedy} The files are at {failed}.") from error
    return parity


def _write_manifest(folder: Path, manifest: BundleManifest) -> BundleManifest:
    listed = replace(manifest, files=list_files(folder))
    (folder / MANIFEST).write_bytes(listed.to_json().encode("utf-8"))
    return listed
