"""The report of `cbalign plan`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import click

from cbalign.experiment.training import kept_checkpoints
from cbalign.render.quantities import in_bytes
from cbalign.runtime.table import Block, Table

if TYPE_CHECKING:
    from cbalign.lab.plan.fit import Fit
    from cbalign.lab.plan.launch import Launch
    from cbalign.lab.plan.plan import TrainingPlan


def plan_blocks(plan: TrainingPlan, fitted: Fit | None, starts: Sequence[Launch]) -> list[Block]:
    """Report a plan: the batch that fits, sizes, operations, memory, steps, time, files, and the commands to run."""
    blocks: list[Block] = [f"plan of {plan.experiment.name}", *([_fit(fitted)] if fitted is not None else [])]
    blocks += [
        _parameters(plan),
        _images(plan),
        _operations(plan),
        _memory(plan),
        *_features(plan),
        *_length(plan),
        _gpus(plan),
        *_files(plan),
    ]
    return [*blocks, *([_starts(starts)] if starts else [])]


def _starts(starts: Sequence[Launch]) -> str:
    lines = [click.style("command", bold=True)]
    for start in starts:
        lines += [f"  {start.where}:"] if start.where else []
        lines.append(f"  {'  ' if start.where else ''}{start.command}")
    return "\n".join(lines)


def _fit(fit: Fit) -> Table:
    """The largest batch, and what limits it."""
    memory, usable = in_bytes(fit.plan.memory.total), in_bytes(fit.gpu.usable)
    if fit.batch_size is None:
        rows = [("train.batch_size", "none", f"{fit.next_batch_size} needs {memory} of {usable}")]
        return _block(f"no batch fits on {fit.gpu.name}", rows)
    limit = fit.limit
    if fit.next_bytes is not None:
        limit = f"memory: {fit.next_batch_size:,} would need {in_bytes(fit.next_bytes)}"
    rows = [
        (
            "train.batch_size",
            f"{fit.batch_size:,}",
            f"per device: {memory} of {usable} usable memory",
        ),
        ("limited by", "", limit),
    ]
    train = fit.plan.experiment.train
    if train.global_batch_size is None:
        total = f"{fit.plan.length.global_batch_size:,}"
        rows.append(
            ("pairs per step", total, "grows with the batch, as train.global_batch_size is not set: other results")
        )
    return _block(f"the largest batch for {fit.gpu.name}", rows)


def _block(title: str, rows: Sequence[tuple[str, str, str]]) -> Table:
    """A table of names, right-aligned values and remarks."""
    return Table.headless(rows, right=(1,), title=click.style(title, bold=True))


def _parameters(plan: TrainingPlan) -> Table:
    sizes = plan.sizes
    rows = [
        ("trainable", _millions(sizes.trainable), ""),
        ("  image tower", _millions(sizes.image_tower), ""),
        ("  text tower", _millions(sizes.text_tower), "including word embeddings"),
        ("  fusion", _millions(sizes.fusion), ""),
        ("  projections, heads", _millions(sizes.heads), ""),
        ("  codebook", _millions(sizes.codebook), ""),
        ("frozen", _millions(sizes.frozen), "towers, not trained"),
        ("teacher", _millions(sizes.teacher), "momentum average, not trained"),
    ]
    return _block("parameters", [row for row in rows if row[1] != _millions(0)])


def _images(plan: TrainingPlan) -> str:
    """How images become the input of the image tower."""
    return f"{click.style('images', bold=True)}\n  {plan.preprocessing}"


def _operations(plan: TrainingPlan) -> Table:
    step, batch = plan.step, plan.experiment.train.batch_size
    each = [
        ("image tower", step.image_tower),
        ("text tower", step.text_tower),
        ("fusion", step.fusion),
        ("teacher", step.teacher),
        ("heads, codebook", step.other),
        ("backward", step.backward),
    ]
    rows = [(f"  {name}", _engineering(value / batch), f"{value / step.operations:.0%}") for name, value in each]
    how = "measured on the captions" if plan.captions.measured else "assumed: the maximum of the spec"
    total = [
        ("per optimiser step", _engineering(plan.step_operations), f"{plan.length.global_batch_size} pairs"),
        ("per pair", _engineering(step.operations / batch), ""),
        *rows,
        ("tokens per caption", f"{plan.captions.mean:.1f}", f"padded to {plan.captions.longest}; {how}"),
    ]
    return _block("floating-point operations (multiply and add count as two)", total)


def _memory(plan: TrainingPlan) -> Table:
    memory, train = plan.memory, plan.experiment.train
    rows = [
        ("weights", memory.weights, ""),
        ("frozen", memory.frozen, "weights that are not trained"),
        ("teacher", memory.teacher, ""),
        ("queues", memory.queues, "and other buffers"),
        ("optimiser", memory.optimizer, "two moments"),
        ("gradients", memory.gradients, ""),
        ("gradient buckets", memory.buckets, "copy made by DDP"),
        ("activations", memory.activations, f"estimate, {train.batch_size} pairs at a time in {plan.precision}"),
        ("total", memory.total, "without the CUDA context"),
    ]
    shown = [(name, in_bytes(value), remark) for name, value, remark in rows if value]
    return _block("memory per device", shown)


def _features(plan: TrainingPlan) -> Iterator[Block]:
    """The features of a frozen image tower, where they are kept."""
    cost = plan.features
    if cost is None:
        return
    rows = [("per view", in_bytes(cost.bytes_per_view), f"{cost.operations_per_view / 1e9:.1f} G operations")]
    if cost.images is not None and cost.count is not None and cost.bytes is not None and cost.operations is not None:
        views = f" × {cost.views} views" if cost.views > 1 else ""
        more = f" and {cost.evaluated:,} of evaluations" if cost.evaluated else ""
        rows = [
            ("views", f"{cost.count:,}", f"at most {cost.images:,} images{views}{more}"),
            *rows,
            ("disk", in_bytes(cost.bytes), "in the user's cache, for all trainings with this tower"),
            ("operations", _engineering(cost.operations), "once, before the first step"),
        ]
    yield _block("features of the frozen image tower", rows)


def _length(plan: TrainingPlan) -> Iterator[Block]:
    """Steps, pairs and disk, and the learning-rate curve where it is known."""
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
        rows.append(("pairs", "?", f"{reason}give their number as `pairs`"))
    else:
        rows.append(("pairs", f"{length.pairs:,}", ""))
        rows.append(("steps per epoch", f"{length.steps_per_epoch:,}", ""))
    if length.total_steps is not None:
        rows.append(("steps", f"{length.total_steps:,}", train.duration))
        rows.append(("pairs seen", f"{length.samples:,}", ""))
    checkpoint = f"{in_bytes(plan.disk.checkpoint)} per checkpoint, {kept_checkpoints(train)} kept, one being written"
    rows.append(("disk", in_bytes(plan.disk.peak), checkpoint))
    yield _block("length", rows)
    if plan.schedule is not None and length.total_steps:
        from cbalign.lab.plan.curve import draw_schedule

        yield "\n".join([click.style("learning rate", bold=True), *draw_schedule(plan.schedule, length.total_steps)])


def _gpus(plan: TrainingPlan) -> Table:
    from cbalign.lab.plan.gpus import UTILISATION

    rows = []
    for each in plan.gpus:
        hours = "?" if each.hours is None else _hours(each.hours)
        memory = f"{in_bytes(plan.memory.total)} of {in_bytes(each.gpu.usable)}"
        rows.append((each.gpu.name, hours, memory if each.fits else f"does not fit: {memory}"))
    several = f"{plan.devices} × " if plan.devices > 1 else ""
    precision = plan.precision
    return _block(f"time on {several}… at {UTILISATION:.0%} of the {precision} peak (assumed)", rows)


def _files(plan: TrainingPlan) -> Iterator[Block]:
    from cbalign.lab.plan.files import files_written

    rows = [(file.path, "" if file.here else "missing", file.what) for file in plan.reads]
    written = "\n".join(f"  {what}" for what in files_written(plan.experiment))
    title = click.style(f"writes runs/{plan.experiment.name}-<time>-<id>/", bold=True)
    yield _block("reads", rows)
    yield f"{title}\n{written}"


def _millions(count: int) -> str:
    return f"{count / 1e6:.1f} M" if count >= 50_000 else f"{count / 1e3:.1f} K"


def _engineering(value: float) -> str:
    for unit, size in (("P", 1e15), ("T", 1e12), ("G", 1e9), ("M", 1e6)):
        if value >= size:
            return f"{value / size:.1f} {unit}"
    return f"{value / 1e3:.1f} K"


def _hours(hours: float) -> str:
    if hours < 1 / 60:
        return "< 1 min"
    if hours < 1:
        return f"{hours * 60:.1f} min"
    return f"{hours:.1f} h" if hours < 100 else f"{hours / 24:.1f} days"
