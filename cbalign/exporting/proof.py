"""One precision of a freshly written bundle, proven: its files by the checker, its numbers by the ladder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx

from cbalign.data.image import Preprocessing
from cbalign.errors import BundleError
from cbalign.exporting.divergence import diverges_from_float, diverges_from_torch
from cbalign.exporting.ladder import Ladder
from cbalign.exporting.parity import WHOLE, Check, PrecisionReport
from cbalign.exporting.subject import Exportable
from cbalign.exporting.widen import idle_bytes
from cbalign.runtime.bundle import PREPROCESSING, BundleManifest
from cbalign.runtime.checker import check_graph
from cbalign.runtime.precisions import REFERENCE
from cbalign.runtime.session import Session
from cbalign.runtime.signatures import SIGNATURES

_CONSTANTS = 1 << 16
"""Bytes that the constants of the graphs may need beside the model's weights."""


def prove(
    subject: Exportable,
    folder: Path,
    manifest: BundleManifest,
    precision: str,
    report: Callable[[str], None],
) -> PrecisionReport:
    """Compare one precision of a bundle with the trained model, as far up the ladder as it can be loaded.

    Args:
        subject: the trained model.
        folder: of the bundle, with a manifest, and with the float32 graphs.
        manifest: of the bundle.
        precision: which graphs.
        report: told which part is being compared.
    """
    report("checker")
    checks = [*_check_files(folder, manifest, precision), *_check_contents(subject, folder, manifest, precision)]
    if not all(check.passed for check in checks):
        return PrecisionReport(precision, tuple(checks))
    try:
        # PyTorch computes the expected values on the CPU; reduced precisions are checked where they will run.
        session = Session.open(folder, "cpu" if precision == REFERENCE else "auto", precision)
    except BundleError as error:
        checks.append(Check("checker", WHOLE, "loading", np.inf, 0.0, f"cannot be loaded: {error.message}"))
        return PrecisionReport(precision, tuple(checks))
    ladder = subject.compare(session, precision, report)
    compared = ladder.climb()
    return replace(
        compared,
        checks=(*checks, *compared.checks),
        device=session.device.kind,
        divergence=_divergence(ladder, subject, folder, precision),
    )


def _check_files(folder: Path, manifest: BundleManifest, precision: str) -> list[Check]:
    """Each graph keeps to the specification of its operators."""
    checks = []
    for graph in manifest.graphs:
        error, note = 0.0, ""
        try:
            check_graph(folder / precision / f"{graph}.onnx")
        except BundleError as problem:
            error, note = np.inf, f"finds: {problem.message}"
        checks.append(Check("checker", graph, "the checker of ONNX", error, 0.5, note))
    return checks


def _check_contents(subject: Exportable, folder: Path, manifest: BundleManifest, precision: str) -> list[Check]:
    """The graphs hold the student alone, and the description of the pixels is the model's."""
    stored = 0
    for graph in manifest.graphs:
        loaded = onnx.load(folder / precision / f"{graph}.onnx", load_external_data=False)
        stored += sum(
            int(np.prod(tensor.dims)) * onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
            for tensor in loaded.graph.initializer
        ) - idle_bytes(loaded)
    path = folder / PREPROCESSING
    described = Preprocessing.from_json(path.read_text(encoding="utf-8"), name=str(path))
    same = described == subject.preprocessing
    return [
        Check(
            "checker", WHOLE, "bytes of weights for each of the student's", stored / (subject.weights + _CONSTANTS), 1.0
        ),
        Check("inputs", manifest.graphs[0], f"{PREPROCESSING} beside the model", 0.0 if same else np.inf, 0.5),
    ]


def _divergence(ladder: Ladder, subject: Exportable, folder: Path, precision: str) -> str | None:
    measure, limit = ladder.limits.measure, ladder.limits.tokens
    for graph, feed in ladder.failing.items():
        path, original = (folder / name / f"{graph}.onnx" for name in (precision, REFERENCE))
        if precision == REFERENCE:
            found = diverges_from_torch(subject.graphs[graph], path, SIGNATURES[graph], feed, measure, limit)
        else:
            found = diverges_from_float(original, path, SIGNATURES[graph], feed, measure, limit)
        if found is not None:
            return found
    return None
