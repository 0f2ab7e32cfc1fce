"""`cbalign runs`: what was trained so far, from the run directories alone."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import get_args

import click

from cbalign.cli import console, offers
from cbalign.cli.options import json_option, runs_dir_option, set_option
from cbalign.cli.tables import layout_options
from cbalign.engine.manifest import Status

STATES = get_args(Status)
run_argument = click.argument("name", metavar="RUN", shell_complete=offers.runs)


@click.group()
def runs() -> None:
    """Look at the runs that were made, compare, repeat and remove them.

    RUN is a run directory, `latest`, or the beginning of a run's name or of the id at its end.
    """


@runs.command("list")
@runs_dir_option
@click.option("--state", "states", multiple=True, type=click.Choice(STATES), help="Only these. May be repeated.")
@click.option(
    "--name", "names", multiple=True, metavar="PATTERN", help="Only experiments of this name; * for any text."
)
@click.option(
    "--where", multiple=True, metavar="PATH=VALUE", shell_complete=offers.values,
    help="Only runs with this setting. May be repeated.",
)  # fmt: skip
@click.option("--metric", metavar="NAME", help="The metric to show, or the end of its name.")
@json_option
def list_command(
    runs_dir: Path,
    states: tuple[str, ...],
    names: tuple[str, ...],
    where: tuple[str, ...],
    metric: str | None,
    as_json: bool,
) -> None:
    """List the runs, oldest first: state, checkpoint, age, size, and one metric, the last and the best of it."""
    from cbalign.cli.runs_layouts import as_list
    from cbalign.lab.runs.overview import overview, select

    found = [overview(run, metric) for run in select(runs_dir, states=states, names=names, where=where)]
    if as_json:
        console.document({"runs": [each.to_json() for each in found]})
    elif found:
        console.result(as_list(found))
    else:
        console.note(f"There are no {'such ' if states or names or where else ''}runs in {runs_dir}.")


@runs.command("show")
@run_argument
@runs_dir_option
@json_option
def show_command(name: str, runs_dir: Path, as_json: bool) -> None:
    """Tell all about RUN: settings that are not defaults, attempts, environment, metrics, checkpoints, evaluations."""
    from cbalign.cli.runs_layouts import as_card, as_card_data
    from cbalign.lab.runs.detail import open_detail
    from cbalign.lab.runs.lookup import find_run

    detail = open_detail(find_run(runs_dir, name))
    if as_json:
        console.document(as_card_data(detail))
    else:
        console.result(as_card(detail))


@runs.command("compare")
@click.argument("names", metavar="[RUN…]", nargs=-1, shell_complete=offers.runs)
@runs_dir_option
@click.option("--sort", "sort_by", metavar="METRIC", help="Best run first by this metric, or the end of its name.")
@layout_options
@click.pass_context
def compare_command(
    ctx: click.Context, names: tuple[str, ...], runs_dir: Path, sort_by: str | None, layout: str
) -> None:
    """Put runs side by side, all of the folder where none is named: only settings and metrics that differ.

    Settings are grouped by what a change does, worst first. `cbalign diff A B` says more about two of them.
    """
    from cbalign.cli import runs_layouts, tables
    from cbalign.engine.run import find_runs
    from cbalign.lab.runs.comparison import compare_runs
    from cbalign.lab.runs.lookup import find_run

    chosen = [find_run(runs_dir, name) for name in names] if names else find_runs(runs_dir)
    chosen = list({run.folder.resolve(): run for run in chosen}.values())
    if len(chosen) < 2:
        raise click.UsageError(f"compare takes two runs or more; {'named' if names else 'there'} is {len(chosen)}.")
    compared = compare_runs(chosen, sort_by)
    if layout == tables.JSON:
        console.document(runs_layouts.as_comparison_data(compared))
    elif layout == tables.CSV:
        console.result(runs_layouts.as_comparison_csv(compared))
    elif layout == tables.MARKDOWN:
        console.result(runs_layouts.as_comparison_markdown(compared))
    else:
        console.result(runs_layouts.as_comparison_text(compared, console.width()))


@runs.command("rerun")
@run_argument
@set_option
@runs_dir_option
def rerun_command(name: str, overrides: tuple[str, ...], runs_dir: Path) -> None:
    """Train the settings of RUN again, as a new run that says which one it came from.

    Prints the new run directory on stdout when the training is finished. To go on with RUN itself: cbalign train RUN.
    """
    from cbalign.experiment.load import load_experiment
    from cbalign.lab.runs.lookup import find_run

    old = find_run(runs_dir, name)
    loaded = load_experiment(old.resolved, overrides)

    from cbalign.cli.train import report
    from cbalign.engine.reporter import console_reporter
    from cbalign.tasks.train import train_experiment

    reporter = console_reporter(console.stderr(), interactive=console.is_interactive())
    report(train_experiment(loaded, runs_dir, reporter, argv=sys.argv, rerun_of=old.folder.name))


@runs.command("remove")
@click.argument("names", metavar="RUN…", nargs=-1, required=True, shell_complete=offers.runs)
@runs_dir_option
@click.option("--yes", is_flag=True, help="Do not ask.")
def remove_command(names: tuple[str, ...], runs_dir: Path, yes: bool) -> None:
    """Remove runs with all that is in them, after asking. A run that is being trained is refused."""
    from cbalign.cli.quantities import in_bytes
    from cbalign.lab.runs.lookup import find_run
    from cbalign.lab.runs.overview import overview
    from cbalign.lab.runs.removal import check_removable, remove

    found = list({run.folder.resolve(): run for run in (find_run(runs_dir, name) for name in names)}.values())
    for run in found:
        check_removable(runs_dir, run)
    looked = [overview(run) for run in found]
    for each in looked:
        console.note(f"{each.run.folder}: {each.status}, step {each.step}, {in_bytes(each.size)}")
    if not yes:
        if not sys.stdin.isatty():
            raise click.UsageError("nobody is there to ask: say --yes to remove them.")
        click.confirm(f"Remove {'it' if len(found) == 1 else f'these {len(found)} runs'}?", abort=True, err=True)
    for run in found:
        remove(runs_dir, run)
        console.result(str(run.folder))
