"""`cbalign export`: export a run to a verified ONNX bundle."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, get_args

import click

from cbalign.cli import completions, console
from cbalign.cli.options import json_option
from cbalign.errors import UsageError
from cbalign.experiment.export import Precision

if TYPE_CHECKING:
    from cbalign.export.bundle import Exported


@click.command()
@click.argument("run", metavar="RUN|BUNDLE", type=click.Path(path_type=Path), shell_complete=completions.results)
@click.option(
    "--output", type=click.Path(path_type=Path, file_okay=False), help="Folder of the bundle.  [default: exports/NAME]"
)
@click.option(
    "--precision",
    "precisions",
    multiple=True,
    type=click.Choice(get_args(Precision)),
    help="Override the spec's export.precisions. May be repeated. For a BUNDLE, the precision that Triton serves.",
)
@click.option("--force", is_flag=True, help="Replace an existing bundle.")
@click.option(
    "--triton", type=click.Path(path_type=Path, file_okay=False), help="Also write a Triton model repository."
)
@json_option
def export(
    run: Path, output: Path | None, precisions: tuple[Precision, ...], force: bool, triton: Path | None, as_json: bool
) -> None:
    """Export the newest checkpoint of RUN to an ONNX bundle that needs no PyTorch.

    Each precision is compared with PyTorch on real images and texts before the bundle gets its name. If one of them
    does not agree, the command exits with 1 and keeps the files as NAME.failed.

    --triton also writes a model repository for the Triton server, from RUN or from an existing BUNDLE.
    """
    from cbalign.cli.triton import prepare, write
    from cbalign.runtime.bundle import is_bundle

    prepare(run, triton)
    if is_bundle(run):
        if output is not None or force or len(precisions) > 1:
            raise UsageError(
                f"{run} is already a bundle: --output and --force do not apply, and Triton serves one precision",
                remedy="Use --triton DIR and at most one --precision.",
            )
        write(run, triton, *precisions, as_json=as_json)
        return
    from cbalign.export.bundle import export_run

    exported = export_run(run, output, precisions=precisions, force=force, report=console.note)
    if triton is not None:
        write(exported.folder, triton)
    if as_json:
        console.document(_document(exported))
        return
    manifest = exported.manifest
    console.note(f"{', '.join(manifest.graphs)}; opset {manifest.opset}: {manifest.opset_reason}")
    for report in exported.parity.precisions:
        kept = "" if report.precision in manifest.precisions else ", not kept"
        tight = report.tightest
        closest = f"{tight.graph}, {tight.quantity}, {tight.error:.2g} of {tight.limit:.2g}"
        console.note(
            f"{report.precision}: {_bytes(exported, report.precision) / 1e6:.1f} MB{kept}; {len(report.checks)} "
            f"comparisons with PyTorch passed, closest to its limit: {closest}"
        )
    console.note(f"next: cbalign evaluate {exported.folder}")
    console.result(str(exported.folder))


def _document(exported: Exported) -> dict[str, object]:
    manifest = exported.manifest
    return {
        "bundle": str(exported.folder),
        "graphs": list(manifest.graphs),
        "opset": manifest.opset,
        "opset_reason": manifest.opset_reason,
        "bytes": sum(file.size for file in manifest.files.values()),
        "precisions": {
            report.precision: {
                "kept": report.precision in manifest.precisions,
                "bytes": _bytes(exported, report.precision),
                "comparisons": len(report.checks),
                "tightest": {
                    "graph": report.tightest.graph,
                    "quantity": report.tightest.quantity,
                    "error": report.tightest.error,
                    "limit": report.tightest.limit,
                },
            }
            for report in exported.parity.precisions
        },
    }


def _bytes(exported: Exported, precision: str) -> int:
    files = exported.manifest.files.items()
    return sum(file.size for name, file in files if name.startswith(f"{precision}/"))
