"""`cbalign runs`: what was trained so far."""

from __future__ import annotations

import json
from pathlib import Path

import click

_FOLDER = click.option(
    "--runs-dir", default="runs", type=click.Path(path_type=Path), show_default=True, help="Where the runs are."
)


@click.group()
def runs() -> None:
    """Look at the runs that were made."""


@runs.command("list")
@_FOLDER
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def list_command(runs_dir: Path, as_json: bool) -> None:
    """List the runs, oldest first: state, steps, and the metrics of the last evaluation."""
    from rich.console import Console
    from rich.table import Table

    from cbalign.engine.run import find_runs, summarise

    found = [summarise(run) for run in find_runs(runs_dir)]
    if as_json:
        click.echo(json.dumps([summary.to_json() for summary in found], indent=2))
        return
    if not found:
        click.echo(f"no runs in {runs_dir}", err=True)
        return
    table = Table("run", "state", "step", "last evaluation", box=None, pad_edge=False)
    for summary in found:
        metrics = "  ".join(f"{name} {value:.4g}" for name, value in summary.metrics.items())
        table.add_row(summary.folder.name, summary.status, str(summary.step), metrics)
    Console().print(table)
