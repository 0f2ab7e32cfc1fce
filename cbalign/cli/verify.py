"""`cbalign verify`: is this bundle what was exported, and does it compute here what it computed there?"""

from __future__ import annotations

from pathlib import Path

import click

from cbalign.cli import console, offers
from cbalign.cli.options import json_option


@click.command()
@click.argument("bundle", metavar="BUNDLE", type=click.Path(path_type=Path), shell_complete=offers.results)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@json_option
def verify(bundle: Path, device: str, as_json: bool) -> None:
    """Check a bundle's files against its manifest, load its graphs, and repeat its recorded computation.

    Exits with 3 when a file is missing or changed, with 1 when the numbers differ, with 4 when a device that was asked
    for is not there.
    """
    from cbalign.runtime.bundle import Bundle
    from cbalign.runtime.golden import check_golden
    from cbalign.runtime.session import Session

    opened = Bundle.open(bundle)
    opened.verify()
    reports = []
    for precision in opened.manifest.precisions:
        session = Session.open(bundle, device, precision)
        reports.append(
            {
                "precision": precision,
                "device": session.device.kind,
                "differences": check_golden(session),
                "nodes": {placement.graph: placement.nodes for placement in session.placement},
            }
        )
    if as_json:
        console.document({"bundle": str(bundle), "files": len(opened.manifest.files), "precisions": reports})
        return
    lines = [f"{bundle}: {len(opened.manifest.files)} files as in the manifest"]
    for report in reports:
        differences = report["differences"]
        assert isinstance(differences, dict)
        worst = max(differences, key=lambda name: differences[name])
        lines.append(
            f"{report['precision']} on {report['device']}: {len(differences)} recorded outputs repeated, "
            f"largest difference {differences[worst]:.2g} ({worst})"
        )
        nodes = report["nodes"]
        assert isinstance(nodes, dict)
        for graph, counts in nodes.items():
            lines.append(f"  {graph}: " + ", ".join(f"{count} nodes on {name}" for name, count in counts.items()))
    console.result("\n".join(lines))
