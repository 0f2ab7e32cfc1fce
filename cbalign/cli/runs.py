"""`cbalign runs`: what was trained so far."""

from __future__ import annotations

from pathlib import Path

import click

from cbalign.cli import console
from cbalign.cli.options import json_option


@click.group()
def runs() -> None:
    """Look at the runs that were made."""


@runs.command("list")
@click.option(
    "--runs-dir", default="runs", type=click.Path(path_type=Path), show_default=True, help="Where the runs are."
)
@json_option
def list_command(runs_dir: Path, as_json: bool) -> None:
    """List the runs, oldest first: state, steps, and the metrics of the last evaluation."""
    from cbalign.engine.run import find_runs, summarise

    found = [summarise(run) for run in find_runs(runs_dir)]
    if as_json:
        console.document({"runs": [summary.to_json() for summary in found]})
        return
    if not found:
        console.note(f"There are no runs in {runs_dir}.")
        return
    rows = [
        (s.folder.name, s.status, str(s.step), "  ".join(f"{n} {v:.4g}" for n, v in s.metrics.items())) for s in found
    ]
    console.result(console.table(("run", "state", "step", "last evaluation"), rows, right=(2,)))
