"""`cbalign export`: a run in, a proven bundle out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, get_args

import click

from cbalign.cli import console, offers
from cbalign.cli.options import json_option
from cbalign.errors import UsageError
from cbalign.experiment.export import Precision

if TYPE_CHECKING:
    from cbalign.export.bundle import Exported


@click.command()
@click.argument("run", metavar="RUN|BUNDLE", type=click.Path(path_type=Path), shell_complete=offers.results)
@click.option(
    "--output", type=click.Path(path_type=Path, file_okay=False), help="Folder of the bundle.  [default: exports/NAME]"
)
@click.option(
    "--precision",
    "precisions",
    multiple=True,
    type=click.Choice(get_args(Precision)),
    help="Instead of the spec's export.precisions. May be repeated. Of a BUNDLE, the one that Triton serves.",
)
@click.option("--force", is_flag=True, help="Replace a bundle that is there.")
@click.option(
    "--triton", type=click.Path(path_type=Path, file_okay=False), help="Write a Triton model repository, too."
)
@json_option
def export(
    run: Path, output: Path | None, precisions: tuple[Precision, ...], force: bool, triton: Path | None, as_json: bool
) -> None:
    """Write the newest checkpoint of RUN as an ONNX bundle that needs no PyTorch.

    The bundle is compared with PyTorch on real pictures and words before it gets its name, each precision for itself.
    When one computes something else the command exits with 1, and the files are kept beside it as NAME.failed.

    With --triton, a model repository for the Triton server is made of it; of a BUNDLE that is there already, too.
    """
    from cbalign.cli.triton import prepare, write
    from cbalign.runtime.bundle import is_bundle

    prepare(run, triton)
    if is_bundle(run):
        if output is not None or force or len(precisions) > 1:
            raise UsageError(
                f"{run} is a bundle already: --output and --force do not apply, and Triton serves one precision of it",
                remedy="Give --triton DIR, and at most one --precision.",
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
        console.note(
            f"{report.precision}: {_bytes(exported, report.precision) / 1e6:.1f} MB{kept}; {len(report.checks)} "
            f"comparisons with PyTorch hold, the tightest: {tight.graph}, {tight.quantity}, {tight.error:.2g} of "
            f"{tight.limit:.2g}"
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
