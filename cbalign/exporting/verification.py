"""Verify one precision of a new bundle: check its files, then compare its outputs with the trained model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx

from cbalign.data.image import Preprocessing
from cbalign.errors import BundleError
from cbalign.exporting.divergence import diverges_from_float, diverges_from_torch
from cbalign.exporting.exportable import Exportable
from cbalign.exporting.parity import WHOLE, ParityCheck, PrecisionReport
from cbalign.exporting.parity_checks import ParityChecks
from cbalign.exporting.widen import idle_bytes
from cbalign.runtime.bundle import PREPROCESSING, BundleManifest
from cbalign.runtime.checker import check_graph
from cbalign.runtime.precisions import REFERENCE
from cbalign.runtime.session import Session

_CONSTANTS = 1 << 16
"""Bytes allowed for the graphs' constants in addition to the model's weights."""


def verify_precision(
    exportable: Exportable,
    folder: Path,
    manifest: BundleManifest,
    precision: str,
    report: Callable[[str], None],
) -> PrecisionReport:
    """Verify one precision of a bundle against the trained model.

    If the files are invalid or cannot be loaded, the outputs are not compared.

    Args:
        exportable: the trained model.
        folder: directory of the bundle, with its manifest and its float32 graphs.
        manifest: manifest of the bundle.
        precision: precision of the graphs to verify.
        report: progress callback; receives the name of each part.
    """
    report("checker")
    checks = [*_check_files(folder, manifest, precision), *_check_contents(exportable, folder, manifest, precision)]
    if not all(check.passed for check in checks):
        return PrecisionReport(precision, tuple(checks))
    try:
        # PyTorch computes the expected values on the CPU; reduced precisions are checked where they will run.
        session = Session.open(folder, "cpu" if precision == REFERENCE else "auto", precision)
    except BundleError as error:
        checks.append(ParityCheck("checker", WHOLE, "loading", np.inf, 0.0, f"cannot be loaded: {error.message}"))
        return PrecisionReport(precision, tuple(checks))
    parity_checks = exportable.parity_checks(session, precision, report)
    compared = parity_checks.run()
    return replace(
        compared,
        checks=(*checks, *compared.checks),
        device=session.device.kind,
        divergence=_divergence(parity_checks, exportable, folder, manifest, precision),
    )


def _check_files(folder: Path, manifest: BundleManifest, precision: str) -> list[ParityCheck]:
    """Run the ONNX checker on each graph."""
    checks = []
    for graph in manifest.graphs:
        error, note = 0.0, ""
        try:
            check_graph(folder / precision / f"{graph}.onnx")
        except BundleError as problem:
            error, note = np.inf, f"reports: {problem.message}"
        checks.append(ParityCheck("checker", graph, "the ONNX checker", error, 0.5, note))
    return checks


def _check_contents(
    exportable: Exportable, folder: Path, manifest: BundleManifest, precision: str
) -> list[ParityCheck]:
    """Check that the graphs contain the student only, and that the preprocessing file matches the model."""
    stored = 0
    for graph in manifest.graphs:
        loaded = onnx.load(folder / precision / f"{graph}.onnx", load_external_data=False)
        stored += sum(
            int(np.prod(tensor.dims)) * onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
            for tensor in loaded.graph.initializer
        ) - idle_bytes(loaded)
    path = folder / PREPROCESSING
    described = Preprocessing.from_json(path.read_bytes(), name=str(path))
    same = described == exportable.preprocessing
    return [
        ParityCheck(
            "checker",
            WHOLE,
            "bytes of weights per byte of the student's",
            stored / (exportable.weights + _CONSTANTS),
            1.0,
        ),
        ParityCheck(
            "inputs", manifest.graphs[0], f"{PREPROCESSING} compared with the model", 0.0 if same else np.inf, 0.5
        ),
    ]


def _divergence(
    checks: ParityChecks, exportable: Exportable, folder: Path, manifest: BundleManifest, precision: str
) -> str | None:
    measure, limit = checks.limits.measure, checks.limits.tokens
    for graph, feed in checks.failing.items():
        path, original = (folder / name / f"{graph}.onnx" for name in (precision, REFERENCE))
        signature = manifest.signatures[graph]
        if precision == REFERENCE:
            found = diverges_from_torch(exportable.graphs[graph], path, signature, feed, measure, limit)
        else:
            found = diverges_from_float(original, path, signature, feed, measure, limit)
        if found is not None:
            return found
    return None
