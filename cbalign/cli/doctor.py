"""`cbalign doctor`: whether this installation can work."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from cbalign.cli import console
from cbalign.cli.options import json_option

_COLOURS = {"ok": "green", "absent": "yellow", "problem": "red"}


@click.command()
@json_option
@click.pass_context
def doctor(ctx: click.Context, as_json: bool) -> None:
    """Say what is installed, what conflicts, and what to do.

    Versions, extras, GPUs, onnxruntime's providers, disk. Exit code 1 when there is a problem; what is merely absent is
    none.
    """
    from cbalign.cli.health import checks

    found = list(checks(Path()))
    problems = [check for check in found if check.state == "problem"]
    if as_json:
        console.document({"healthy": not problems, "checks": [asdict(check) for check in found]})
    else:
        rows = [(check.name, click.style(check.state, fg=_COLOURS[check.state]), check.found) for check in found]
        console.result(console.table(("CHECK", "STATE", "FOUND"), rows))
        for check in found:
            if check.remedy:
                what = "to repair" if check.state == "problem" else "to add"
                console.result(f"{what} {check.name}: {check.remedy}")
    ctx.exit(1 if problems else 0)
