"""`cbalign sweep`: one spec over many settings and seeds."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cbalign.cli import console, offers, tables
from cbalign.cli.failures import failure_of
from cbalign.cli.options import profile_option, runs_dir_option, set_option, spec_argument
from cbalign.cli.tables import layout_options

if TYPE_CHECKING:
    from cbalign.lab.sweep.matrix import Cell


@click.command()
@spec_argument
@click.option(
    "--over",
    multiple=True,
    metavar="PATH=V,V|LOW..HIGH[:log]",
    shell_complete=offers.values,
    help="Try these values, with those of every other --over.",
)
@click.option(
    "--paired",
    multiple=True,
    metavar="PATH=V,V",
    shell_complete=offers.values,
    help="Values that move together, one by one. Twice or more.",
)
@click.option("--random", "draws", type=click.IntRange(min=1), metavar="N", help="Draw N settings in place of all.")
@click.option("--draw-seed", type=int, default=0, show_default=True, help="Seed of the draws.")
@click.option("--seeds", type=click.IntRange(min=1), metavar="N", help="Train each with train.seed 0 to N-1.")
@set_option
@profile_option
@runs_dir_option
@click.option(
    "--metric", "metrics", multiple=True, metavar="NAME", help="Show this metric, the end of its name, or a pattern."
)
@click.option("--dry-run", is_flag=True, help="Only check and show what would be trained.")
@layout_options
@click.pass_context
def sweep(
    ctx: click.Context,
    spec: str,
    over: tuple[str, ...],
    paired: tuple[str, ...],
    draws: int | None,
    draw_seed: int,
    seeds: int | None,
    overrides: tuple[str, ...],
    profiles: tuple[str, ...],
    runs_dir: Path,
    metrics: tuple[str, ...],
    dry_run: bool,
    layout: str,
) -> None:
    """Train SPEC over a grid of settings, over paired or drawn ones, and over seeds; one training after the other.

    \b
    cbalign sweep spec.yaml --over train.optimizer.lr=1e-4,3e-4 --seeds 3
    cbalign sweep spec.yaml --paired train.batch_size=64,128 --paired train.optimizer.lr=1e-4,2e-4
    cbalign sweep spec.yaml --over train.optimizer.lr=1e-5..1e-3:log --random 20

    Every combination is checked, and the list of them printed, before anything runs. What the folder of runs has
    already is not trained again, and what was begun there is gone on with: after a signal (exit code 75) or a crash,
    repeat the command. A training that fails does not stop the others.

    Prints each setting's metrics on stdout, mean ± standard deviation over its seeds. The exit code is that of the
    first failure.
    """
    from cbalign.cli import sweep_layouts
    from cbalign.lab.sweep.matrix import build_matrix, look_up, named
    from cbalign.lab.sweep.space import combinations, parse_axis

    if spec == "-":
        raise click.UsageError("a sweep reads its spec several times: write it to a file.")
    changes = combinations(
        [parse_axis(text) for text in over],
        [parse_axis(text) for text in paired],
        draws=draws,
        draw_seed=draw_seed,
        seeds=seeds,
    )
    cells = look_up(build_matrix(spec, overrides, profiles, changes), runs_dir)
    if len(cells) < len(changes):
        console.note(
            f"{len(changes) - len(cells)} of {len(changes)} combinations come to the same training as another."
        )
    if dry_run:
        _print_matrix(cells, layout)
        return
    console.note(sweep_layouts.matrix_text(cells))
    codes: list[int] = []
    done = _trained(cells, runs_dir, codes) if any(c.state in ("missing", "begun") for c in cells) else list(cells)
    for cell in done:
        if cell.state in ("diverged", "running"):
            codes.append(5 if cell.state == "diverged" else 1)
            why = "diverged before" if cell.state == "diverged" else "is being trained by another process"
            console.note(f"{named(cell.changes)}: {cell.run.folder if cell.run else ''} {why}")
    _print_results(done, metrics, layout)
    ctx.exit(codes[0] if codes else 0)


def _trained(cells: Sequence[Cell], runs_dir: Path, codes: list[int]) -> list[Cell]:
    """Train what is to be trained; exit codes of failures are added to `codes`."""
    from cbalign.engine.reporter import Reporter, console_reporter
    from cbalign.lab.sweep.conduct import conduct
    from cbalign.lab.sweep.matrix import named

    def begin(index: int, cell: Cell) -> None:
        going_on = f", going on with {cell.run.folder}" if cell.run else ""
        console.note(f"\n[{index + 1}/{len(cells)}] {named(cell.changes)}{going_on}")

    def failed(error: Exception) -> str:
        failure = failure_of(error)
        codes.append(failure.exit_code)
        console.error(failure.message, failure.remedy)
        return failure.message

    def reporter() -> Reporter:
        return console_reporter(console.stderr(), interactive=console.is_interactive())

    return list(conduct(cells, runs_dir, reporter, argv=sys.argv, begin=begin, failed=failed))


def _print_matrix(cells: Sequence[Cell], layout: str) -> None:
    from cbalign.cli import sweep_layouts

    if layout == tables.JSON:
        console.document({"trainings": sweep_layouts.matrix_data(cells)})
    elif layout == tables.CSV:
        console.result(tables.comma_separated(*sweep_layouts.matrix_rows(cells)))
    elif layout == tables.MARKDOWN:
        console.result(tables.markdown(*sweep_layouts.matrix_rows(cells)))
    else:
        console.result(sweep_layouts.matrix_text(cells))


def _print_results(cells: Sequence[Cell], metrics: Sequence[str], layout: str) -> None:
    from cbalign.cli import sweep_layouts
    from cbalign.lab.runs.metrics import choose, headlines
    from cbalign.lab.sweep.results import collect

    rows = collect(cells)
    names = list(dict.fromkeys(name for row in rows for name in row.metrics))
    if layout == tables.JSON:
        console.document({"trainings": sweep_layouts.matrix_data(cells), "results": sweep_layouts.results_data(rows)})
    elif layout == tables.CSV:
        console.result(sweep_layouts.results_csv(rows, choose(names, metrics) if metrics and names else names))
    else:
        shown = choose(names, metrics) if metrics and names else headlines(names)
        markdown = layout == tables.MARKDOWN
        console.result((sweep_layouts.results_markdown if markdown else sweep_layouts.results_text)(rows, shown))
