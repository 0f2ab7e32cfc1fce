"""`cbalign export`: export a run to a verified ONNX bundle."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cbalign.cli import completions, console
from cbalign.cli.options import best_option, best_or_given, json_option
from cbalign.errors import UsageError
from cbalign.experiment.unions import usable
from cbalign.parts.registry import PRECISIONS, TARGETS

if TYPE_CHECKING:
    from cbalign.exporting.bundle import Exported


@click.command()
@click.argument(
    "run", metavar="RUN|CHECKPOINT|BUNDLE", type=click.Path(path_type=Path), shell_complete=completions.results
)
@best_option
@click.option(
    "--output", type=click.Path(path_type=Path, file_okay=False), help="Folder of the bundle.  [default: exports/NAME]"
)
@click.option(
    "--precision",
    "precisions",
    multiple=True,
    type=click.Choice(tuple(usable(PRECISIONS))),
    help="Instead of the spec's export.precisions. May be repeated. With a BUNDLE: the precision of its target.",
)
@click.option("--force", is_flag=True, help="Replace an existing bundle and existing targets.")
@click.option(
    "--target",
    "targets",
    multiple=True,
    type=click.Choice(tuple(usable(TARGETS))),
    help="Also write this target, to BUNDLE-TARGET. May be repeated.",
)
@click.option(
    "--triton", type=click.Path(path_type=Path, file_okay=False), help="Like --target triton, with the folder to write."
)
@json_option
def export(
    run: Path,
    best: str | None,
    output: Path | None,
    precisions: tuple[str, ...],
    force: bool,
    targets: tuple[str, ...],
    triton: Path | None,
    as_json: bool,
) -> None:
    """Export the newest checkpoint of RUN, or CHECKPOINT, to an ONNX bundle that needs no PyTorch.

    Each precision is compared with PyTorch on real images and texts before the bundle gets its name. If one of them
    does not agree, the command exits with 1 and keeps the files as NAME.failed.

    Targets are other layouts of the bundle, such as a model repository for the Triton server. They can also be made
    from an existing BUNDLE.
    """
    from cbalign.cli.targets import requests, show_next_steps, write_targets
    from cbalign.runtime.bundle import is_bundle

    run = best_or_given(run, best)
    if is_bundle(run):
        if output is not None or len(precisions) > 1 or not (targets or triton):
            raise UsageError(
                f"{run} is already a bundle: --output does not apply, and targets have one precision",
                remedy="Give --target NAME or --triton DIR, and at most one --precision.",
            )
        write_targets(run, requests(targets, triton, *precisions), force=force, as_json=as_json)
        return
    from cbalign.api.bundles import export as export_run

    asked = requests(targets, triton)
    exported = export_run(
        run, output, precisions=precisions, targets=asked, force=force, progress=console.note
    ).exported
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
    show_next_steps(exported.targets)
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
        "targets": {kind: str(folder) for kind, folder in exported.targets.items()},
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
