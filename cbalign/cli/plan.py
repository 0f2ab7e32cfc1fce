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
    from cbalign.api.plans import plan as make_plan
    from cbalign.api.specs import spec as open_spec

    if devices % nodes:
        raise click.UsageError(f"--devices {devices} cannot be spread evenly over --nodes {nodes}.")
    opened = open_spec(spec, overrides=overrides, profiles=profiles, check_files=False)
    made = make_plan(opened, devices=devices, gpus=gpus or DEFAULT_GPUS, fit=fit, pairs=pairs)

    from cbalign.lab.plan.launch import launches

    if made.batch_size not in (None, opened.experiment.train.batch_size):
        overrides = (*overrides, f"train.batch_size={made.batch_size}")
    options = [*(f"--set={each}" for each in overrides), *(f"--profile={each}" for each in profiles)]
    starts = launches(["cbalign", "train", spec, *options], devices=devices, nodes=nodes)
    if made.batch_size is None:
        starts = []
    if as_json:
        launch = [{"where": start.where, "command": start.command} for start in starts]
        command = starts[0].command if starts else None
        console.document({**made.to_dict(), "command": command, "launch": launch})
    else:
        from cbalign.render.plan import plan_blocks

        console.blocks(*plan_blocks(made.estimate, made.fitted, starts))
    if not starts:
        click.get_current_context().exit(1)
