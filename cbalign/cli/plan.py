"""`cbalign plan`: estimate the cost of a training before it runs."""

from __future__ import annotations

import click

from cbalign.cli import completions, console
from cbalign.cli.options import json_option, profile_option, set_option, spec_argument

DEFAULT_GPUS = ("rtx-4090", "a100-40gb", "h100-80gb")


@click.command()
@spec_argument
@set_option
@profile_option
@click.option(
    "--gpu",
    "gpus",
    multiple=True,
    metavar="NAME",
    shell_complete=completions.gpus,
    help="Estimate hours on this GPU. May be repeated.",
)
@click.option(
    "--devices", type=click.IntRange(min=1), default=1, show_default=True, help="Number of devices that train together."
)
@click.option("--nodes", type=click.IntRange(min=1), default=1, show_default=True, help="Number of machines.")
@click.option("--pairs", type=click.IntRange(min=1), help="Size of the training data, if the files are not here.")
@click.option(
    "--fit",
    metavar="NAME",
    shell_complete=completions.gpus,
    help="Find the largest train.batch_size for this GPU and use it.",
)
@json_option
def plan(
    spec: str,
    overrides: tuple[str, ...],
    profiles: tuple[str, ...],
    gpus: tuple[str, ...],
    devices: int,
    nodes: int,
    pairs: int | None,
    fit: str | None,
    as_json: bool,
) -> None:
    """Estimate the cost of training SPEC: parameters, operations, memory, steps, hours and disk space.

    The model is built on the meta device and runs one step without computing. Data files are optional. Hours are
    estimated from the operations alone; time to load data is not included.

    Exits with 1 when --fit finds that not even one pair fits.
    """
    from cbalign.experiment.load import load_experiment
    from cbalign.lab.plan.gpus import gpu_named

    if devices % nodes:
        raise click.UsageError(f"--devices {devices} cannot be spread evenly over --nodes {nodes}.")
    wanted = None if fit is None else gpu_named(fit)
    named = [gpu_named(name) for name in gpus or DEFAULT_GPUS]
    loaded = load_experiment(spec, overrides, profiles=profiles, check_files=False)

    from cbalign.lab.plan.fit import fit_batch
    from cbalign.lab.plan.launch import launches
    from cbalign.lab.plan.plan import Planner

    planner = Planner(loaded, devices=devices, pairs=pairs)
    fitted = None if wanted is None else fit_batch(planner, wanted, [gpu for gpu in named if gpu != wanted])
    made = planner.plan(named) if fitted is None else fitted.plan
    if fitted is not None and fitted.batch_size not in (None, loaded.experiment.train.batch_size):
        overrides = (*overrides, f"train.batch_size={fitted.batch_size}")
    options = [*(f"--set={each}" for each in overrides), *(f"--profile={each}" for each in profiles)]
    starts = launches(["cbalign", "train", spec, *options], devices=devices, nodes=nodes)
    if fitted is not None and fitted.batch_size is None:
        starts = []
    if as_json:
        found = {} if fitted is None else {"fit": fitted.to_json()}
        launch = [{"where": start.where, "command": start.command} for start in starts]
        command = starts[0].command if starts else None
        console.document({**found, **made.to_json(), "command": command, "launch": launch})
    else:
        from cbalign.render.plan import plan_blocks

        console.blocks(*plan_blocks(made, fitted, starts))
    if not starts:
        click.get_current_context().exit(1)
