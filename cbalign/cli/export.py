"""`cbalign export`: a run in, a proven bundle out."""

from __future__ import annotations

from pathlib import Path

import click

from cbalign.cli import console, offers
from cbalign.cli.options import json_option


@click.command()
@click.argument("run", metavar="RUN|BUNDLE", type=click.Path(path_type=Path), shell_complete=offers.results)
@click.option(
    "--output", type=click.Path(path_type=Path, file_okay=False), help="Folder of the bundle.  [default: exports/NAME]"
)
@click.option("--force", is_flag=True, help="Replace a bundle that is there.")
@click.option(
    "--triton", type=click.Path(path_type=Path, file_okay=False), help="Write a Triton model repository, too."
)
@json_option
def export(run: Path, output: Path | None, force: bool, triton: Path | None, as_json: bool) -> None:
    """Write the newest checkpoint of RUN as an ONNX bundle that needs no PyTorch.

    The bundle is compared with PyTorch on real pictures and words before it gets its name. When it computes something
    else the command exits with 1, and the files are kept beside it as NAME.failed.

    With --triton, a model repository for the Triton server is made of it; of a BUNDLE that is there already, too.
    """
    from cbalign.cli.triton import prepare, write
    from cbalign.runtime.bundle import is_bundle

    prepare(run, triton)
    if is_bundle(run):
        write(run, triton, as_json=as_json)
        return
    from cbalign.export import export_run

    exported = export_run(run, output, force=force, report=console.note)
    if triton is not None:
        write(exported.folder, triton)
    parity = exported.parity
    if as_json:
        console.document(
            {
                "bundle": str(exported.folder),
                "graphs": list(exported.manifest.graphs),
                "opset": exported.manifest.opset,
                "bytes": sum(file.size for file in exported.manifest.files.values()),
                "comparisons": len(parity.checks),
                "worst": {
                    "graph": parity.worst.graph,
                    "quantity": parity.worst.quantity,
                    "error": parity.worst.error,
                    "limit": parity.worst.limit,
                },
            }
        )
        return
    megabytes = sum(file.size for file in exported.manifest.files.values()) / 1e6
    console.note(
        f"{', '.join(exported.manifest.graphs)}: opset {exported.manifest.opset}, {megabytes:.1f} MB; "
        f"{len(parity.checks)} comparisons with PyTorch hold, the tightest: {parity.worst.graph}, "
        f"{parity.worst.quantity}, {parity.worst.error:.2g} of {parity.worst.limit:.2g}"
    )
    console.note(f"next: cbalign evaluate {exported.folder}")
    console.result(str(exported.folder))
