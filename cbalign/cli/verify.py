"""`cbalign verify`: check that a bundle is unchanged and computes the recorded outputs on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cbalign.cli import completions, console
from cbalign.cli.options import device_option, json_option, require_option

if TYPE_CHECKING:
    from cbalign.runtime.bundle import BundleFolder
    from cbalign.runtime.session import Session


@click.command()
@click.argument("bundle", metavar="BUNDLE", type=click.Path(path_type=Path), shell_complete=completions.results)
@device_option
@require_option
@click.option("--precision", "precisions", multiple=True, help="Check only this precision. May be repeated.")
@json_option
def verify(bundle: Path, device: str, require: str | None, precisions: tuple[str, ...], as_json: bool) -> None:
    """Check a bundle: files against the manifest, graphs, the providers that run them, and recorded outputs.

    Exits with 3 when a file is missing or changed, with 1 when outputs differ, and with 4 when the requested device is
    missing or would not run the whole model.
    """
    from cbalign.runtime.bundle import BundleFolder
    from cbalign.runtime.checker import has_checker
    from cbalign.runtime.golden import check_golden
    from cbalign.runtime.placement import package_conflict
    from cbalign.runtime.session import Session

    if (conflict := package_conflict()) is not None:
        console.note(f"warning: {conflict}")
    opened = BundleFolder.open(bundle)
    opened.verify()
    for name in opened.unlisted():
        console.note(f"note: {bundle / name} is not in the manifest and is not used")
    checked = _check_graphs(opened, precisions) if has_checker() else None
    reports = []
    for precision in precisions or opened.manifest.precisions:
        session = Session.open(bundle, require or device, precision)
        reports.append(_report(session, check_golden(session)))
    if as_json:
        files = len(opened.manifest.files)
        console.document({"bundle": str(bundle), "files": files, "checked_graphs": checked, "precisions": reports})
        return
    lines = [f"{bundle}: {len(opened.manifest.files)} files match the manifest"]
    if checked is None:
        lines.append("graphs not checked by the ONNX checker: the package onnx is not installed")
    else:
        lines.append(f"{checked} graphs pass the ONNX checker")
    console.result("\n".join([*lines, *(line for report in reports for line in _lines(report))]))


def _check_graphs(opened: BundleFolder, precisions: tuple[str, ...]) -> int:
    from cbalign.runtime.checker import check_graph

    paths = [
        opened.graph_path(precision, graph)
        for precision in precisions or opened.manifest.precisions
        for graph in opened.manifest.graphs
    ]
    for path in paths:
        check_graph(path)
    return len(paths)


def _report(session: Session, differences: dict[str, float]) -> dict[str, object]:
    return {
        "precision": session.precision,
        "device": session.device.kind,
        "why": session.device.reason,
        "differences": differences,
        "placement": {
            placement.graph: {
                provider: {
                    "nodes": placement.nodes[provider],
                    "reason": reason,
                    "work": placement.work(provider),
                    "operators": dict(placement.operators[provider]),
                }
                for provider, reason in placement.reasons(session.device).items()
            }
            for placement in session.placement
        },
    }


def _lines(report: dict[str, object]) -> list[str]:
    differences, placement = report["differences"], report["placement"]
    assert isinstance(differences, dict)
    assert isinstance(placement, dict)
    worst = max(differences, key=lambda name: differences[name])
    lines = [
        f"{report['precision']} on {report['device']} ({report['why']}): {len(differences)} recorded outputs "
        f"reproduced, largest difference {differences[worst]:.2g} ({worst})"
    ]
    for graph, providers in placement.items():
        for provider, found in providers.items():
            work = ", ".join(f"{count} {name}" for name, count in found["work"].items()) or "no matrix products"
            why = "" if found["reason"] == report["why"] else f" ({found['reason']})"
            others = found["nodes"] - sum(found["work"].values())
            lines.append(f"  {graph}: {found['nodes']} nodes on {provider}{why}: {work} and {others} other nodes")
    return lines
