"""`cbalign train`: train a spec or resume a run."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cbalign.cli import completions, console
from cbalign.cli.options import profile_option, set_option

if TYPE_CHECKING:
    from cbalign.tasks.train import Trained


@click.command()
@click.argument("target", metavar="SPEC|RUN", shell_complete=completions.specs_and_results)
@set_option
@profile_option
@click.option(
    "--runs-dir", default="runs", type=click.Path(path_type=Path), show_default=True, help="Folder for new runs."
)
@click.option("--name", help="Name of the run, instead of the spec's name.")
@click.option(
    "--nproc",
    type=click.IntRange(min=1),
    default=1,
    metavar="N",
    help="Train in N processes on this machine, one per GPU; for several machines use torchrun or srun.",
)
@click.option(
    "--accept-changes",
    is_flag=True,
    help="Resume although the settings or the data changed since the training began; the manifest records it.",
)
@click.pass_context
def train(
    context: click.Context,
    target: str,
    overrides: tuple[str, ...],
    profiles: tuple[str, ...],
    runs_dir: Path,
    name: str | None,
    nproc: int,
    accept_changes: bool,
) -> None:
    """Train the experiment of SPEC, or resume the run directory RUN.

    Prints the run directory on stdout when the training is finished. Ctrl-C, SIGTERM and SIGUSR1 finish the step,
    write a checkpoint and exit with 75. `cbalign train RUN` resumes from there, or after a crash.
    """
    from cbalign.engine.signals import stop_preparation

    with stop_preparation("Run the same command again."):
        _train(context, target, overrides, profiles, runs_dir, name, nproc, accept_changes)


def _train(
    context: click.Context,
    target: str,
    overrides: tuple[str, ...],
    profiles: tuple[str, ...],
    runs_dir: Path,
    name: str | None,
    nproc: int,
    accept_changes: bool,
) -> None:
    from cbalign.api.runs import begin, proceed
    from cbalign.api.specs import spec as open_spec
    from cbalign.engine.launch import end_with_launcher, is_launched, launch
    from cbalign.engine.run import is_run, open_run

    if is_run(Path(target)):
        if name is not None or profiles:
            raise click.UsageError("--name and --profile apply only to new runs.")
        run, spec = open_run(Path(target)), None
    else:
        if accept_changes:
            raise click.UsageError("--accept-changes applies only to runs that resume.")
        # Mistakes in the spec are reported before the import of torch, which takes seconds.
        named = overrides if name is None else (*overrides, f"name={name}")
        run, spec = None, open_spec(target, overrides=named, profiles=profiles)

    if nproc > 1 and not is_launched():
        launch(_words(context), nproc)
        return
    end_with_launcher()

    from cbalign.engine.reporter import console_reporter

    reporter = console_reporter(console.stderr(), interactive=console.is_interactive())
    if run is not None:
        done = proceed(run.folder, overrides, reporter, argv=sys.argv, accept_changes=accept_changes)
    else:
        assert spec is not None, "either a run or a spec"
        done = begin(spec, runs_dir, reporter, argv=sys.argv)
    assert done.trained is not None, "this process trained it"
    print_outcome(done.trained)


def print_outcome(trained: Trained) -> None:
    """Print the outcome of a training and the next command on stderr, and the run directory on stdout."""
    from cbalign.engine.reporter import format_metrics, format_seconds

    if not trained.is_main:
        return
    folder = trained.run.folder
    finished = f"finished in {format_seconds(trained.seconds)}" if trained.seconds is not None else "already finished"
    console.note(f"{folder}: {finished}")
    if trained.metrics:
        console.note(f"final evaluation{format_metrics(trained.metrics)}")
    if not trained.experiment.task.is_evaluated:
        console.note(f"next: train a spec of the same task with init: {{run: {folder}}}")
    elif trained.experiment.data.test is not None:
        console.note(f"next: cbalign evaluate {folder} --on test")
    else:
        console.note(f"next: cbalign export {folder}")
    console.result(str(folder))


def _words(context: click.Context) -> list[str]:
    """The command line of one of several processes, which is that of this process."""
    values = context.params
    words = ["--debug"] if context.find_root().params.get("debug") else []
    words += ["train", values["target"], f"--nproc={values['nproc']}", f"--runs-dir={values['runs_dir']}"]
    words += ["--accept-changes"] if values["accept_changes"] else []
    words += [f"--set={override}" for override in values["overrides"]]
    words += [f"--profile={profile}" for profile in values["profiles"]]
    return words if values["name"] is None else [*words, f"--name={values['name']}"]
