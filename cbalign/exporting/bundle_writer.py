"""Write a bundle, which is complete and verified against PyTorch, or does not exist.

If a parity check fails, the files are renamed to `<name>.failed`, with `parity.json` and without a manifest, so that
they can be inspected, but not used by mistake.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from cbalign.data.source import open_source
from cbalign.engine.files import new_folder, replace_folder, storage_errors
from cbalign.errors import ParityError
from cbalign.experiment.dump import dump_yaml
from cbalign.experiment.experiment import Experiment
from cbalign.exporting.card import model_card
from cbalign.exporting.exportable import Exportable
from cbalign.exporting.graph import write_graph
from cbalign.exporting.parity import ParityReport, PrecisionReport
from cbalign.exporting.precision import write_precision
from cbalign.exporting.verification import verify_precision
from cbalign.runtime.bundle import (
    CARD,
    GOLDEN,
    MANIFEST,
    PARITY,
    PREPROCESSING,
    SPEC,
    BundleManifest,
    list_files,
)
from cbalign.runtime.precisions import REFERENCE, precision_section
from cbalign.runtime.session import Session

_TRACED = ".traced"
"""Temporary folder of the graphs that PyTorch exports; all precisions are converted from them."""


def write_bundle(
    exportable: Exportable,
    experiment: Experiment,
    manifest: BundleManifest,
    target: Path,
    *,
    report: Callable[[str], None] = lambda stage: None,
) -> tuple[BundleManifest, ParityReport]:
    """Write a bundle under a temporary name, verify it, and rename it, replacing an existing bundle.

    Args:
        exportable: the trained model.
        experiment: the trained experiment.
        manifest: manifest of the bundle, without its files.
        target: folder of the bundle.
        report: progress callback.

    Returns:
        The manifest with its files, and the results of the parity checks.

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
        write_manifest(folder, made)
        parity = _verify(exportable, folder, made, target, report)
        exportable.write_golden({each: Session.open(folder, precision=each) for each in reduced}, folder / GOLDEN)
        if REFERENCE not in manifest.precisions:
            shutil.rmtree(folder / REFERENCE)
        listed = replace(manifest, files=list_files(folder))
        training_data = open_source(experiment.data.train, experiment.task.items).describe()
        card = model_card(listed, experiment, training_data, parity)
        (folder / CARD).write_text(card, encoding="utf-8")
        listed = write_manifest(folder, manifest)
    replace_folder(target, fresh)
    return listed, parity


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


def write_manifest(folder: Path, manifest: BundleManifest) -> BundleManifest:
    """Write the manifest of a bundle with the files that its folder has now, and return it."""
    listed = replace(manifest, files=list_files(folder))
    (folder / MANIFEST).write_bytes(listed.to_json().encode("utf-8"))
    return listed
