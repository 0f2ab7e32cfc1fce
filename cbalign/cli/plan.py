"""`cbalign plan`: what a training will cost, before it is paid for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from cbalign.cli import console, offers
from cbalign.cli.options import json_option, profile_option, set_option, spec_argument
from cbalign.cli.quantities import in_bytes

if TYPE_CHECKING:
    from cbalign.lab.plan.fit import Fit
    from cbalign.lab.plan.launch import Launch
    from cbalign.lab.plan.plan import Plan

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
    shell_complete=offers.gpus,
    help="Tell hours on this GPU. May be repeated.",
)
@click.option("--devices", type=click.IntRange(min=1), default=1, show_default=True, help="How many train together.")
@click.option(
    "--nodes", type=click.IntRange(min=1), default=1, show_default=True, help="Machines they are spread over."
)
@click.option("--pairs", type=click.IntRange(min=1), help="Size of the training data, where they are not at hand.")
@click.option(
    "--fit",
    metavar="NAME",
    shell_complete=offers.gpus,
    help="Find the largest train.batch_size for this GPU, and plan that.",
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
    """Tell what training SPEC will cost: parameters, operations, memory, steps, hours, disk.

    The model is built without memory for its numbers and makes one step that computes nothing. Data files need not
    be there; hours are an estimate from the operations alone, as if data were always in time.

    Exit code: 1 when --fit finds that not even one pair fits.
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
        told = [{"where": start.where, "command": start.command} for start in starts]
        console.document({**found, **made.to_json(), "command": starts[0].command if starts else None, "launch": told})
    else:
        console.result(_text(made, fitted, starts))
    if not starts:
        click.get_current_context().exit(1)


def _text(plan: Plan, fitted: Fit | None, starts: Sequence[Launch]) -> str:
    blocks = [_parameters(plan), _operations(plan), _memory(plan), _length(plan), _gpus(plan), _files(plan)]
    if fitted is not None:
        blocks.insert(0, _fit(fitted))
    return "\n\n".join([f"{plan.experiment.name}: a plan", *blocks, *([_starts(starts)] if starts else [])])


def _starts(starts: Sequence[Launch]) -> str:
    lines = [click.style("start with", bold=True)]
    for start in starts:
        lines += [f"  {start.where}:"] if start.where else []
        lines.append(f"  {'  ' if start.where else ''}{start.command}")
    return "\n".join(lines)


def _fit(fit: Fit) -> str:
    """What was found, and why not more."""
    memory, usable = in_bytes(fit.plan.memory.total), in_bytes(fit.gpu.usable)
    if fit.batch_size is None:
        rows = [("train.batch_size", "none", f"{fit.next_batch_size} needs {memory} of {usable}")]
        return _block(f"nothing fits into {fit.gpu.name}", rows)
    limit = fit.limit
    if fit.next_bytes is not None:
        limit = f"memory: {fit.next_batch_size:,} would need {in_bytes(fit.next_bytes)}"
    rows = [
        (
            "train.batch_size",
            f"{fit.batch_size:,}",
            f"per device: {memory} of the {usable} that a training can count on",
        ),
        ("limited by", "", limit),
    ]
    train = fit.plan.experiment.train
    if train.global_batch_size is None:
        total = f"{fit.plan.length.global_batch_size:,}"
        rows.append(("pairs per step", total, "grows with it, as train.global_batch_size is not set: another training"))
    return _block(f"the largest batch for {fit.gpu.name}", rows)


def _block(title: str, rows: list[tuple[str, str, str]]) -> str:
    """A title, then names, right-aligned values and remarks."""
    names = max(len(name) for name, _, _ in rows)
    values = max(len(value) for _, value, _ in rows)
    lines = [f"  {name:<{names}}  {value:>{values}}  {remark}".rstrip() for name, value, remark in rows]
    return "\n".join([click.style(title, bold=True), *lines])


def _parameters(plan: Plan) -> str:
    sizes = plan.sizes
    rows = [
        ("trainable", _millions(sizes.trainable), ""),
        ("  image tower", _millions(sizes.image_tower), ""),
        ("  text tower", _millions(sizes.text_tower), "word embeddings included"),
        ("  fusion", _millions(sizes.fusion), ""),
        ("  projections, heads", _millions(sizes.heads), ""),
        ("  codebook", _millions(sizes.codebook), ""),
        ("teacher", _millions(sizes.teacher), "follows, not trained"),
    ]
    return _block("parameters", [row for row in rows if row[1] != _millions(0)])


