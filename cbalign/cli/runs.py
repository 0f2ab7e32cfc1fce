"""`cbalign runs`: list, show, compare, repeat and remove runs, read from their directories."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import get_args

import click

from cbalign.cli import completions, console
from cbalign.cli.options import CSV, JSON, MARKDOWN, json_option, layout_options, runs_dir_option, set_option
from cbalign.engine.manifest import Status

STATES = get_args(Status)
run_argument = click.argument("name", metavar="RUN", shell_complete=completions.runs)


@click.group()
def runs() -> None:
    """List, show, compare, repeat and remove runs.

    RUN is a run directory, `latest`, or the beginning of a run's name or of the id at its end.
    """


@runs.command("list")
@runs_dir_option
@click.option(
    "--state", "states", multiple=True, type=click.Choice(STATES), help="List only runs in this state. May be repeated."
)
@click.option(
    "--name", "names", multiple=True, metavar="PATTERN", help="List only experiments of this name; * matches any text."
)
@click.option(
    "--where", multiple=True, metavar="PATH=VALUE", shell_complete=completions.values,
    help="List only runs with this setting. May be repeated.",
)  # fmt: skip
@click.option("--metric", metavar="NAME", help="Metric to show, or the end of its name.")
@json_option
def list_command(
    runs_dir: Path,
    states: tuple[str, ...],
    names: tuple[str, ...],
    where: tuple[str, ...],
    metric: str | None,
    as_json: bool,
) -> None:
    """List runs, oldest first: state, step, age, size, and the last and best value of one metric."""
    from cbalign.lab.runs.overview import list_runs
    from cbalign.render.runs import list_blocks

    listed = list_runs(runs_dir, states=states, names=names, where=where, metric=metric)
    if as_json:
        damaged = [{"run": str(folder), "problem": problem} for folder, problem in listed.damaged.items()]
        console.document({"runs": [each.to_json() for each in listed.found], "damaged": damaged})
        return
    for folder, problem in listed.damaged.items():
        console.warning(f"{folder} is damaged and not shown: {problem}")
    if listed.found:
        console.blocks(*list_blocks(listed.found))
    else:
        console.note(f"No {'matching ' if states or names or where else ''}runs in {runs_dir}.")


@runs.command("show")
@run_argument
@runs_dir_option
@json_option
def show_command(name: str, runs_dir: Path, as_json: bool) -> None:
    """Show details of RUN: non-default settings, attempts, environment, metrics, checkpoints and evaluations."""
    from cbalign.lab.runs.detail import open_detail
    from cbalign.lab.runs.lookup import find_run
    from cbalign.render.runs import run_blocks, run_document

    detail = open_detail(find_run(runs_dir, name))
    if as_json:
        console.document(run_document(detail))
    else:
        console.blocks(*run_blocks(detail))


@runs.command("compare")
@click.argument("names", metavar="[RUN…]", nargs=-1, shell_complete=completions.runs)
@runs_dir_option
@click.option(
    "--sort", "sort_by", metavar="METRIC", help="Sort by this metric (or the end of its name), best run first."
)
@layout_options
@click.pass_context
def compare_command(
    ctx: click.Context, names: tuple[str, ...], runs_dir: Path, sort_by: str | None, layout: str
) -> None:
    """Compare runs, by default all runs of the folder: settings and metrics that differ.

    Settings are grouped by effect class, most severe first. `cbalign diff A B` compares two runs in more detail.
    """
    from cbalign.engine.run import find_runs
    from cbalign.lab.runs.comparison import compare_runs
    from cbalign.lab.runs.lookup import find_run
    from cbalign.render import run_comparison

    chosen = [find_run(runs_dir, name) for name in names] if names else find_runs(runs_dir)
    chosen = list({run.folder.resolve(): run for run in chosen}.values())
    if len(chosen) < 2:
        raise click.UsageError(f"compare needs at least two runs, {'got' if names else 'found'} {len(chosen)}.")
    compared = compare_runs(chosen, sort_by)
    if layout == JSON:
        console.document(run_comparison.comparison_document(compared))
    elif layout == CSV:
        console.result(run_comparison.comparison_csv(compared))
    elif layout == MARKDOWN:
        console.result(run_comparison.comparison_markdown(compared))
    else:
        console.blocks(*run_comparison.comparison_blocks(compared))


@runs.command("rerun")
@run_argument
@set_option
@runs_dir_option
def rerun_command(name: str, overrides: tuple[str, ...], runs_dir: Path) -> None:
    """Train the settings of RUN again as a new run, which records the run that it repeats.

    Prints the new run directory on stdout when the training is finished. To resume RUN itself: cbalign train RUN.
    """
    from cbalign.experiment.load import load_experiment
    from cbalign.lab.runs.lookup import find_run

    old = find_run(runs_dir, name)
    loaded = load_experiment(old.resolved, overrides)

    from cbalign.cli.train import print_outcome
    from cbalign.engine.reporter import console_reporter
    from cbalign.tasks.train import train_experiment

    reporter = console_reporter(console.stderr(), interactive=console.is_interactive())
    print_outcome(train_experiment(loaded, runs_dir, reporter, argv=sys.argv, rerun_of=old.folder.name))


@runs.command("remove")
@click.argument("names", metavar="RUN…", nargs=-1, required=True, shell_complete=completions.runs)
@runs_dir_option
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
def remove_command(names: tuple[str, ...], runs_dir: Path, yes: bool) -> None:
    """Remove runs with all their files, after confirmation. Runs that are being trained cannot be removed."""
    from cbalign.lab.runs.lookup import find_run
    from cbalign.lab.runs.overview import overview
    from cbalign.lab.runs.removal import check_removable, remove
    from cbalign.render.quantities import in_bytes

    found = list({run.folder.resolve(): run for run in (find_run(runs_dir, name) for name in names)}.values())
    for run in found:
        check_removable(runs_dir, run)
    looked = [overview(run) for run in found]
    for each in looked:
        console.note(f"{each.run.folder}: {each.status}, step {each.step}, {in_bytes(each.size)}")
    if not yes:
        if not sys.stdin.isatty():
            raise click.UsageError("cannot ask for confirmation without a terminal: add --yes.")
        click.confirm(f"Remove {'it' if len(found) == 1 else f'these {len(found)} runs'}?", abort=True, err=True)
    for run in found:
        remove(runs_dir, run)
        console.result(str(run.folder))
