"""Compute the number of steps of a training and its learning-rate schedule."""

from __future__ import annotations

from dataclasses import dataclass

from cbalign.engine.schedule import Schedule, build_schedule
from cbalign.engine.step_schedule import build_step_schedule
from cbalign.experiment.training import TrainSection
from cbalign.parts.duration import amount_and_unit


@dataclass(frozen=True)
class Length:
    """The number of steps of a training; numbers that depend on data of unknown size are None."""

    global_batch_size: int
    micro_steps: int
    pairs: int | None
    steps_per_epoch: int | None
    total_steps: int | None

    @property
    def samples(self) -> int | None:
        """Pairs seen, including repetitions."""
        return None if self.total_steps is None else self.total_steps * self.global_batch_size


def training_length(train: TrainSection, *, pairs: int | None, devices: int) -> Length:
    """Compute the length of a training on a number of pairs.

    Raises:
        UsageError: the global batch is not a multiple of the pairs per pass of all devices.
        DataError: there are fewer pairs than one global batch.
    """
    at_once = train.batch_size * devices
    table = build_step_schedule(
        train,
        # Without data, assume an epoch of one step; results that depend on it are not used.
        batches_per_epoch=max(1, (train.global_batch_size or 0) // at_once) if pairs is None else pairs // at_once,
        processes=devices,
    )
    amount, unit = amount_and_unit(train.duration)
    known = pairs is not None
    return Length(
        global_batch_size=table.global_batch_size,
        micro_steps=table.micro_steps,
        pairs=pairs,
        steps_per_epoch=table.steps_per_epoch if known else None,
        total_steps=table.total_steps if known else round(amount) if unit == "steps" else None,
    )


def learning_rate(train: TrainSection, length: Length) -> Schedule | None:
    """Build the schedule; None if the length of the training is unknown."""
    if length.total_steps is None or length.steps_per_epoch is None:
        return None
    return build_schedule(train.schedule, train.optimizer.lr, length.steps_per_epoch, length.total_steps)
