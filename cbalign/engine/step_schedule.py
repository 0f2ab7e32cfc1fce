"""The step schedule of a training: its length, and the steps that log, evaluate and save, in whole optimiser steps."""

from __future__ import annotations

from dataclasses import dataclass

from cbalign.errors import DataError, UsageError
from cbalign.experiment.training import TrainSection
from cbalign.parts.duration import in_steps


@dataclass(frozen=True)
class StepSchedule:
    """The steps of one training, counted in optimiser steps unless stated otherwise.

    An epoch has `batches_per_epoch // micro_steps` steps. Batches that do not fill the last step are dropped, so that
    every epoch starts at a step.
    """

    total_steps: int
    steps_per_epoch: int
    batches_per_epoch: int  # micro-batches per rank
    micro_steps: int  # micro-batches per rank and optimiser step
    global_batch_size: int
    log_every: int
    evaluate_every: int | None
    checkpoint_every: int

    def first_batch(self, step: int) -> int:
        """Return the position in the stream of micro-batches at which step `step` (from 0) starts."""
        epoch, within = divmod(step, self.steps_per_epoch)
        return epoch * self.batches_per_epoch + within * self.micro_steps

    def epoch_ends(self, done: int) -> bool:
        """Whether an epoch is complete after `done` steps."""
        return done > 0 and done % self.steps_per_epoch == 0

    def logs(self, done: int) -> bool:
        """Whether metrics are written after `done` steps."""
        return done > 0 and (done % self.log_every == 0 or done == self.total_steps)

    def checkpoints(self, done: int) -> bool:
        """Whether a checkpoint is written after `done` steps."""
        return (done > 0 and done % self.checkpoint_every == 0) or done == self.total_steps

    def evaluates(self, done: int) -> bool:
        """Whether the model is evaluated after `done` steps."""
        regular = self.evaluate_every is not None and done > 0 and done % self.evaluate_every == 0
        return regular or done == self.total_steps


def build_step_schedule(train: TrainSection, *, batches_per_epoch: int, processes: int) -> StepSchedule:
    """Compute the step schedule of a spec's `train` section.

    Args:
        train: the section.
        batches_per_epoch: batches of `train.batch_size` that each process draws per epoch.
        processes: how many train together.

    Raises:
        UsageError: the global batch is no multiple of what all processes take at once.
        DataError: an epoch has less than one global batch.
    """
    at_once = train.batch_size * processes
    total_batch = train.global_batch_size or at_once
    if total_batch % at_once:
        raise UsageError(
            f"train.global_batch_size {total_batch} is not a multiple of {at_once}"
            f" (train.batch_size {train.batch_size} × {processes} processes).",
            remedy=f"Set it to {max(1, round(total_batch / at_once)) * at_once}, or change the number of processes.",
        )
    micro_steps = total_batch // at_once
    steps_per_epoch = batches_per_epoch // micro_steps
    if steps_per_epoch == 0:
        raise DataError(
            f"The training data do not fill one batch of {total_batch} pairs"
            f" ({batches_per_epoch} batches of {at_once} per epoch).",
            remedy="Make train.batch_size or train.global_batch_size smaller, or add data.",
        )
    total = in_steps(train.duration, steps_per_epoch=steps_per_epoch)

    def steps(duration: str) -> int:
        return max(1, in_steps(duration, steps_per_epoch=steps_per_epoch, total_steps=total))

    return StepSchedule(
        total_steps=total,
        steps_per_epoch=steps_per_epoch,
        batches_per_epoch=batches_per_epoch,
        micro_steps=micro_steps,
        global_batch_size=total_batch,
        log_every=steps(train.log_every),
        evaluate_every=None if train.evaluate_every is None else steps(train.evaluate_every),
        checkpoint_every=steps(train.checkpoint_every),
    )