def _operations(plan: Plan) -> str:
    step, batch = plan.step, plan.experiment.train.batch_size
    each = [
        ("image tower", step.image_tower),
        ("text tower", step.text_tower),
        ("fusion", step.fusion),
        ("teacher", step.teacher),
        ("heads, codebook", step.other),
        ("backward", step.backward),
    ]
    rows = [(f"  {name}", f"{value / batch / 1e9:.1f} G", f"{value / step.operations:.0%}") for name, value in each]
    how = "measured on the captions" if plan.captions.measured else "assumed: as long as the spec allows"
    total = [
        ("per optimiser step", _engineering(plan.step_operations), f"{plan.length.global_batch_size} pairs"),
        ("per pair", f"{step.operations / batch / 1e9:.1f} G", ""),
        *rows,
        ("tokens of a caption", f"{plan.captions.mean:.1f}", f"padded to {plan.captions.longest}; {how}"),
    ]
    return _block("floating-point operations (a multiplication and an addition are two)", total)


def _memory(plan: Plan) -> str:
    memory, train = plan.memory, plan.experiment.train
    rows = [
        ("weights", memory.weights, ""),
        ("teacher", memory.teacher, ""),
        ("queues", memory.queues, "and other buffers"),
        ("optimiser", memory.optimizer, "two moments"),
        ("gradients", memory.gradients, ""),
        ("gradient buckets", memory.buckets, "DDP's copy"),
        ("activations", memory.activations, f"estimate, {train.batch_size} pairs at a time in {plan.precision}"),
        ("together", memory.total, "besides what CUDA itself takes"),
    ]
    shown = [(name, in_bytes(value), remark) for name, value, remark in rows if value]
    return _block("memory of each device", shown)


def _length(plan: Plan) -> str:
    length, train = plan.length, plan.experiment.train
    accumulated = f", {length.micro_steps} accumulated" if length.micro_steps > 1 else ""
    rows = [
        (
            "pairs per step",
            f"{length.global_batch_size:,}",
            f"{plan.devices} device{'s' * (plan.devices > 1)} × {train.batch_size}{accumulated}",
        )
    ]
    if length.pairs is None:
        reason = f"{plan.why_unknown}; " if plan.why_unknown else ""
        rows.append(("pairs", "?", f"{reason}give --pairs"))
    else:
        rows.append(("pairs", f"{length.pairs:,}", ""))
        rows.append(("steps per epoch", f"{length.steps_per_epoch:,}", ""))
    if length.total_steps is not None:
        rows.append(("steps", f"{length.total_steps:,}", train.duration))
        rows.append(("pairs seen", f"{length.samples:,}", ""))
    checkpoint = f"{in_bytes(plan.disk.checkpoint)} each, {train.keep_checkpoints} kept, one more while it is written"
    rows.append(("disk", in_bytes(plan.disk.peak), checkpoint))
    text = _block("length", rows)
    if plan.schedule is not None and length.total_steps:
        from cbalign.lab.plan.curve import draw

        text += "\n\n" + "\n".join([click.style("learning rate", bold=True), *draw(plan.schedule, length.total_steps)])
    return text


def _gpus(plan: Plan) -> str:
    from cbalign.lab.plan.gpus import UTILISATION

    rows = []
    for each in plan.gpus:
        hours = "?" if each.hours is None else _hours(each.hours)
        memory = f"{in_bytes(plan.memory.total)} of {in_bytes(each.gpu.usable)}"
        rows.append((each.gpu.name, hours, memory if each.fits else f"does not fit: {memory}"))
    several = f"{plan.devices} × " if plan.devices > 1 else ""
    precision = plan.precision
    return _block(f"time on {several}… at {UTILISATION:.0%} of the {precision} peak (assumed)", rows)


def _files(plan: Plan) -> str:
    from cbalign.lab.plan.files import WRITTEN

    rows = [(file.path, "" if file.here else "not here", file.what) for file in plan.reads]
    written = "\n".join(f"  {what}" for what in WRITTEN)
    title = click.style(f"writes runs/{plan.experiment.name}-<time>-<id>/", bold=True)
    return f"{_block('reads', rows)}\n\n{title}\n{written}"


def _millions(count: int) -> str:
    return f"{count / 1e6:.1f} M" if count >= 50_000 else f"{count / 1e3:.1f} K"


def _engineering(value: float) -> str:
    for unit, size in (("P", 1e15), ("T", 1e12), ("G", 1e9)):
        if value >= size:
            return f"{value / size:.1f} {unit}"
    return f"{value / 1e6:.1f} M"


def _hours(hours: float) -> str:
    if hours < 1 / 60:
        return "< 1 min"
    if hours < 1:
        return f"{hours * 60:.1f} min"
    return f"{hours:.1f} h" if hours < 100 else f"{hours / 24:.1f} days"
