"""`cbalign doctor`: check the installation."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from cbalign.cli import console
from cbalign.cli.options import json_option
from cbalign.runtime.table import Table

_COLOURS = {"ok": "green", "absent": "yellow", "problem": "red"}


@click.command()
@json_option
@click.pass_context
def doctor(ctx: click.Context, as_json: bool) -> None:
    """Check the installation and report problems with their remedies.

    Checks versions, extras, GPUs, onnxruntime's providers and disk space. Exits with 1 when there is a problem; a
    missing optional package is not a problem.
    """
    from cbalign.cli.health import checks

    found = list(checks(Path()))
    problems = [check for check in found if check.state == "problem"]
    if as_json:
        console.document({"healthy": not problems, "checks": [asdict(check) for check in found]})
    else:
        rows = [(check.name, click.style(check.state, fg=_COLOURS[check.state]), check.found) for check in found]
        remedies = [
            f"to {'repair' if check.state == 'problem' else 'add'} {check.name}: {check.remedy}"
            for check in found
            if check.remedy
        ]
        console.blocks(Table.of(("CHECK", "STATE", "FOUND"), rows, notes=remedies))
    ctx.exit(1 if problems else 0)
