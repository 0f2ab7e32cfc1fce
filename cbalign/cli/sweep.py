"""`cbalign sweep`: train a spec over settings and seeds."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cbalign.cli import completions, console
from cbalign.cli.failures import failure_of
from cbalign.cli.options import (
    CSV,
    JSON,
    MARKDOWN,
    layout_options,
    profile_option,
    runs_dir_option,
    set_option,
    spec_argument,
)

if TYPE_CHECKING:
    from cbalign.lab.sweep.matrix import SweepCell


@click.command()
@spec_argument
@click.option(
    "--over",
    multiple=True,
    metavar="PATH=V,V|LOW..HIGH[:log]",
    shell_complete=completions.values,
    help="Values of a setting, in all combinations with other --over. May be repeated.",
)
@click.option(
    "--paired",
    multiple=True,
    metavar="PATH=V,V",
    shell_complete=completions.values,
    help="Values that change together with those of other --paired. Use at least twice.",
)
@click.option(
    "--random", "draws", type=click.IntRange(min=1), metavar="N", help="Draw N random combinations instead of all."
)
@click.option("--draw-seed", type=int, default=0, show_default=True, help="Seed of --random.")
@click.option(
    "--seeds", type=click.IntRange(min=1), metavar="N", help="Train each combination with train.seed 0 to N-1."
)
@set_option
@profile_option
@runs_dir_option
@click.option(
    "--metric",
    "metrics",
    multiple=True,
    metavar="NAME",
    help="Metric to show: its name, the end of it, or a pattern. May be repeated.",
)
@click.option("--dry-run", is_flag=True, help="Check and list the trainings without running them.")
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
    """Train SPEC over a grid of settings, paired or random settings, and seeds, one training after the other.

    \b
    cbalign sweep spec.yaml --over train.optimizer.lr=1e-4,3e-4 --seeds 3
    cbalign sweep spec.yaml --paired train.batch_size=64,128 --paired train.optimizer.lr=1e-4,2e-4
    cbalign sweep spec.yaml --over train.optimizer.lr=1e-5..1e-3:log --random 20

    All combinations are checked and listed before the first training. Finished runs in the folder of runs are not
    trained again and interrupted ones are resumed: after a signal (exit code 75) or a crash, repeat the command. A
    failed training does not stop the others.

    Prints the metrics of each setting on stdout, as mean ± standard deviation over its seeds. The exit code is that of
    the first failure.
    """
    from cbalign.engine.run import scan_runs
    from cbalign.lab.sweep.matrix import build_matrix, match_runs, named
    from cbalign.lab.sweep.space import combinations, parse_axis
    from cbalign.render import sweep as render

    if spec == "-":
        raise click.UsageError("sweep cannot read a spec from standard input: write it to a file.")
    changes = combinations(
        [parse_axis(text) for text in over],
        [parse_axis(text) for text in paired],
        draws=draws,
        draw_seed=draw_seed,
        seeds=seeds,
    )
    for folder, problem in scan_runs(runs_dir).damaged.items():
        console.warning(f"{folder} is damaged and counts as missing: {problem}")
    cells = match_runs(build_matrix(spec, overrides, profiles, changes), runs_dir)
    if len(cells) < len(changes):
        console.note(
            f"{len(changes) - len(cells)} of {len(changes)} combinations repeat another training and are skipped."
        )
    if dry_run:
        _print_matrix(cells, layout)
        return
    console.note_blocks(render.matrix_table(cells))
    codes: list[int] = []
    done = _trained(cells, runs_dir, codes) if any(c.state in ("missing", "begun") for c in cells) else list(cells)
    for cell in done:
        if cell.state in ("diverged", "running"):
            codes.append(5 if cell.state == "diverged" else 1)
            why = "has diverged" if cell.state == "diverged" else "is being trained by another process"
            console.note(f"{named(cell.changes)}: {cell.run.folder if cell.run else ''} {why}")
    _print_results(done, metrics, layout)
    ctx.exit(codes[0] if codes else 0)


def _trained(cells: Sequence[SweepCell], runs_dir: Path, codes: list[int]) -> list[SweepCell]:
    """Run the missing trainings; exit codes of failures are added to `codes`."""
    from cbalign.engine.reporter import Reporter, console_reporter
    from cbalign.lab.sweep.matrix import named
    from cbalign.lab.sweep.runner import run_sweep

    def begin(index: int, cell: SweepCell) -> None:
        resumed = f", resuming {cell.run.folder}" if cell.run else ""
        console.note(f"\n[{index + 1}/{len(cells)}] {named(cell.changes)}{resumed}")

    def failed(error: Exception) -> str:
        failure = failure_of(error)
        codes.append(failure.exit_code)
        console.error(failure.message, failure.remedy)
        return failure.message

    def reporter() -> Reporter:
        return console_reporter(console.stderr(), interactive=console.is_interactive())

    return list(run_sweep(cells, runs_dir, reporter, argv=sys.argv, begin=begin, failed=failed))


def _print_matrix(cells: Sequence[SweepCell], layout: str) -> None:
    from cbalign.render import sweep as render

    if layout == JSON:
        console.document({"trainings": render.matrix_document(cells)})
    elif layout == CSV:
        console.result(render.matrix_csv(cells))
    elif layout == MARKDOWN:
        console.result(render.matrix_table(cells).markdown())
    else:
        console.blocks(render.matrix_table(cells))


def _print_results(cells: Sequence[SweepCell], metrics: Sequence[str], layout: str) -> None:
    from cbalign.lab.runs.metrics import choose, headlines
    from cbalign.lab.sweep.results import collect
    from cbalign.render import sweep as render

    rows = collect(cells)
    names = list(dict.fromkeys(name for row in rows for name in row.metrics))
    if layout == JSON:
        console.document({"trainings": render.matrix_document(cells), "results": render.results_document(rows)})
    elif layout == CSV:
        console.result(render.results_csv(rows, choose(names, metrics) if metrics and names else names))
    else:
        shown = choose(names, metrics) if metrics and names else headlines(names)
        if layout == MARKDOWN:
            console.result(render.results_markdown(rows, shown))
        else:
            console.blocks(*render.results_blocks(rows, shown))
