"""`cbalign train`: a spec in, a finished run out."""

from __future__ import annotations

import sys
from pathlib import Path

import click


@click.command()
@click.argument("target", metavar="SPEC|RUN", type=click.Path(path_type=Path))
@click.option("--set", "overrides", multiple=True, metavar="PATH=VALUE", help="Change one value of the spec.")
@click.option(
    "--runs-dir", default="runs", type=click.Path(path_type=Path), show_default=True, help="Where new runs go."
)
@click.option("--name", help="Name of the run, in place of the spec's.")
def train(target: Path, overrides: tuple[str, ...], runs_dir: Path, name: str | None) -> None:
    """Train the experiment that SPEC describes, or go on with the run directory RUN.

    Prints the run directory on stdout when the training is finished. Ctrl-C, SIGTERM and SIGUSR1 finish the step,
    write a checkpoint and exit with 75; typing `cbalign train RUN` goes on from there, as it does after a crash.
    """
    from rich.console import Console

    from cbalign.cli.extras import needs_training_extra

    console = Console(stderr=True)
    with needs_training_extra():
        from cbalign.spec.load import load_experiment

        from cbalign.engine.reporter import console_reporter, format_metrics, format_seconds
        from cbalign.engine.run import is_run, open_run
        from cbalign.tasks.train import resume_run, train_experiment

    reporter = console_reporter(console)
    if is_run(target):
        if name is not None:
            raise click.UsageError("--name names a new run; this one has its name.")
        trained = resume_run(open_run(target), overrides, reporter, argv=sys.argv)
    else:
        named = overrides if name is None else (*overrides, f"name={name}")
        trained = train_experiment(load_experiment(target, named), runs_dir, reporter, argv=sys.argv)
    if not trained.is_main:
        return

    def say(text: str) -> None:
        console.print(text, markup=False, highlight=False, soft_wrap=True)

    folder = trained.run.folder
    if trained.seconds is None:
        say(f"{folder} is finished already.")
    else:
        say(f"finished in {format_seconds(trained.seconds)}")
    if trained.metrics:
        say(f"final: {format_metrics(trained.metrics)}")
    verb = "evaluate" if trained.experiment.data.test is not None else "export"
    say(f"next: cbalign {verb} {folder}" + (" --on test" if verb == "evaluate" else ""))
    click.echo(folder)
